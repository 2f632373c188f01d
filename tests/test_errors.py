"""Every error says what, where and what to do, knows its exit code, and survives the border of a process."""

from __future__ import annotations

import pickle

import pytest

from napari_relay import errors
from napari_relay.errors import RelayError

ALL = sorted(
    (kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, RelayError)),
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", ALL)
def test_message_holds_what_and_fix(kind: type[RelayError]) -> None:
    error = kind("Cannot read level 3 of slide.svs.", "Copy the file again.")

    assert str(error) == "Cannot read level 3 of slide.svs. Copy the file again."
    assert (error.what, error.fix) == ("Cannot read level 3 of slide.svs.", "Copy the file again.")


@pytest.mark.parametrize("kind", ALL)
def test_message_without_fix_is_the_sentence_alone(kind: type[RelayError]) -> None:
    assert str(kind("The disk is full.")) == "The disk is full."


@pytest.mark.parametrize("kind", ALL)
def test_survives_pickling_with_both_parts(kind: type[RelayError]) -> None:
    error = pickle.loads(pickle.dumps(kind("What.", "Fix.")))

    assert type(error) is kind
    assert (error.what, error.fix, str(error)) == ("What.", "Fix.", "What. Fix.")


@pytest.mark.parametrize("kind", ALL)
def test_only_a_wrong_call_exits_with_2(kind: type[RelayError]) -> None:
    assert kind.exit_code == (2 if issubclass(kind, errors.UsageError) else 1)


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.UsageError, ValueError),
        (errors.ClickError, ValueError),
        (errors.MissingExtraError, ImportError),
        (errors.ImageError, OSError),
        (errors.StorageError, OSError),
    ],
)
def test_can_be_caught_as_the_builtin_a_caller_expects(kind: type[RelayError], builtin: type[Exception]) -> None:
    assert issubclass(kind, builtin)


@pytest.mark.parametrize("kind", ALL)
def test_stands_in_the_tree_at_the_top_of_the_module(kind: type[RelayError]) -> None:
    assert kind.__name__ in (errors.__doc__ or "")
    assert kind.__doc__

"""What the window says in each state."""

from __future__ import annotations

import pytest

from napari_relay.geometry import Click
from napari_relay.widgets.state import Model, Phase, Shown
from napari_relay.widgets.wording import describe, plural

CLICKS = (Click(1, 2), Click(3, 4, False))


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("model", list(Model))
def test_every_state_has_a_headline_and_something_to_do(phase: Phase, model: Model) -> None:
    words = describe(Shown(phase=phase, model=model, message="Do this.", image="a.tif"))

    assert words.headline
    assert words.hint
    assert words.headline[0].isupper() or words.headline[0].isdigit()


def test_a_proposal_tells_clicks_score_and_the_keys() -> None:
    words = describe(
        Shown(phase=Phase.PROPOSAL, clicks=CLICKS, score=0.934, current_class="cell", alternatives=3, alternative=1)
    )

    assert words.headline == "2 clicks · score 0.93"
    assert "2 of 3" in words.hint
    assert "Enter accepts it as cell" in words.hint
    assert "Tab" in words.hint
    assert not words.busy


def test_waiting_for_the_model_says_that_the_click_is_kept() -> None:
    words = describe(Shown(phase=Phase.COMPUTING, clicks=CLICKS, model=Model.STARTING))

    assert words.busy
    assert "kept" in words.hint


def test_an_object_that_is_not_saved_is_said_before_all_else() -> None:
    words = describe(Shown(phase=Phase.READY, unsaved=2, objects=5, message="The disk is full."))

    assert words.headline == "2 objects not saved"
    assert words.alert


def test_counts_are_written_as_people_do() -> None:
    assert plural(1, "object") == "1 object"
    assert plural(0, "object") == "0 objects"
    assert plural(1234567, "object") == "1,234,567 objects"

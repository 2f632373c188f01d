"""Promoting and going back: files are kept bit by bit, the project remembers, undo has nothing to do with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from napari_relay.errors import CheckpointError, StorageError, UsageError
from napari_relay.learn import Shelf
from napari_relay.store import Project

Learned = Callable[[str, float], Path]


@pytest.fixture
def project(coins_project: Path):
    with Project.open(coins_project, create=False) as opened:
        yield opened


def test_a_new_project_uses_the_checkpoint_of_the_program(project: Project) -> None:
    assert Shelf(project).current() is None
    assert Shelf(project).stored() == []
    with pytest.raises(UsageError, match="No learned checkpoint"):
        Shelf(project).roll_back()


def test_what_is_promoted_is_kept_beside_the_project_and_remembered(project: Project, learned: Learned) -> None:
    file = learned("a", 0.5)

    kept = Shelf(project).promote(file, "learn: fewer clicks")

    assert kept.parent == project.path.with_name("coins.png.learn") / "checkpoints"
    assert kept.read_bytes() == file.read_bytes()
    action = project.history(1, everything=True)[0]
    assert (action.kind, action.summary, action.checkpoint) == ("learn", "learn: fewer clicks", kept.name)
    path = project.path
    project.close()
    with Project.open(path, create=False, read_only=True) as again:
        assert Shelf(again).current() == kept


def test_roll_back_goes_one_step_at_a_time_and_every_checkpoint_stays(project: Project, learned: Learned) -> None:
    shelf = Shelf(project)
    first, second = shelf.promote(learned("a", 0.5)), shelf.promote(learned("b", 0.25))
    content = [first.read_bytes(), second.read_bytes()]

    assert shelf.current() == second
    assert shelf.roll_back() == first
    assert shelf.roll_back() is None
    with pytest.raises(UsageError):
        shelf.roll_back()
    assert [first.read_bytes(), second.read_bytes()] == content
    assert [stored.card.name for stored in shelf.stored()] == ["a", "b"]

    third = shelf.promote(learned("c", 0.75))
    assert shelf.roll_back() is None
    assert shelf.use(third.name) == third


def test_the_same_checkpoint_is_kept_once(project: Project, learned: Learned) -> None:
    file = learned("a", 0.5)
    assert Shelf(project).promote(file) == Shelf(project).promote(file)
    assert len(Shelf(project).stored()) == 1


def test_undo_takes_objects_back_and_leaves_the_checkpoint(project: Project, learned: Learned) -> None:
    kept = Shelf(project).promote(learned("a", 0.5))
    count = project.count()

    undone = project.undo()

    assert undone is not None
    assert undone.kind == "accept"
    assert project.count() == count - 1
    assert Shelf(project).current() == kept


def test_a_checkpoint_that_is_gone_is_named_and_what_is_none_is_refused(
    project: Project, learned: Learned, tmp_path: Path
) -> None:
    shelf = Shelf(project)
    kept = shelf.promote(learned("a", 0.5))
    kept.unlink()
    with pytest.raises(CheckpointError, match=kept.name):
        shelf.current()

    none = tmp_path / "none.safetensors"
    none.write_bytes(b"nothing")
    with pytest.raises(CheckpointError):
        shelf.promote(none)
    with pytest.raises(UsageError, match=r"no learned checkpoint 'x\.safetensors'"):
        shelf.use("x.safetensors")


def test_a_project_open_for_reading_cannot_promote(coins_project: Path, learned: Learned) -> None:
    with (
        Project.open(coins_project, create=False, read_only=True) as reading,
        pytest.raises(StorageError, match="reading only"),
    ):
        Shelf(reading).promote(learned("a", 0.5))

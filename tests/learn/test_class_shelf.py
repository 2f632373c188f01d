"""Class heads: kept, promoted, taken back bit by bit, alone or with the checkpoint of the same job."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from napari_relay.errors import UsageError
from napari_relay.fullimage.request import class_head_path
from napari_relay.learn import ClassShelf, LearnResult, LearnStatus, Shelf, learn_folder
from napari_relay.store import Project
from napari_relay.workspace.learning import promote_classes, roll_back_project

Learned = Callable[[str, float], Path]


def file(folder: Path, content: bytes) -> Path:
    path = folder / f"{content.decode()}.safetensors"
    path.write_bytes(content)
    return path


@pytest.fixture
def shelf(tmp_path: Path) -> ClassShelf:
    project = tmp_path / "coins.png.relay"
    return ClassShelf(project, class_head_path(project))


def kept(shelf: ClassShelf) -> list[bytes]:
    return sorted(path.read_bytes() for path in shelf.folder.glob("*.safetensors"))


def test_each_head_is_kept_and_taken_back_one_at_a_time(shelf: ClassShelf, tmp_path: Path) -> None:
    assert shelf.last() is None
    with pytest.raises(UsageError, match="No learned class head"):
        shelf.roll_back()
    shelf.place.write_bytes(b"of the command line")

    assert shelf.promote(file(tmp_path, b"first")) == shelf.place
    shelf.promote(file(tmp_path, b"second"), beside="0001.safetensors", together=True)
    assert shelf.place.read_bytes() == b"second"
    last = shelf.last()
    assert last is not None
    assert (last.beside, last.together) == ("0001.safetensors", True)

    assert shelf.roll_back() == shelf.place
    assert shelf.place.read_bytes() == b"first"
    assert shelf.roll_back() == shelf.place
    assert shelf.place.read_bytes() == b"of the command line"
    assert kept(shelf) == [b"first", b"of the command line", b"second"]


def test_where_there_was_none_before_there_is_none_after(shelf: ClassShelf, tmp_path: Path) -> None:
    shelf.promote(file(tmp_path, b"first"))
    assert shelf.roll_back() is None
    assert not shelf.place.exists()
    assert kept(shelf) == [b"first"]


def test_the_same_head_twice_is_one_step(shelf: ClassShelf, tmp_path: Path) -> None:
    shelf.promote(file(tmp_path, b"first"))
    shelf.promote(file(tmp_path, b"first"))
    assert shelf.roll_back() is None


def test_a_head_learned_by_other_ways_is_kept_when_it_is_left(shelf: ClassShelf, tmp_path: Path) -> None:
    shelf.promote(file(tmp_path, b"first"))
    shelf.place.write_bytes(b"painted since")
    shelf.roll_back()
    assert kept(shelf) == [b"first", b"painted since"]


def result(project: Path, head: Path, checkpoint: Path | None) -> LearnResult:
    return LearnResult(LearnStatus.DONE, checkpoint=checkpoint, class_heads={project: head})


def test_what_one_job_brought_goes_together(coins_project: Path, learned: Learned, tmp_path: Path) -> None:
    checkpoint, head, place = learned("a", 0.5), file(tmp_path, b"head"), class_head_path(coins_project)
    with Project.open(coins_project, create=False) as project:
        Shelf(project).promote(checkpoint)
        promote_classes(result(coins_project, head, checkpoint))

        done = roll_back_project(project)

        assert (done.path, done.checkpoint, done.classes) == (None, True, True)
        assert not place.exists()
        assert Shelf(project).current() is None
        with pytest.raises(UsageError):
            roll_back_project(project)


def test_what_two_jobs_brought_goes_one_after_the_other(coins_project: Path, learned: Learned, tmp_path: Path) -> None:
    head, place = file(tmp_path, b"head"), class_head_path(coins_project)
    with Project.open(coins_project, create=False) as project:
        first = Shelf(project).promote(learned("a", 0.5))
        promote_classes(result(coins_project, head, None))  # better classes, no better clicks
        second = Shelf(project).promote(learned("b", 0.25))
        assert second != first

        newest = roll_back_project(project)
        assert (newest.path, newest.checkpoint, newest.classes) == (first, True, False)
        assert place.read_bytes() == b"head"
        then = roll_back_project(project)
        assert (then.path, then.checkpoint, then.classes) == (first, False, True)
        assert not place.exists()
        last = roll_back_project(project)
        assert (last.path, last.checkpoint, last.classes) == (None, True, False)


def test_classes_promoted_without_the_checkpoint_of_their_job_go_alone(
    coins_project: Path, learned: Learned, tmp_path: Path
) -> None:
    head, place = file(tmp_path, b"head"), class_head_path(coins_project)
    with Project.open(coins_project, create=False) as project:
        first = Shelf(project).promote(learned("a", 0.5))
        promote_classes(result(coins_project, head, learned("b", 0.25)))  # "b" was better, and left alone

        done = roll_back_project(project)

        assert (done.path, done.checkpoint, done.classes) == (first, False, True)
        assert not place.exists()


def test_the_shelf_lies_where_learning_keeps_its_files(shelf: ClassShelf, tmp_path: Path) -> None:
    assert shelf.folder == learn_folder(tmp_path / "coins.png.relay") / "class-heads"

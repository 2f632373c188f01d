"""A crash in every gap between two durable steps: reopen, and all is as it should be."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import zarr

from napari_relay.geometry import Box
from napari_relay.store import LabelPyramid, Project, open_pyramid
from napari_relay.store.dirty import Journal
from napari_relay.store.majority import Blocks

SHAPE = (1300, 1500)
LEVELS = [SHAPE, (431, 501), (97, 340)]


class Crash(BaseException):
    """The process ends here; nothing after it runs."""


@pytest.fixture
def crash(monkeypatch):
    """`crash.before(owner, name, n)` ends the process before the n-th call of a method, `crash.after` after it."""

    class Crashes:
        def before(self, owner: type, name: str, n: int = 1) -> None:
            self._place(owner, name, n, early=True)

        def after(self, owner: type, name: str, n: int = 1) -> None:
            self._place(owner, name, n, early=False)

        def _place(self, owner: type, name: str, n: int, *, early: bool) -> None:
            method, calls = getattr(owner, name), itertools.count(1)  # calls may come from several threads

            def wrapped(*args, **kwargs):
                call = next(calls)
                if call == n and early:
                    raise Crash
                result = method(*args, **kwargs)
                if call == n:
                    raise Crash
                return result

            monkeypatch.setattr(owner, name, wrapped)

        def over(self) -> None:
            monkeypatch.undo()

    return Crashes()


def die(project: Project) -> None:
    """Leave a project as a killed process does: with its log, its lock file, and no backup."""
    lock = project._lock
    text = lock.path.read_text()
    project._database.close()
    lock.release()
    lock.path.write_text(text)


def render_all(project: Project, pyramid: LabelPyramid) -> None:
    while tiles := project.journal.tiles(5):
        pyramid.render(tiles)


def check_pyramid(project: Project, path: Path) -> None:
    pyramid = open_pyramid(path, project, LEVELS)
    render_all(project, pyramid)
    full = project.labels(Box(0, 0, *SHAPE))
    for array, shape in zip(pyramid.arrays, LEVELS, strict=True):
        np.testing.assert_array_equal(array[...], Blocks(SHAPE, shape).reduce(full, Box(0, 0, *shape)))


def accept(project: Project, make_blob, box: Box) -> None:
    project.accept(box, make_blob(box))


GAPS = [
    pytest.param("before", zarr.Array, "__setitem__", 1, id="committed, nothing rendered"),
    pytest.param("after", zarr.Array, "__setitem__", 1, id="coarse levels half-written"),
    pytest.param("after", zarr.Array, "__setitem__", 2, id="coarse levels written"),
    pytest.param("after", zarr.Array, "__setitem__", 3, id="level 0 half-written"),
    pytest.param("before", Journal, "forget", 1, id="all written, journal not told"),
    pytest.param("after", Journal, "forget", 1, id="first batch done"),
]


@pytest.mark.parametrize(("when", "owner", "name", "n"), GAPS)
@pytest.mark.parametrize("then", ["nothing", "undo", "accept"])
def test_a_crash_while_rendering(open_project, tmp_path, crash, make_blob, when, owner, name, n, then):
    path = tmp_path / "a.labels.ome.zarr"
    project = open_project()
    pyramid = open_pyramid(path, project, LEVELS)
    accept(project, make_blob, Box(400, 400, 700, 700))
    render_all(project, pyramid)
    accept(project, make_blob, Box(300, 450, 1100, 1200))
    getattr(crash, when)(owner, name, n)
    with pytest.raises(Crash):
        render_all(project, pyramid)
    die(project)
    crash.over()

    project = open_project()
    assert project.count() == 2
    if then == "undo":  # level 0 may stand as undone already, the coarse levels not
        project.undo()
    elif then == "accept":
        accept(project, make_blob, Box(0, 0, 1300, 1500))
    check_pyramid(project, path)


@pytest.mark.parametrize(
    ("when", "owner", "name", "n"),
    [
        pytest.param("before", Project, "set_value", 1, id="nothing done"),
        pytest.param("after", Project, "set_value", 1, id="token given up"),
        pytest.param("after", Journal, "mark_all", 1, id="all on the journal"),
        pytest.param("before", LabelPyramid, "renew_token", 1, id="chunks removed"),
        pytest.param("before", Project, "set_value", 2, id="pyramid has the new token, project not"),
    ],
)
def test_a_crash_while_a_rebuild_begins(open_project, tmp_path, crash, act, when, owner, name, n):
    path = tmp_path / "a.labels.ome.zarr"
    project = open_project()
    pyramid = open_pyramid(path, project, LEVELS)
    act(project, 8)
    render_all(project, pyramid)
    getattr(crash, when)(owner, name, n)
    with pytest.raises(Crash):
        pyramid.clear()
    die(project)
    crash.over()
    check_pyramid(open_project(), path)


@pytest.mark.parametrize("n", range(1, 5))
def test_a_crash_while_a_pyramid_is_made(open_project, tmp_path, crash, act, n):
    path = tmp_path / "a.labels.ome.zarr"
    project = open_project()
    act(project, 8)
    crash.after(Project, "set_value", n)
    with pytest.raises(Crash):
        open_pyramid(path, project, LEVELS)
    die(project)
    crash.over()
    check_pyramid(open_project(), path)


def test_a_crash_between_a_backups_copy_and_its_name_keeps_the_old_backup(open_project, tmp_path, crash):
    project = open_project()
    project.accept(Box(0, 0, 9, 9), np.ones((9, 9), bool))
    project.backup()
    project.accept(Box(0, 0, 9, 9), np.ones((9, 9), bool))
    crash.before(Path, "replace")
    with pytest.raises(Crash):
        project.backup()
    crash.over()
    with Project.open(tmp_path / "image.tif.relay.backup", read_only=True) as copy:
        assert copy.count() == 1
    project.backup()
    with Project.open(tmp_path / "image.tif.relay.backup", read_only=True) as copy:
        assert copy.count() == 2


def test_a_power_cut_that_lost_pyramid_files_is_noticed(open_project, tmp_path, act):
    path = tmp_path / "a.labels.ome.zarr"
    project = open_project()
    pyramid = open_pyramid(path, project, LEVELS)
    project.accept(Box(300, 450, 1100, 1200), np.ones((800, 750), bool))
    render_all(project, pyramid)
    die(project)
    lock = tmp_path / "image.tif.relay.lock"
    lock.write_text(lock.read_text().replace('"boot": "', '"boot": "another run of the machine '))
    for chunk in (path / "0" / "c").rglob("1"):  # written, but never flushed
        if chunk.is_file():
            chunk.unlink()
    check_pyramid(open_project(), path)

"""A project: what is kept, what is refused, and that SQLite is set as the promise needs it."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from datetime import datetime

import numpy as np
import pytest

from napari_relay.errors import (
    ProjectDamagedError,
    ProjectError,
    ProjectMismatchError,
    StorageError,
    UsageError,
)
from napari_relay.geometry import Box, Click, Plane
from napari_relay.store import Change, NewObject, Project
from napari_relay.views.values import View, ViewPair

SQUARE = np.ones((10, 10), bool)


def test_an_accepted_object_is_there_after_reopening(open_project, rng):
    mask = rng.random((600, 700)) < 0.3
    mask[0, 0] = mask[-1, -1] = True
    box = Box(500, 480, 1100, 1180)
    views = ViewPair(View(Box(0, 0, 448, 448)), View(Box(-100, -100, 1692, 1692)))
    clicks = [Click(700.5, 800.25), Click(3, 4, positive=False)]
    with open_project(sizes=(2, 3)) as project:
        project.accept(
            box, mask, class_name="cell", plane=Plane(1, 2), clicks=clicks, views=views, score=0.9, seconds=2.5,
            checkpoint="abc",
        )  # fmt: skip

    project = open_project(sizes=(2, 3))
    (stored,) = project.objects()
    assert (stored.id, stored.class_name, stored.box, stored.plane) == (1, "cell", box, Plane(1, 2))
    assert (stored.score, stored.seconds, stored.checkpoint, stored.n_clicks) == (0.9, 2.5, "abc", 2)
    assert stored.area == mask.sum()
    np.testing.assert_array_equal(stored.mask, mask)
    np.testing.assert_array_equal(stored.mask_in(Box(600, 600, 620, 640)), mask[100:120, 120:160])
    assert project.origin(stored.id) == (tuple(clicks), views)
    assert datetime.fromisoformat(stored.created).tzinfo is not None
    (action,) = project.history()
    assert (action.kind, action.checkpoint, action.clicks, action.n_objects) == ("accept", "abc", tuple(clicks), 1)
    assert action.program.startswith("napari-relay ")


def test_a_new_project_has_one_class_and_an_unknown_name_makes_another(project):
    assert [c.name for c in project.classes()] == ["object"]
    assert project.current_class == "object"
    assert project.accept(Box(0, 0, 10, 10), SQUARE).class_name == "object"
    assert project.accept(Box(0, 0, 10, 10), SQUARE, class_name=" cell ").class_name == "cell"
    names = [c.name for c in project.classes()]
    assert names == ["object", "cell"]
    assert len({c.color for c in project.classes()}) == 2
    assert [c.key for c in project.classes()] == ["1", "2"]
    assert project.ensure_class("cell").name == "cell"
    assert len(project.classes()) == 2


def test_the_current_class_is_kept_and_gives_way_when_it_is_undone(open_project):
    project = open_project()
    project.current_class = "cell"
    project.close()
    project = open_project()
    assert project.accept(Box(0, 0, 10, 10), SQUARE).class_name == "cell"
    project.undo()
    project.undo()
    assert project.current_class == "object"


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "\x00"])
def test_a_class_needs_a_printable_name(project, name):
    with pytest.raises(UsageError):
        project.ensure_class(name)
    assert len(project.classes()) == 1


def test_objects_are_found_by_rectangle_and_plane(open_project):
    project = open_project(sizes=(2, 1))
    places = [Box(0, 0, 10, 10), Box(100, 100, 110, 110), Box(100, 100, 110, 110), Box(1290, 1490, 1300, 1500)]
    planes = [Plane(0, 0), Plane(0, 0), Plane(1, 0), Plane(0, 0)]
    for box, plane in zip(places, planes, strict=True):
        project.accept(box, SQUARE, plane=plane)

    def found(box=None, plane=None):
        return [stored.id for stored in project.objects(box, plane)]

    assert found() == [1, 2, 3, 4]
    assert found(plane=Plane(1, 0)) == [3]
    assert found(Box(0, 0, 1300, 1500)) == [1, 2, 3, 4]
    assert found(Box(109, 109, 200, 200)) == [2, 3]
    assert found(Box(110, 110, 200, 200)) == []  # half-open: touching is not meeting
    assert found(Box(90, 90, 100, 100)) == []
    assert found(Box(90, 90, 101, 101), Plane(0, 0)) == [2]
    assert project.count() == 4
    project.delete(2)
    assert found(Box(90, 90, 101, 101)) == [3]
    assert project.count() == 3


def test_a_box_and_a_plane_may_be_of_numpy_numbers(open_project):
    project = open_project(sizes=(1, 3))
    box, plane = Box(*np.array([5, 6, 15, 16])), Plane(np.int64(0), np.int32(2))
    stored = project.accept(box, SQUARE, plane=plane)
    assert project.object(stored.id).box == Box(5, 6, 15, 16)
    assert [item.id for item in project.objects(Box(*np.array([14, 15, 30, 30])), plane)] == [stored.id]


def test_more_objects_than_a_page_are_all_listed(project, monkeypatch):
    monkeypatch.setattr("napari_relay.store.reader._PAGE", 3)
    for _ in range(8):
        project.accept(Box(0, 0, 10, 10), SQUARE)
    assert [stored.id for stored in project.objects()] == list(range(1, 9))
    assert [stored.id for stored in project.objects(Box(0, 0, 5, 5))] == list(range(1, 9))


def test_the_topmost_object_under_a_point_is_found(project):
    ring = np.ones((100, 100), bool)
    ring[40:60, 40:60] = False
    bottom = project.accept(Box(0, 0, 100, 100), np.ones((100, 100), bool))
    top = project.accept(Box(0, 0, 100, 100), ring)
    assert project.object_at(0, 0).id == top.id
    assert project.object_at(49.6, 50.2).id == bottom.id
    assert project.object_at(99.4, 99.4).id == top.id
    assert project.object_at(99.6, 99.4) is None
    assert project.object_at(0, 0, Plane(0, 1)) is None


def test_an_unknown_object_is_an_error(project):
    stored = project.accept(Box(0, 0, 10, 10), SQUARE)
    for call in (
        lambda: project.object(99),
        lambda: project.delete([stored.id, 99]),
        lambda: project.set_class([99], "a"),
        lambda: project.revise(99, Box(0, 0, 10, 10), SQUARE),
        lambda: project.delete([]),
        lambda: project.accept(Box(0, 0, 10, 10), SQUARE, plane=Plane(1, 0)),
    ):
        with pytest.raises(UsageError):
            call()
    assert project.count() == 1
    assert [c.name for c in project.classes()] == ["object"]


def test_listeners_hear_of_each_change_and_cannot_break_it(open_project):
    project = open_project(sizes=(2, 1))
    heard: list[Change] = []
    project.changed.connect(heard.append)
    project.accept(Box(0, 0, 10, 10), SQUARE)
    project.accept(Box(5, 5, 15, 15), SQUARE, plane=Plane(1, 0))
    project.delete([1, 2])
    project.undo()
    project.ensure_class("cell")

    @project.changed.connect
    def fail(change: Change) -> None:
        raise RuntimeError("listener's mistake")

    project.set_class(1, "cell")
    assert project.object(1).class_name == "cell"
    boxes = {1: (Box(0, 0, 10, 10),), 2: (Box(5, 5, 15, 15),)}
    planes = {1: Plane(0, 0), 2: Plane(1, 0)}
    one, two = (lambda kind, i=i: Change(boxes[i], planes[i], (i,), kind) for i in (1, 2))
    assert heard == [
        one("accept"), two("accept"), one("delete"), two("delete"), one("undo"), two("undo"),
        Change((), Plane(), (), "class-create"), one("class-change"),
    ]  # fmt: skip


# -- SQLite is set as the promise needs it -----------------------------------------------------------------------


def test_every_writing_connection_is_durable(project):
    with project._database.write() as db:
        pragmas = {name: db.execute(f"PRAGMA {name}").fetchone()[0] for name in
                   ("journal_mode", "synchronous", "foreign_keys", "user_version", "application_id")}  # fmt: skip
    assert pragmas == {
        "journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "user_version": 3, "application_id": 0x524C4159,
    }  # fmt: skip


def test_reading_connections_cannot_write(project):
    with project._database.read() as db, pytest.raises(sqlite3.OperationalError, match="readonly"):
        db.execute("DELETE FROM objects")


def test_on_a_network_drive_the_rollback_journal_is_used(open_project, monkeypatch):
    monkeypatch.setattr("napari_relay.store.database.is_network_path", lambda path: True)
    project = open_project("network.relay")
    with project._database.write() as db:
        assert db.execute("PRAGMA journal_mode").fetchone()[0] == "delete"
        assert db.execute("PRAGMA synchronous").fetchone()[0] == 2
    project.accept(Box(0, 0, 10, 10), SQUARE)
    with project.snapshot() as snapshot:
        project.accept(Box(0, 0, 10, 10), SQUARE)  # is not held up by the snapshot
        assert snapshot.count() == 1
    assert project.count() == 2


def test_foreign_keys_are_enforced(project):
    with pytest.raises(sqlite3.IntegrityError), project._database.write() as db:
        db.execute('INSERT INTO tiles (object_id, "row", "column", "full") VALUES (99, 0, 0, 1)')


def test_readers_do_not_wait_for_a_writer(project):
    project.accept(Box(0, 0, 10, 10), SQUARE)
    with project._database.write() as db:
        db.execute("DELETE FROM dirty_tiles")
        answers = []
        thread = threading.Thread(target=lambda: answers.append((project.count(), len(project.journal))))
        thread.start()
        thread.join(5)
        assert answers == [(1, 1)]  # the state before, at once


def test_many_threads_may_use_one_project(project):
    failures = []

    def work(number: int) -> None:
        try:
            for _ in range(5):
                stored = project.accept(Box(number, 0, number + 10, 10), SQUARE, class_name=f"class {number}")
                assert project.object(stored.id).mask.all()
                list(project.objects(Box(0, 0, 50, 50)))
                project.set_class(stored.id, "object")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert project.count() == 30
    assert len(project.history(None)) == 60


# -- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "word"),
    [({"fingerprint": "xyz"}, "contents"), ({"shape": (9, 9)}, "9 x 9"), ({"sizes": (3, 1)}, "not 3 x 1")],
)
def test_another_image_is_refused_and_nothing_stays_open(open_project, other, word):
    open_project().close()
    with pytest.raises(ProjectMismatchError, match=word) as caught:
        open_project(**other, image_name="other.tif")
    assert "image.tif" in str(caught.value)
    assert "--project" in caught.value.fix
    open_project()  # the lock was given back


def test_a_project_opens_without_its_image(open_project, tmp_path):
    with open_project() as project:
        project.accept(Box(0, 0, 10, 10), SQUARE)
    with Project.open(tmp_path / "image.tif.relay", create=False) as project:
        assert (project.count(), project.image_name, project.shape) == (1, "image.tif", (1300, 1500))


@pytest.mark.parametrize("content", [b"not a database at all", b"SQLite format 3\x00" + bytes(90), b"\x89PNG" * 5000])
def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path, content):
    path = tmp_path / "image.relay"
    path.write_bytes(content)
    with pytest.raises(ProjectDamagedError, match=r"image\.relay"):
        Project.open(path, fingerprint="a", shape=(5, 5))
    assert path.read_bytes() == content
    assert sorted(p.name for p in tmp_path.iterdir()) == ["image.relay"]


def test_the_database_of_another_program_is_refused(tmp_path):
    path = tmp_path / "image.relay"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE bookmarks (url)")
    db.close()
    with pytest.raises(ProjectDamagedError, match="another program"):
        Project.open(path, fingerprint="a", shape=(5, 5))


def test_a_truncated_project_is_refused(open_project, tmp_path):
    with open_project() as project:
        project.accept(Box(0, 0, 1300, 1500), np.random.default_rng(0).random((1300, 1500)) < 0.5)
    path = tmp_path / "image.tif.relay"
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(ProjectDamagedError, match="backup"):
        open_project().count()


def test_a_project_whose_making_was_cut_short_is_made_anew(tmp_path):
    path = tmp_path / "image.relay"
    path.touch()
    with Project.open(path, fingerprint="a", shape=(50, 50)) as project:
        assert project.accept(Box(0, 0, 10, 10), SQUARE).id == 1


@pytest.mark.parametrize("settings", [{"create": False}, {"read_only": True}, {"fingerprint": None}])
def test_a_missing_project_is_not_made_when_that_was_not_asked(open_project, tmp_path, settings):
    with pytest.raises(StorageError, match="no project"):
        open_project(**settings)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_or_a_folder_as_project_is_named(tmp_path):
    with pytest.raises(StorageError, match="nowhere"):
        Project.open(tmp_path / "nowhere" / "a.relay", fingerprint="a", shape=(5, 5))
    with pytest.raises(ProjectDamagedError, match="folder"):
        Project.open(tmp_path, fingerprint="a", shape=(5, 5))


def test_a_closed_project_says_so(project):
    project.close()
    project.close()
    with pytest.raises(ProjectError, match="closed"):
        project.count()
    with pytest.raises(ProjectError, match="closed"):
        project.accept(Box(0, 0, 10, 10), SQUARE)


def test_a_closed_project_is_one_file_and_its_backup(open_project, tmp_path):
    with open_project() as project:
        project.accept(Box(0, 0, 10, 10), SQUARE)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["image.tif.relay", "image.tif.relay.backup"]


def test_reading_only_goes_beside_a_writer_and_never_writes(open_project, tmp_path):
    project = open_project()
    project.accept(Box(0, 0, 10, 10), SQUARE)
    reader = open_project(read_only=True)
    assert reader.count() == 1
    project.accept(Box(0, 0, 10, 10), SQUARE)
    assert reader.count() == 2
    with pytest.raises(StorageError, match="reading only"):
        reader.accept(Box(0, 0, 10, 10), SQUARE)


def test_a_project_on_a_medium_without_writing_can_be_read(open_project, tmp_path):
    with open_project() as project:
        project.accept(Box(0, 0, 10, 10), SQUARE)
    path = tmp_path / "image.tif.relay"
    before = sorted(tmp_path.iterdir())
    path.chmod(stat.S_IREAD)
    with Project.open(path, read_only=True) as reader:
        assert next(reader.objects()).mask.all()
    assert sorted(tmp_path.iterdir()) == before


def test_a_project_alone_does_not_load_zarr():
    program = (
        "import sys, napari_relay.store; assert 'zarr' not in sys.modules; from napari_relay.store import open_pyramid"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=120).returncode == 0


def test_the_class_of_every_pixel_of_a_project_with_several_classes(project):
    square = np.ones((20, 20), bool)
    project.accept(Box(0, 0, 20, 20), square, class_name="cat")
    project.accept(Box(0, 20, 20, 40), square, class_name="dog")
    project.accept(Box(10, 0, 30, 20), square, class_name="cat", overlap="replace")
    proposed = project.propose([NewObject(Box(40, 40, 60, 60), square, "dog")])
    names = [info.name for info in project.classes()]

    found = project.class_labels(Box(0, 0, 60, 60))

    expected = np.zeros((60, 60), np.uint16)
    expected[:20, :20] = expected[10:30, :20] = names.index("cat") + 1
    expected[:20, 20:40] = names.index("dog") + 1
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.uint16
    project.accept_proposals(proposed.ids)
    assert (project.class_labels(Box(40, 40, 60, 60)) == names.index("dog") + 1).all()

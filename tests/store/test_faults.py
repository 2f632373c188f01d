"""A full disk, a read-only file, a vanished folder: nothing half-written, work goes on afterwards."""

from __future__ import annotations

import errno
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import zarr.storage

from napari_relay.errors import ProjectDamagedError, ProjectLockedError, StorageError
from napari_relay.geometry import Box
from napari_relay.store import Project, PyramidWriter, open_pyramid
from napari_relay.store.database import translate

SQUARE = np.ones((10, 10), bool)
LEVELS = [(1300, 1500), (650, 750)]


def state(project: Project) -> tuple[object, ...]:
    return (
        [(o.id, o.class_name, o.box) for o in project.objects()],
        [c.name for c in project.classes()],
        project.history(None, everything=True),
        project.journal.positions(),
    )


CHANGES = {
    "accept": lambda p, noise: p.accept(Box(0, 0, 1300, 1500), noise, class_name="new"),
    "revise": lambda p, noise: p.revise(1, Box(0, 0, 1300, 1500), noise),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_full_disk_changes_nothing_and_work_goes_on(project, rng, change):
    noise = rng.random((1300, 1500)) < 0.5
    project.accept(Box(0, 0, 10, 10), SQUARE)
    before = state(project)
    with project._database.exclusive() as db:  # SQLite's own "disk is full", at the very place where it arises
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages + 20}")

    with pytest.raises(StorageError, match="full") as caught:
        CHANGES[change](project, noise)

    assert "nothing" in caught.value.fix
    assert state(project) == before
    with project._database.exclusive() as db:
        db.execute("PRAGMA max_page_count = 1000000")
    CHANGES[change](project, noise)
    project.undo()
    assert state(project)[:2] == before[:2]


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.accept(Box(0, 0, 10, 10), SQUARE, class_name="new"),
        lambda p: p.delete(1),
        lambda p: p.set_class(1, "new"),
        lambda p: p.ensure_class("new"),
        lambda p: p.undo(),
    ],
)
def test_a_file_that_became_read_only_changes_nothing_and_work_goes_on(project, change):
    project.accept(Box(0, 0, 10, 10), SQUARE)
    before = state(project)
    with project._database.exclusive() as db:
        db.execute("PRAGMA query_only = ON")
    with pytest.raises(StorageError, match="read-only"):
        change(project)
    assert state(project) == before
    with project._database.exclusive() as db:
        db.execute("PRAGMA query_only = OFF")
    change(project)
    assert state(project) != before


FULL = """
    import resource, sys
    import numpy as np
    from napari_relay.errors import StorageError
    from napari_relay.geometry import Box
    from napari_relay.store import Project
    project = Project.open(sys.argv[1], fingerprint="a", shape=(3000, 3000))
    project.accept(Box(0, 0, 10, 10), np.ones((10, 10), bool))
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
    import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    rng, kept = np.random.default_rng(0), 1
    for _ in range(20):
        try:
            project.accept(Box(0, 0, 600, 600), rng.random((600, 600)) < 0.5)
            kept += 1
        except StorageError as error:
            assert "project" in str(error)
            break
    else:
        sys.exit("the limit was never met")
    assert project.count() == kept, (project.count(), kept)
    print(kept)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of the file size are POSIX's")
def test_a_real_limit_of_the_file_system_loses_nothing_that_was_accepted(tmp_path):
    path = tmp_path / "a.relay"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL), str(path)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    with Project.open(path) as project:
        assert project.count() == int(done.stdout)
        assert project.quick_check() == []
        assert all(stored.mask.any() for stored in project.objects())


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_FULL, StorageError),
        (sqlite3.SQLITE_READONLY_DBMOVED, StorageError),
        (sqlite3.SQLITE_IOERR_FSYNC, StorageError),
        (sqlite3.SQLITE_CANTOPEN, StorageError),
        (sqlite3.SQLITE_CORRUPT_VTAB, ProjectDamagedError),
        (sqlite3.SQLITE_NOTADB, ProjectDamagedError),
        (sqlite3.SQLITE_BUSY, ProjectLockedError),
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, type(None)),
    ],
)
def test_errors_of_sqlite_become_ours_with_a_remedy(code, kind):
    error = sqlite3.OperationalError("so it said")
    error.sqlite_errorcode = code
    ours = translate(error, Path("a.relay"))
    assert type(ours) is kind
    if ours is not None:
        assert "a.relay" in ours.what
        assert ours.fix


# -- the label pyramid -------------------------------------------------------------------------------------------


@pytest.fixture
def disk(monkeypatch):
    """The file system under the pyramid; `disk.full_after = n` makes the n-th write from now fail."""

    class Disk:
        full_after: int | None = None

    disk = Disk()

    def counting(method):
        async def counted(self, *args):
            if disk.full_after is not None:
                disk.full_after -= 1
                if disk.full_after < 0:
                    raise OSError(errno.ENOSPC, "No space left on device")
            return await method(self, *args)

        return counted

    for name in ("set", "delete"):
        monkeypatch.setattr(zarr.storage.LocalStore, name, counting(getattr(zarr.storage.LocalStore, name)))
    return disk


@pytest.mark.parametrize("writes", range(8))
def test_a_full_disk_under_the_pyramid_leaves_its_tiles_on_the_journal(open_project, tmp_path, disk, writes):
    project = open_project()
    pyramid = open_pyramid(tmp_path / "a.labels.ome.zarr", project, LEVELS)
    errors = []
    with PyramidWriter(project, pyramid) as writer:
        writer.failed.connect(errors.append)
        project.changed.connect(writer.schedule)
        writer.flush()
        disk.full_after = writes
        project.accept(Box(500, 500, 530, 530), np.ones((30, 30), bool))  # four tiles of level 0
        project.accept(Box(5, 5, 10, 10), np.ones((5, 5), bool))
        with suppress(StorageError):
            writer.flush(30)
        assert all("No space left" in str(error) for error in errors)
        assert errors or disk.full_after >= 0
        disk.full_after = None
        project.undo()  # what stands in level 0 may now equal what should: the coarse levels must not be forgotten
        writer.flush(30)
        np.testing.assert_array_equal(pyramid.arrays[0][...], project.labels(Box(0, 0, 1300, 1500)))
        project.undo()
        writer.flush(30)
        assert not any(array[...].any() for array in pyramid.arrays)
    assert len(project.journal) == 0


def test_a_damaged_chunk_makes_the_pyramid_be_rendered_anew(open_project, tmp_path):
    path = tmp_path / "a.labels.ome.zarr"
    with open_project() as project, PyramidWriter(project, open_pyramid(path, project, LEVELS)) as writer:
        project.accept(Box(0, 0, 10, 10), SQUARE)
        project.accept(Box(700, 700, 710, 710), SQUARE)
        writer.flush()
    for level in "01":
        for chunk in (path / level / "c").rglob("*"):
            if chunk.is_file():
                chunk.write_bytes(b"rubbish")
    with open_project() as project:
        pyramid = open_pyramid(path, project, LEVELS)
        with PyramidWriter(project, pyramid) as writer:
            project.accept(Box(20, 20, 30, 30), SQUARE)
            writer.flush(60)
            np.testing.assert_array_equal(pyramid.arrays[0][...], project.labels(Box(0, 0, 1300, 1500)))


def test_a_damaged_mask_is_reported_by_object_and_does_not_hold_up_the_others(open_project, tmp_path, rng):
    project = open_project()
    first = project.accept(Box(0, 0, 500, 500), rng.random((500, 500)) < 0.5)
    second = project.accept(Box(100, 100, 110, 110), SQUARE)
    with project._database.write() as db:
        db.execute("UPDATE tiles SET bits = substr(bits, 1, 100) WHERE object_id = ?", (first.id,))
    pyramid = open_pyramid(tmp_path / "a.labels.ome.zarr", project, LEVELS)
    with PyramidWriter(project, pyramid) as writer:
        writer.flush(30)
        assert [f"object {first.id}, tile (0, 0)" in str(error) for error in writer.damage] == [True]
        assert np.unique(pyramid.arrays[0][...]).tolist() == [0, second.id]

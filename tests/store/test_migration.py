"""A project that version 1 of the format wrote opens, and nothing of it is lost."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from napari_relay.errors import ProjectVersionError
from napari_relay.geometry import Box, Click, Plane
from napari_relay.store import Project
from napari_relay.store.schema import SCHEMA_VERSION

OLD = Path(__file__).parent / "data" / "version-1.relay"
Y, X = np.ogrid[:60, :60]
DISC = (Y - 30) ** 2 + (X - 30) ** 2 <= 30**2


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return Path(shutil.copy(OLD, tmp_path / "old.relay"))


def rows(path: Path, query: str) -> list[tuple]:
    db = sqlite3.connect(path)
    try:
        return db.execute(query).fetchall()
    finally:
        db.close()


def test_a_version_1_project_keeps_objects_masks_classes_and_history(old):
    with Project.open(old, fingerprint="v1") as project:
        found = [(o.id, o.class_name, o.box, o.plane, o.state, o.author) for o in project.objects()]
        assert found == [
            (1, "dust", Box(0, 0, 60, 60), Plane(0, 0), "accepted", "ada"),
            (2, "dust", Box(490, 490, 550, 550), Plane(0, 1), "accepted", "ada"),
            (3, "dust", Box(25, 20, 85, 80), Plane(0, 0), "accepted", "ada"),
        ]
        np.testing.assert_array_equal(project.object(3).mask, DISC)
        assert project.origin(1)[0] == (Click(30, 30),)
        assert [(a.kind, a.state, a.actor) for a in project.history()] == [
            ("accept", "undone", "user"), ("delete", "done", "user"), ("class-change", "done", "user"),
            ("correct", "done", "user"), *[("accept", "done", "user")] * 4,
        ]  # fmt: skip
        assert project.count() == 3
        assert project.totals() == {("dust", "accepted"): 3}


def test_a_version_1_project_can_be_undone_and_changed_after_the_migration(old):
    with Project.open(old) as project:
        project.undo()  # the delete
        assert project.object(4).mask.all()
        assert project.count() == 4
        project.set_state([1, 4], "locked")
        while project.undo():
            pass
        assert (project.count(), project.totals()) == (0, {})
        while project.redo():
            pass
        assert project.totals() == {("dust", "accepted"): 2, ("dust", "locked"): 1, ("object", "locked"): 1}


def test_the_file_as_it_was_is_kept_beside_the_migrated_one(old):
    Project.open(old).close()
    backup = old.with_name("old.relay.v1.backup")
    assert rows(backup, "PRAGMA user_version") == [(1,)]
    assert rows(backup, "SELECT id, live, class_id, area FROM objects") == rows(
        OLD, "SELECT id, live, class_id, area FROM objects"
    )
    assert rows(old, "PRAGMA user_version") == [(SCHEMA_VERSION,)]


def test_a_migrated_file_has_the_same_tables_as_a_new_one(old, tmp_path):
    Project.open(old).close()
    Project.open(tmp_path / "new.relay", fingerprint="a", shape=(10, 10)).close()
    for kind in ("table", "trigger", "view", "index"):
        names = f"SELECT name FROM sqlite_master WHERE type = '{kind}' ORDER BY 1"
        assert rows(old, names) == rows(tmp_path / "new.relay", names)
    for (table,) in rows(old, "SELECT name FROM sqlite_master WHERE type = 'table'"):
        assert rows(old, f"PRAGMA table_info({table})") == rows(tmp_path / "new.relay", f"PRAGMA table_info({table})")


def test_a_version_1_project_is_not_changed_by_looking_at_it(old):
    before = old.read_bytes()
    with pytest.raises(ProjectVersionError, match="Open it for writing once"):
        Project.open(old, read_only=True)
    assert old.read_bytes() == before

"""Migrations, backups, checks, repair and relocation."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from napari_relay.errors import ProjectDamagedError, ProjectMismatchError, ProjectVersionError, StorageError
from napari_relay.geometry import Box
from napari_relay.store import Damage, Project, open_pyramid, restore_backup
from napari_relay.store.database import Database
from napari_relay.store.migrations import migrate
from napari_relay.store.schema import SCHEMA_VERSION

SQUARE = np.ones((10, 10), bool)


def finished(steps):
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def edit(path: Path, statement: str, *values: object) -> None:
    """Change the file behind the project's back."""
    db = sqlite3.connect(path)
    with db:
        db.execute(statement, values)
    db.close()


# -- versions ----------------------------------------------------------------------------------------------------


def test_a_project_of_a_newer_program_is_refused_and_untouched(open_project, tmp_path):
    open_project().close()
    path = tmp_path / "image.tif.relay"
    edit(path, "PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(ProjectVersionError, match="version 99") as caught:
        open_project()
    assert "Update" in caught.value.fix
    assert path.read_bytes() == before


def test_each_step_of_a_migration_is_preceded_by_a_backup(open_project, tmp_path):
    with open_project() as project:
        project.accept(Box(0, 0, 10, 10), SQUARE)
    database = Database(tmp_path / "image.tif.relay")
    now = SCHEMA_VERSION
    steps = {
        now: lambda db: db.execute("ALTER TABLE objects ADD COLUMN weight REAL"),
        now + 1: lambda db: db.execute("UPDATE objects SET weight = 1.5"),
    }

    backups = migrate(database, steps, newest=now + 2)

    assert [b.name for b in backups] == [f"image.tif.relay.v{now}.backup", f"image.tif.relay.v{now + 1}.backup"]
    for version, backup in enumerate(backups, start=now):
        db = sqlite3.connect(backup)
        assert db.execute("PRAGMA user_version").fetchone()[0] == version
        assert db.execute("SELECT count(*) FROM objects").fetchone()[0] == 1
        db.close()
    with database.read() as db:
        assert db.execute("SELECT weight FROM objects").fetchone()[0] == 1.5
        assert db.execute("PRAGMA user_version").fetchone()[0] == now + 2
    database.close()


def test_a_step_that_fails_leaves_the_version_it_began_with(open_project, tmp_path):
    open_project().close()
    database = Database(tmp_path / "image.tif.relay")

    def fails(db: sqlite3.Connection) -> None:
        db.execute("ALTER TABLE objects ADD COLUMN weight REAL")
        db.execute("SELECT nonsense")

    with pytest.raises(sqlite3.OperationalError):
        migrate(database, {SCHEMA_VERSION: fails}, newest=SCHEMA_VERSION + 1)
    with database.read() as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION
        assert "weight" not in [row[1] for row in db.execute("PRAGMA table_info(objects)")]
    database.close()


def test_a_version_without_a_step_says_what_to_do(open_project, tmp_path):
    open_project().close()
    for read_only, word in ((False, "older"), (True, "writing once")):
        database = Database(tmp_path / "image.tif.relay", read_only=read_only)
        steps = {SCHEMA_VERSION: lambda db: None} if read_only else {}
        with pytest.raises(ProjectVersionError, match=word):
            migrate(database, steps, newest=SCHEMA_VERSION + 1)
        database.close()


# -- backups -----------------------------------------------------------------------------------------------------


def test_closing_makes_a_backup_only_of_what_is_new(open_project, tmp_path):
    backup = tmp_path / "image.tif.relay.backup"
    open_project().close()
    assert not backup.exists()
    with open_project() as project:
        project.accept(Box(0, 0, 10, 10), SQUARE)
    first = backup.stat().st_mtime_ns
    open_project().close()
    assert backup.stat().st_mtime_ns == first
    with open_project() as project:
        project.undo()
    assert backup.stat().st_mtime_ns != first


def test_a_backup_goes_on_beside_a_writer(project, tmp_path):
    project.accept(Box(0, 0, 10, 10), SQUARE)
    path = project.backup()
    project.accept(Box(0, 0, 10, 10), SQUARE)
    with Project.open(path, read_only=True) as copy:
        assert copy.count() == 1
    assert project.count() == 2


def test_a_backup_that_cannot_be_written_does_not_hinder_closing(open_project, tmp_path, caplog):
    project = open_project()
    project.accept(Box(0, 0, 10, 10), SQUARE)
    (tmp_path / "image.tif.relay.backup.partial").mkdir()
    with pytest.raises(StorageError, match="backup"):
        project.backup()
    project.close()
    assert "No backup was made" in caplog.text
    assert open_project().count() == 1


def test_a_damaged_project_is_replaced_by_its_backup_and_kept(open_project, tmp_path):
    path = tmp_path / "image.tif.relay"
    pyramid_path = tmp_path / "a.labels.ome.zarr"
    with open_project() as project:
        open_pyramid(pyramid_path, project, [(1300, 1500)])
        project.accept(Box(0, 0, 10, 10), SQUARE)
    path.write_bytes(b"rubbish" * 1000)
    with pytest.raises(ProjectDamagedError, match=r"image\.tif\.relay\.backup"):
        open_project()

    kept = restore_backup(path)

    assert kept.read_bytes().startswith(b"rubbish")
    project = open_project()
    assert project.count() == 1
    open_pyramid(pyramid_path, project, [(1300, 1500)])
    assert len(project.journal) == 1  # the pyramid of another state is rendered anew


def test_restoring_without_a_backup_is_refused(open_project, tmp_path):
    open_project().close()
    with pytest.raises(StorageError, match="no backup"):
        restore_backup(tmp_path / "image.tif.relay")


# -- checks ------------------------------------------------------------------------------------------------------


def test_a_sound_project_has_no_damage(project, act):
    act(project, 15)
    assert project.quick_check() == []
    assert finished(project.repair()) == []


def test_damage_is_reported_by_object_and_rectangles_are_mended(open_project, tmp_path, rng):
    with open_project() as project:
        for _ in range(5):
            mask = rng.random((600, 600)) < 0.5
            mask[0, 0] = mask[-1, -1] = True
            project.accept(Box(0, 0, 600, 600), mask)
    path = tmp_path / "image.tif.relay"
    edit(path, 'UPDATE tiles SET bits = zeroblob(50) WHERE object_id = 2 AND "row" = 1 AND "column" = 0')
    edit(path, "UPDATE objects SET area = 7 WHERE id = 3")
    edit(path, "DELETE FROM object_boxes WHERE id = 4")
    edit(path, "UPDATE object_boxes SET y1 = 900 WHERE id = 5")

    with open_project() as project:
        assert {o.id for o in project.objects(Box(0, 0, 600, 600))} == {1, 2, 3, 5}
        damage = finished(project.repair())
        assert {(d.object_id, d.mended) for d in damage} == {(2, False), (3, False), (4, True), (5, True)}
        assert any("tile (1, 0)" in d.what for d in damage)
        assert {o.id for o in project.objects(Box(0, 0, 600, 600))} == {1, 2, 3, 4, 5}
        assert {d.object_id for d in finished(project.repair())} == {2, 3}


def test_damaged_pages_are_found(open_project, tmp_path, rng):
    with open_project() as project:
        for _ in range(20):
            project.accept(Box(0, 0, 600, 600), rng.random((600, 600)) < 0.5)
    path = tmp_path / "image.tif.relay"
    raw = bytearray(path.read_bytes())
    middle = len(raw) // 2 // 4096 * 4096
    raw[middle : middle + 40960] = rng.bytes(40960)
    path.write_bytes(raw)
    with open_project() as project:
        faults = project.quick_check() + finished(project.repair())
        assert faults
        assert all(isinstance(fault, str | Damage) for fault in faults)


def test_progress_of_a_repair_counts_objects(project, monkeypatch):
    monkeypatch.setattr("napari_relay.store.check._PAGE", 2)
    for _ in range(5):
        project.accept(Box(0, 0, 10, 10), SQUARE)
    assert list(project.repair()) == [2, 4, 5]


# -- relocation --------------------------------------------------------------------------------------------------


def test_a_project_is_tied_to_the_image_saved_anew(open_project):
    with open_project() as project:
        project.accept(Box(0, 0, 10, 10), SQUARE)
        with pytest.raises(ProjectMismatchError):
            project.relocate("xyz", shape=(9, 9), image_name="image.ome.tif")
        project.relocate("xyz", shape=(1300, 1500), image_name="image.ome.tif")
        assert project.history(1, everything=True)[0].summary == "from image.tif to image.ome.tif"
        assert project.can_undo
    with pytest.raises(ProjectMismatchError):
        open_project()
    with open_project(fingerprint="xyz") as project:
        assert (project.count(), project.image_name) == (1, "image.ome.tif")


# -- the description for others ----------------------------------------------------------------------------------


def described() -> str:
    return (Path(__file__).parents[2] / "docs" / "format.md").read_text(encoding="utf-8")


def code_blocks(language: str) -> list[str]:
    return [block.split("```")[0] for block in described().split(f"```{language}\n")[1:]]


def test_the_python_of_the_description_reads_a_mask(open_project, tmp_path, rng):
    with open_project() as project:
        for _ in range(7):
            stored = project.accept(Box(300, 200, 1200, 1400), rng.random((900, 1200)) < 0.5)
        expected = stored.mask
    (program,) = code_blocks("python")
    names: dict[str, object] = {}
    exec(program.replace("a.tif.relay", str(tmp_path / "image.tif.relay")), names)
    np.testing.assert_array_equal(names["mask"], expected)


def test_the_sql_of_the_description_runs(project, act):
    act(project, 15)
    statements = [part for block in code_blocks("sql") for part in block.split(";") if part.strip()]
    assert len(statements) == 4
    with project._database.read() as db:
        for statement in statements:
            db.execute(statement).fetchall()


def test_every_table_and_column_stands_in_the_description(project):
    text = described()
    with project._database.read() as db:
        tables = db.execute(
            "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%' "
            "AND name NOT LIKE 'object_boxes_%'"
        ).fetchall()
        for (table,) in tables:
            assert f"`{table}`" in text, table
            for column in db.execute(f"PRAGMA table_info({table})"):
                assert f"`{column[1]}`" in text, (table, column[1])

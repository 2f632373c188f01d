"""`repair`: damage is found and named by object, what is derived is made anew, the rest comes from the backup."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from napari_relay.geometry import Box
from napari_relay.store import Project, PyramidWriter, open_pyramid

Run = Callable[..., Any]
SHAPE = (700, 600)
LEVELS = [SHAPE, (350, 300)]


@pytest.fixture
def project(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Three speckled objects, and their label pyramid."""
    path = tmp_path / "a.png.relay"
    with Project.open(path, fingerprint="f", shape=SHAPE, image_name="a.png") as opened:
        labels = open_pyramid(tmp_path / "a.png.labels.ome.zarr", opened, LEVELS)
        with PyramidWriter(opened, labels) as writer:
            for n in range(3):
                opened.accept(Box(200 * n, 10, 200 * n + 150, 160), rng.random((150, 150)) < 0.6)
            assert writer.flush(30)
    return path


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def levels(project: Path) -> list[np.ndarray]:
    group = zarr.open_group(project.with_name("a.png.labels.ome.zarr"), mode="r")
    return [np.asarray(group[str(index)]) for index in range(len(LEVELS))]


def edit(project: Path, *statements: str) -> None:
    db = sqlite3.connect(project)
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()


def test_sound_project_is_said_to_be_sound(run: Run, project: Path) -> None:
    ran = run("repair", project)

    assert ran.code == 0
    assert "3 objects checked, no damage" in ran.out
    found = json.loads(run("repair", project, "--json").out)
    assert (found["objects"], found["damage"], found["tiles_rendered"]) == (3, [], 2)


def test_pyramid_comes_back_to_equal_values(run: Run, project: Path) -> None:
    before = levels(project)
    group = zarr.open_group(project.with_name("a.png.labels.ome.zarr"), mode="r+")
    group["0"][:300, :300] = 77
    shutil.rmtree(project.with_name("a.png.labels.ome.zarr") / "1" / "c")

    assert run("repair", project).code == 0

    for array, expected in zip(levels(project), before, strict=True):
        np.testing.assert_array_equal(array, expected)


def test_deleted_pyramid_is_made_again(run: Run, project: Path) -> None:
    before = levels(project)
    shutil.rmtree(project.with_name("a.png.labels.ome.zarr"))

    assert run("repair", project, "--no-pyramid").code == 0
    assert not project.with_name("a.png.labels.ome.zarr").exists()
    assert run("repair", project).code == 0
    for array, expected in zip(levels(project), before, strict=True):
        np.testing.assert_array_equal(array, expected)


def test_damaged_masks_are_named_by_object_and_left_out(run: Run, project: Path) -> None:
    edit(project, "UPDATE tiles SET bits = x'00ff' WHERE object_id = 2", "UPDATE objects SET area = 7 WHERE id = 3")

    ran = run("repair", project, "--json")

    damage = json.loads(ran.out)["damage"]
    assert ran.code == 1
    assert {found["object_id"] for found in damage} == {2, 3}
    assert not any(found["mended"] for found in damage)
    assert set(np.unique(levels(project)[0])) == {0, 1, 3}
    text = run("repair", project)
    assert (text.code, "object 2" in text.out, "instead of 7" in text.out) == (1, True, True)


def test_rectangles_and_numbers_are_mended(run: Run, project: Path) -> None:
    edit(project, "DELETE FROM object_boxes WHERE id = 1", "UPDATE totals SET n = 99")

    ran = run("repair", project)

    assert ran.code == 0
    assert ran.out.count("Mended:") == 2
    with Project.open(project, create=False) as opened:
        assert [stored.id for stored in opened.objects(Box(0, 0, 20, 20))] == [1]
        assert opened.count() == 3


def test_index_that_does_not_fit_is_made_anew(run: Run, project: Path) -> None:
    hidden = "FROM sqlite_master WHERE name = 'objects_live'"
    db = sqlite3.connect(project)
    entry = db.execute(f"SELECT type, name, tbl_name, rootpage, sql {hidden}").fetchone()
    db.close()
    # While the index is hidden it misses a change.
    edit(project, "PRAGMA writable_schema = ON", f"DELETE {hidden}")
    edit(project, "UPDATE objects SET class_id = 1, state = 'reviewed' WHERE id = 2")
    db = sqlite3.connect(project)
    db.execute("PRAGMA writable_schema = ON")
    db.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", entry)
    db.commit()
    db.close()

    ran = run("repair", project, "--json")

    damage = json.loads(ran.out)["damage"]
    assert ran.code == 0
    assert any("objects_live" in found["what"] for found in damage)
    assert all(found["mended"] for found in damage)
    assert run("repair", project, "--json").out.count("what") == 0


def test_unreadable_project_comes_back_from_its_backup(run: Run, project: Path) -> None:
    project.write_bytes(b"SQLite format 3\0" + bytes(5000))

    ran = run("repair", project)
    assert ran.code == 1
    assert "--restore" in ran.err

    ran = run("repair", project, "--restore")
    assert ran.code == 0
    assert "3 objects checked, no damage" in ran.out
    assert project.with_name("a.png.relay.damaged").exists()
    assert len(np.unique(levels(project)[0])) == 4


def test_open_project_is_not_touched(run: Run, project: Path) -> None:
    with Project.open(project, create=False):
        assert run("repair", project).code == 1


@pytest.mark.parametrize("words", [["none.relay"], ["none.relay", "--restore"]])
def test_missing_project_fails(run: Run, tmp_path: Path, words: list[str]) -> None:
    ran = run("repair", tmp_path / words[0], *words[1:])
    assert ran.code == 1
    assert len(ran.err.splitlines()) == 1

"""`export FOLDER` and `classes`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_relay.geometry import Box
from napari_relay.store import Project
from napari_relay.workspace.folder import set_done

Run = Callable[..., Any]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three photos: one done, one begun, one new."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for index, name in enumerate(("a.png", "b.png", "c.png")):
        Image.fromarray(np.full((60, 80), index, np.uint8)).save(folder / name)
    for name, done in (("a.png", True), ("b.png", False)):
        with Project.open(folder / f"{name}.relay", fingerprint=name, shape=(60, 80), image_name=name) as project:
            project.accept(Box(5, 5, 15, 20), np.ones((10, 15), bool), class_name="cell")
            set_done(project, done=done)
    return folder


def test_every_project_of_a_folder_is_exported(run: Run, photos: Path, tmp_path: Path) -> None:
    ran = run("export", photos, "--format", "coco", "--out", tmp_path / "out")

    assert ran.code == 0, ran.err
    assert "2 objects of 2 images" in ran.out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a.png.coco.json", "a.png.coco.json.certificate.json", "b.png.coco.json", "b.png.coco.json.certificate.json",
    ]  # fmt: skip
    assert json.loads((tmp_path / "out" / "a.png.coco.json").read_text())["annotations"][0]["area"] == 150


def test_only_what_is_done_when_that_is_asked(run: Run, photos: Path, tmp_path: Path) -> None:
    ran = run("export", photos, "--format", "geojson", "--done", "--out", tmp_path / "out", "--json")
    report = json.loads(ran.out)
    assert [Path(image["path"]).name for image in report["images"]] == ["a.png.geojson"]
    assert (report["n_images"], report["n_done"], report["failed"]) == (3, 1, {})


def test_one_project_that_cannot_be_read_does_not_stop_the_others(run: Run, photos: Path, tmp_path: Path) -> None:
    (photos / "a.png.relay").write_bytes(b"damaged")
    ran = run("export", photos, "--format", "coco", "--out", tmp_path / "out")
    assert ran.code == 1
    assert "a.png" in ran.err
    assert (tmp_path / "out" / "b.png.coco.json").exists()


def test_a_folder_needs_a_format_and_something_to_export(run: Run, photos: Path, tmp_path: Path) -> None:
    assert run("export", photos, "--out", tmp_path / "out").code == 2
    assert run("export", photos, "--format", "coco", "--region", "0,0,9,9", "--out", tmp_path / "out").code == 2
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run("export", empty, "--format", "coco", "--out", tmp_path / "out").code == 2


def test_classes_are_saved_loaded_and_listed(run: Run, photos: Path, tmp_path: Path) -> None:
    file = tmp_path / "my.classes.json"
    assert run("classes", photos / "a.png.relay", "--save", file).code == 0
    template = json.loads(file.read_text())
    assert [entry["name"] for entry in template["classes"]] == ["object", "cell"]
    template["classes"].append({"name": "nucleus", "color": "#123456", "key": "9", "parent": "cell"})
    file.write_text(json.dumps(template))

    assert run("classes", photos / "b.png.relay", "--load", file).code == 0

    shown = json.loads(run("classes", photos / "b.png.relay", "--json").out)
    assert shown == template
    assert "    nucleus" not in run("classes", photos / "a.png.relay").out
    assert "  nucleus" in run("classes", photos / "b.png.relay").out
    assert run("classes", photos).code == 2, "the folder has no template yet"
    assert run("classes", photos, "--load", file).code == 0
    assert json.loads(run("classes", photos, "--json").out) == template


def test_a_template_with_a_mistake_changes_nothing(run: Run, photos: Path, tmp_path: Path) -> None:
    file = tmp_path / "bad.classes.json"
    file.write_text('{"relay_classes": 1, "classes": [{"name": "x", "color": "blue"}]}')
    ran = run("classes", photos / "a.png.relay", "--load", file)
    assert ran.code == 1
    assert "bad.classes.json" in ran.err
    assert "blue" in ran.err


def test_exports_of_folders_below_lie_in_the_same_folders(run: Run, photos: Path) -> None:
    below = photos / "day 2" / "left"
    below.mkdir(parents=True)
    Image.fromarray(np.zeros((60, 80), np.uint8)).save(below / "a.png")
    with Project.open(below / "a.png.relay", fingerprint="d", shape=(60, 80), image_name="a.png") as project:
        project.accept(Box(5, 5, 15, 20), np.ones((10, 15), bool), class_name="cell")

    for _ in range(2):  # the second time the folder of exports, inside the photos, is no folder of images
        ran = run("export", photos, "--recursive", "--format", "label-png", "--out", photos / "out", "--overwrite")
        assert ran.code == 0, ran.err
        assert "3 objects of 3 images" in ran.out

    found = sorted(path.relative_to(photos / "out").as_posix() for path in (photos / "out").rglob("*.png"))
    assert found == ["a.png.png", "b.png.png", "day 2/left/a.png.png"]

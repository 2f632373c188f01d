"""`import`: objects of a file are in the project, or one sentence and nothing has changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from napari_relay.geometry import Box
from napari_relay.store import CleaningRules, Project

Run = Callable[..., Any]
SQUARE = {"type": "Polygon", "coordinates": [[[10, 20], [40, 20], [40, 50], [10, 50], [10, 20]]]}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    path = tmp_path / "a.png.relay"
    with Project.open(path, fingerprint="f", shape=(70, 60), image_name="a.png"):
        return path


@pytest.fixture
def geojson(tmp_path: Path) -> Path:
    path = tmp_path / "a.geojson"
    point = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 1]}}
    feature = {"type": "Feature", "geometry": SQUARE, "properties": {"classification": {"name": "cell"}}}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature, point]}))
    return path


def test_objects_go_into_the_project(run: Run, project: Path, geojson: Path) -> None:
    ran = run("import", project, geojson)

    assert ran.code == 0
    assert "1 objects" in ran.out
    assert "1 x Point" in ran.out
    with Project.open(project, create=False) as opened:
        assert [(item.class_name, item.box) for item in opened.objects()] == [("cell", Box(20, 10, 50, 40))]


def test_an_image_gets_its_project_and_label_pyramid(run: Run, tmp_path: Path, geojson: Path) -> None:
    Image.new("L", (60, 70)).save(tmp_path / "b.png")

    report = json.loads(run("import", tmp_path / "b.png", geojson, "--json").out)

    assert (report["format"], report["ids"]) == ("geojson", [1])
    with Project.open(tmp_path / "b.png.relay", create=False, read_only=True) as opened:
        truth = opened.labels(Box(0, 0, 70, 60))
    np.testing.assert_array_equal(zarr.open_group(tmp_path / "b.png.labels.ome.zarr", mode="r")["0"][...], truth)
    assert truth.any()


def test_class_and_overlap_are_the_users(run: Run, project: Path, geojson: Path, tmp_path: Path) -> None:
    run("import", project, geojson)
    tifffile.imwrite(tmp_path / "a.tif", np.full((70, 60), 3, np.uint8))

    ran = run("import", project, tmp_path / "a.tif", "--class", "rest", "--overlap", "keep")

    assert ran.code == 0
    with Project.open(project, create=False, read_only=True) as opened:
        assert [(item.class_name, item.area) for item in opened.objects()] == [("cell", 900), ("rest", 4200 - 900)]


def test_a_mistake_in_the_file_is_one_sentence_and_changes_nothing(run: Run, project: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.geojson").write_text(json.dumps({"features": [{"geometry": {"type": "Polygon"}}]}))

    ran = run("import", project, tmp_path / "bad.geojson")

    assert ran.code == 1
    assert "bad.geojson: features[0].geometry.coordinates" in ran.err
    with Project.open(project, create=False, read_only=True) as opened:
        assert opened.count() == 0


def test_a_wrong_call_exits_with_2(run: Run, project: Path, geojson: Path) -> None:
    assert run("import", project, geojson, "--overlap", "maybe").code == 2
    assert run("import", project, geojson, "--format", "excel").code == 2
    assert run("import", project, geojson, "--plane", "9,9").code == 2


def test_what_is_exported_can_be_imported(run: Run, project: Path, geojson: Path, tmp_path: Path) -> None:
    run("import", project, geojson)
    with Project.open(tmp_path / "other.relay", fingerprint="f", shape=(70, 60), image_name="a.png"):
        pass

    for name in ("a.coco.json", "a.labelme.json", "a.tif", "a.png", "a.yolo", "a.zarr"):
        assert run("export", project, "--out", tmp_path / name).code == 0, name
        assert run("import", tmp_path / "other.relay", tmp_path / name).code == 0, name

    with Project.open(tmp_path / "other.relay", create=False, read_only=True) as opened:
        assert [item.area for item in opened.objects()] == [900] * 6


def test_masks_are_cleaned_only_when_that_is_asked(run: Run, project: Path, geojson: Path) -> None:
    with Project.open(project, create=False) as opened:
        opened.set_cleaning(CleaningRules(smooth_px=5))

    run("import", project, geojson)
    run("import", project, geojson, "--clean")

    with Project.open(project, create=False, read_only=True) as opened:
        plain, cleaned = (item.area for item in opened.objects())
    assert plain == 900
    assert 0 < cleaned < 900, "smoothing rounds the corners of a square"

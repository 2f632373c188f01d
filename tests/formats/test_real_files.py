"""Files in the form that QuPath 0.5 and 0.3, CVAT and labelme 5 write, made by hand after their documentation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from import_checks import run

from napari_relay.geometry import Box

DATA = Path(__file__).parent / "data"


def test_annotations_and_cells_of_qupath(new_project):
    project = new_project((200, 400))
    report = run(project, DATA / "qupath_0.5.geojson")
    region, parts, ellipse, cell = project.objects()

    assert (region.class_name, region.state, region.note, region.box) == (
        "Tumor", "locked", "Region 1", Box(20, 10, 70, 110)
    )  # fmt: skip
    assert region.area == 100 * 50 - 20 * 20
    assert not region.mask_in(Box(30, 40, 50, 60)).any(), "the hole"
    assert (parts.class_name, parts.area, parts.box) == ("Stroma: Positive", 800, Box(10, 200, 30, 260))
    assert ellipse.area == pytest.approx(np.pi * 25 * 20, rel=0.01)
    assert ellipse.class_name == project.current_class
    assert (cell.class_name, cell.box) == ("Positive", Box(101, 300, 121, 318))
    colors = {info.name: info.color for info in project.classes()}
    assert (colors["Tumor"], colors["Positive"]) == ("#c80000", "#fa3e3e")
    assert report.skipped == {"MultiPoint": 1, "LineString": 1}


def test_a_list_of_features_of_an_older_qupath(new_project):
    project = new_project((200, 400))
    run(project, DATA / "qupath_0.3.json")
    annotation, detection = project.objects()
    assert (annotation.class_name, annotation.state, annotation.area) == ("Tumor", "accepted", 5000)
    assert {info.name: info.color for info in project.classes()}["Tumor"] == "#c80000"
    assert detection.box == Box(100, 200, 110, 210)


def test_polygons_masks_and_boxes_of_cvat(new_project):
    project = new_project((40, 50), name="photo.png")
    run(project, DATA / "cvat_instances_default.json")
    found = [(item.class_name, item.box, item.area) for item in project.objects()]
    assert found == [
        ("cat", Box(5, 5, 15, 25), 200), ("dog", Box(10, 30, 13, 33), 9), ("dog", Box(20, 40, 26, 48), 48)
    ]  # fmt: skip


def test_every_kind_of_shape_of_labelme(new_project):
    project = new_project((40, 50), name="photo.png")
    report = run(project, DATA / "labelme_5.5.json")
    found = [(item.class_name, item.box, item.area) for item in project.objects()]
    assert [entry[0] for entry in found] == ["person", "person", "car", "wheel", "leaf"]
    assert found[1][1:] == (Box(5, 30, 9, 43), 40), "two shapes of one group are one object"
    assert found[2][1:] == (Box(20, 30, 30, 40), 100)
    assert found[3][2] == pytest.approx(np.pi * 16, rel=0.1)
    leaf = project.object(5)
    assert (leaf.box, leaf.area) == (Box(20, 2, 26, 10), 6 * 4 - 4 + 1)
    assert report.skipped == {"point": 1}
    assert project.object(2).note == "left part"

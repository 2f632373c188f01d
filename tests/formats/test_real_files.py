"""Files of other programs: those of `data/others` written by the programs themselves (its README names them), those of
`data` in the form that QuPath 0.5 and 0.3, CVAT and labelme 5 write, made by hand after their documentation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from import_checks import run
from others_objects import CLASS_OF, IN_PARTS, WITH_HOLE, masks
from skimage.measure import euler_number, label

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


# Written by the programs themselves ---------------------------------------------------------------------------------

EXACT = ("datumaro_cvat.xml", "datumaro_coco.json", "pycocotools.json", "qubalab.geojson")
"""Outlines along pixel edges, or masks: not a pixel may differ."""


def whole(item, shape):
    mask = np.zeros(shape, bool)
    mask[item.box.slices] = item.mask
    return mask


def matched(project):
    """Each coin's number, the object that overlaps it most, and their IoU."""
    for number, truth in masks().items():
        found = [(item, whole(item, truth.shape)) for item in project.objects()]
        iou, item = max(
            (((mask & truth).sum() / (mask | truth).sum(), item) for item, mask in found), key=lambda pair: pair[0]
        )
        yield number, item, iou


@pytest.mark.parametrize("name", EXACT)
def test_what_other_programs_wrote_of_the_coins_comes_in_pixel_by_pixel(new_project, name):
    project = new_project((303, 384), name="coins.png")
    run(project, DATA / "others" / name)
    truths = masks()
    for number, item, iou in matched(project):
        assert (iou, item.class_name, item.area) == (1, CLASS_OF[number], truths[number].sum())
        mask = whole(item, truths[number].shape)
        n_parts = label(mask, connectivity=1).max()
        n_holes = n_parts - euler_number(mask, connectivity=1)
        assert (n_parts, n_holes) == (1 + (number in IN_PARTS), int(number in WITH_HOLE))
    assert project.count() == len(truths) + (2 if name == "datumaro_cvat.xml" else 0)


def test_boxes_of_cvat_turned_or_not_and_what_is_no_object(new_project):
    project = new_project((303, 384), name="coins.png")
    report = run(project, DATA / "others" / "datumaro_cvat.xml")
    box, turned = list(project.objects())[5:]
    assert (box.class_name, box.box, box.area) == ("small coin", Box(108, 84, 145, 122), 38 * 37)
    assert (turned.class_name, turned.area) == ("large coin", pytest.approx(40 * 30, rel=0.02))
    # Its corners by datumaro's own `as_polygon`: (196, 102) (231, 122) (216, 148) (181, 128).
    assert turned.box == Box(102, 181, 148, 231)
    assert report.skipped == {"polyline": 1, "points": 1}


def test_polygons_masks_and_drawn_shapes_of_labelme_6(new_project):
    project = new_project((303, 384), name="coins.png")
    report = run(project, DATA / "others" / "labelme.json")
    truths = masks()
    for number, item, iou in matched(project):
        # labelme's own polygon of a mask goes through the middles of the pixels and is simplified.
        assert iou == 1 if number in WITH_HOLE else iou > 0.95
        assert item.area == pytest.approx(truths[number].sum(), rel=0.035)
        assert (item.class_name, item.note) == (CLASS_OF[number], f"coin {number}")
    box, circle, oriented = list(project.objects())[5:]
    assert (box.box, box.area) == (Box(108, 84, 145, 122), 38 * 37)
    assert circle.area == pytest.approx(np.pi * 18**2, rel=0.01)
    assert (oriented.box, oriented.area) == (Box(105, 186, 145, 226), pytest.approx(1000, rel=0.02))
    assert report.skipped == {"point": 1}


def test_the_colours_of_qubalab_come_along(new_project):
    project = new_project((303, 384), name="coins.png")
    run(project, DATA / "others" / "qubalab.geojson")
    colors = {info.name: info.color for info in project.classes()}
    assert (colors["large coin"], colors["small coin"]) == ("#442082", "#3cfde6")

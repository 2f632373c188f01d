"""What is exported comes back into a project, and what others write does too."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from format_checks import SHAPE, fill, finish, masks_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from pycocotools import mask as coco_mask

from napari_relay.errors import ImportFileError, RelayError, StorageError, UsageError
from napari_relay.formats import FORMATS, ImportReport, export, import_file
from napari_relay.formats.registry import LabelFormat, RecordFormat
from napari_relay.geometry import Box, Plane
from napari_relay.store import Project

PLAIN = {name: entry for name, entry in FORMATS.items() if not entry.geo}
RECORDS = [name for name, entry in PLAIN.items() if isinstance(entry, RecordFormat)]
LABELS = [name for name, entry in PLAIN.items() if isinstance(entry, LabelFormat)]

shapes = st.lists(
    st.tuples(
        hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)),
        st.integers(0, 11),
        st.integers(0, 6),
        st.sampled_from(["a", "b c", "ß"]),
    ),
    min_size=1,
    max_size=6,
)


def path_for(folder: Path, format: str) -> Path:
    return folder / f"out{FORMATS[format].suffixes[0]}"


def run(project: Project, path: Path, **settings: Any) -> ImportReport:
    report = finish(import_file(project, path, **settings))
    assert isinstance(report, ImportReport)
    return report


def visible(project: Project) -> list[bytes]:
    """The pixels of each object that shows, in any order."""
    labels = project.labels(Box(0, 0, *project.shape))
    return sorted(np.packbits(labels == i).tobytes() for i in np.unique(labels) if i)


@pytest.mark.parametrize("format", RECORDS)
def test_objects_come_back_whole_with_their_classes(new_project, tmp_path, format):
    old, new = new_project(), new_project()
    fill(old)
    finish(export(old, path_for(tmp_path, format), format=format))

    report = run(new, path_for(tmp_path, format))

    assert report.format == format
    assert masks_of(new) == masks_of(old)
    np.testing.assert_array_equal(new.labels(Box(0, 0, *SHAPE)), old.labels(Box(0, 0, *SHAPE)))


@pytest.mark.parametrize("format", LABELS)
def test_label_images_come_back_pixel_by_pixel(new_project, tmp_path, format):
    old, new = new_project(), new_project()
    fill(old)
    finish(export(old, path_for(tmp_path, format), format=format))

    report = run(new, path_for(tmp_path, format), class_name="thing")

    assert (report.format, len(report.ids)) == (format, 8)
    assert visible(new) == visible(old)
    names = {item.class_name for item in new.objects()}
    assert names == ({"object", "dot", "square", "über alles"} if format == "ome-zarr" else {"thing"})


@pytest.mark.parametrize("format", RECORDS + LABELS)
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shapes)
def test_any_objects_come_back(format, tmp_path_factory, objects):
    folder = tmp_path_factory.mktemp("any")
    common = {"fingerprint": "f", "shape": (20, 15), "image_name": "i.png"}
    with Project.open(folder / "a.relay", **common) as old, Project.open(folder / "b.relay", **common) as new:
        for mask, y, x, name in objects:
            if mask.any():
                box = Box(y, x, y + mask.shape[0], x + mask.shape[1])
                old.accept(box, mask, class_name=name, overlap="allow")
        if not old.count():
            return
        finish(export(old, path_for(folder, format), format=format))
        run(new, path_for(folder, format), format=format)
        if format in RECORDS:
            assert masks_of(new) == masks_of(old)
        assert visible(new) == visible(old)


@pytest.mark.parametrize("format", RECORDS + LABELS)
def test_tiles_come_back_to_where_they_were(new_project, tmp_path, format):
    old, new = new_project(), new_project()
    fill(old)
    finish(export(old, path_for(tmp_path, format), format=format, tile=300))

    run(new, path_for(tmp_path, format))

    there, here = old.labels(Box(0, 0, *SHAPE)), new.labels(Box(0, 0, *SHAPE))
    np.testing.assert_array_equal(here > 0, there > 0)


@pytest.mark.parametrize("format", RECORDS + LABELS)
def test_a_region_comes_back_to_where_it_was(new_project, tmp_path, format):
    old, new = new_project(), new_project()
    fill(old)
    region = Box(100, 130, 641, 1003)
    finish(export(old, path_for(tmp_path, format), format=format, region=region))
    if format == "label-tiff":
        with tifffile.TiffFile(path_for(tmp_path, format)) as tiff:
            assert tiff.pages[0].shape == region.shape

    run(new, path_for(tmp_path, format))

    labels = np.zeros(SHAPE, bool)
    labels[region.slices] = old.labels(region) > 0
    np.testing.assert_array_equal(new.labels(Box(0, 0, *SHAPE)) > 0, labels)


@pytest.mark.parametrize("format", RECORDS + LABELS)
def test_planes_come_back(new_project, tmp_path, format):
    old, new = new_project((60, 70), (2, 3)), new_project((60, 70), (2, 3))
    for t, z in np.ndindex(2, 3):
        old.accept(Box(t, z, t + 5, z + 6), np.ones((5, 6), bool), plane=Plane(t, z))
    finish(export(old, path_for(tmp_path, format), format=format))

    run(new, path_for(tmp_path, format))

    for t, z in np.ndindex(2, 3):
        assert masks_of(new, Plane(t, z)) == masks_of(old, Plane(t, z))


@pytest.mark.parametrize("format", ["geojson", "coco", "labelme"])
def test_what_is_known_of_an_object_comes_back(new_project, tmp_path, format):
    old, new = new_project(), new_project()
    item = old.accept(Box(0, 0, 9, 9), np.ones((9, 9), bool), class_name="x", score=0.1 + 0.2, seconds=3.25)
    old.set_note([item.id], 'Grüße, "so" \n weiter')
    old.set_state([item.id], "reviewed")
    finish(export(old, path_for(tmp_path, format), format=format))

    run(new, path_for(tmp_path, format))

    (before,), (after,) = old.objects(), new.objects()
    for name in ("class_name", "state", "score", "seconds", "author", "created", "note", "n_clicks"):
        assert getattr(after, name) == getattr(before, name), name
    if "color" in FORMATS[format].kept:
        assert {c.name: c.color for c in new.classes()}["x"] == {c.name: c.color for c in old.classes()}["x"]


def test_an_import_is_one_action(new_project, tmp_path):
    old, new = new_project(), new_project()
    fill(old)
    finish(export(old, tmp_path / "out.geojson"))
    run(new, tmp_path / "out.geojson")

    (action,) = new.history()
    assert (action.kind, action.n_objects) == ("import", 8)
    assert "out.geojson" in action.summary
    new.undo()
    assert new.count() == 0
    assert [info.name for info in new.classes()] == ["object"]
    new.redo()
    assert masks_of(new) == masks_of(old)


def test_an_import_that_is_given_up_changes_nothing(new_project, tmp_path):
    old, new = new_project(), new_project()
    fill(old)
    finish(export(old, tmp_path / "out.geojson"))
    importing = import_file(new, tmp_path / "out.geojson")
    next(importing)
    importing.close()
    assert new.count() == 0
    assert not new.history()
    new.accept(Box(0, 0, 9, 9), np.ones((9, 9), bool))  # the project is not locked


def test_objects_without_a_class_take_the_one_that_is_named(new_project, tmp_path):
    project = new_project((20, 20))
    labels = np.zeros((20, 20), np.uint16)
    labels[3:6, 4:9] = 7
    tifffile.imwrite(tmp_path / "a.tif", labels)
    run(project, tmp_path / "a.tif", class_name="nucleus")
    assert [item.class_name for item in project.objects()] == ["nucleus"]


def test_the_overlap_rule_is_the_callers(new_project, tmp_path):
    project = new_project((20, 20))
    project.accept(Box(0, 0, 10, 10), np.ones((10, 10), bool))
    tifffile.imwrite(tmp_path / "a.tif", np.ones((20, 20), np.uint8))
    run(project, tmp_path / "a.tif", overlap="keep")
    assert [item.area for item in project.objects()] == [100, 300]


# -- files of others -------------------------------------------------------------------------------------------------


def write_json(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


SQUARE = [[10, 10], [15, 10], [15, 14], [10, 14]]
COCO: dict[str, Any] = {
    "images": [{"id": 1, "file_name": "sub/image.tif", "height": 40, "width": 50}],
    "categories": [{"id": 7, "name": "cell"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 7, "segmentation": [[10.0, 10.0, 15.0, 10.0, 15.0, 14.0, 10.0, 14.0]]}
    ],
}


def coco(**changes: Any) -> dict[str, Any]:
    """The small file above with its one annotation changed."""
    return {**COCO, "annotations": [{**COCO["annotations"][0], **changes}]}


def test_run_lengths_of_cvat_and_of_pycocotools(new_project, tmp_path):
    mask = np.zeros((40, 50), np.uint8, order="F")
    mask[5:9, 6:30] = 1
    mask[6, 7] = 0
    packed = coco_mask.encode(mask)
    flat = mask.ravel(order="F")
    change = np.flatnonzero(np.diff(np.concatenate([[0], flat, [1 - flat[-1]]])))
    counts = np.diff(np.concatenate([[0], change])).tolist()
    for index, segmentation in enumerate(
        [{"size": [40, 50], "counts": packed["counts"].decode()}, {"size": [40, 50], "counts": counts}]
    ):
        project = new_project((40, 50))
        run(project, write_json(tmp_path / f"{index}.json", coco(segmentation=segmentation, iscrowd=1)))
        (item,) = project.objects()
        np.testing.assert_array_equal(item.mask_in(Box(0, 0, 40, 50)), mask)


def test_a_coco_file_of_several_images_gives_those_of_this_one(new_project, tmp_path):
    content = coco()
    content["images"] = [*COCO["images"], {"id": 2, "file_name": "other.tif", "height": 9, "width": 9}]
    content["annotations"] = [*content["annotations"], {**content["annotations"][0], "id": 2, "image_id": 2}]
    project = new_project((40, 50))
    assert len(run(project, write_json(tmp_path / "a.json", content)).ids) == 1


def test_a_detectors_box_is_an_object(new_project, tmp_path):
    project = new_project((40, 50))
    run(project, write_json(tmp_path / "a.json", coco(segmentation=[], bbox=[3, 4, 5.0, 6.0], score=0.5)))
    (item,) = project.objects()
    assert (item.box, item.area, item.score) == (Box(4, 3, 10, 8), 30, 0.5)


QUPATH: dict[str, Any] = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "id": "2f1c9ab0-7c6c-4b1c-8d34-b67a7a9a9f5d",
            "geometry": {"type": "Polygon", "coordinates": [[*SQUARE, SQUARE[0]]]},
            "properties": {
                "objectType": "annotation",
                "name": "mine",
                "classification": {"name": "Tumor: Positive", "color": [200, 0, 0]},
                "isLocked": True,
                "measurements": {"Nucleus: Area": 20.5},
            },
        },
        {
            "type": "Feature",
            "id": "PathDetectionObject",
            "geometry": {
                "type": "MultiPolygon",
                "coordinates": [
                    [[[0, 0], [6, 0], [6, 6], [0, 6], [0, 0]], [[2, 2], [4, 2], [4, 4], [2, 4], [2, 2]]],
                    [[[20, 20], [21.5, 20], [21.5, 23], [20, 23], [20, 20]]],
                ],
            },
            "properties": {"classification": {"name": "Stroma", "colorRGB": -6895466}, "isLocked": False},
        },
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [[[30, 30], [40, 25], [50, 30]]], "isEllipse": True},
            "properties": {"objectType": "cell", "classification": {"names": ["A", "B"]}},
            "nucleusGeometry": {"type": "Polygon", "coordinates": []},
        },
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}, "properties": {}},
        {"type": "Feature", "geometry": {"type": "LineString", "coordinates": [[1, 2], [3, 4]]}},
    ],
}


def test_qupath_features(new_project, tmp_path):
    project = new_project((60, 60))
    report = run(project, write_json(tmp_path / "a.geojson", QUPATH))

    first, second, third = project.objects()

    assert report.skipped == {"Point": 1, "LineString": 1}
    assert (first.class_name, first.state, first.note, first.box) == (
        "Tumor: Positive", "locked", "mine", Box(10, 10, 14, 15),
    )  # fmt: skip
    assert (second.class_name, second.area) == ("Stroma", 32 + 3)  # half a pixel's column is not in it
    assert third.class_name == "A: B"
    assert abs(third.area - np.pi * 10 * 2.5) < 8
    colors = {info.name: info.color for info in project.classes()}
    assert (colors["Tumor: Positive"], colors["Stroma"]) == ("#c80000", "#96c896")


@pytest.mark.parametrize("wrap", [lambda features: features, lambda features: features[0]])
def test_lists_of_features_and_single_ones(new_project, tmp_path, wrap):
    project = new_project((60, 60))
    assert run(project, write_json(tmp_path / "a.json", wrap(QUPATH["features"]))).ids


def test_nested_qupath_objects_come_too(new_project, tmp_path):
    child = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[[1, 1], [3, 1], [3, 3]]]}}
    parent = {**QUPATH["features"][0], "properties": {"childObjects": [child]}}
    project = new_project((60, 60))
    assert len(run(project, write_json(tmp_path / "a.geojson", {"features": [parent]})).ids) == 2


def test_labelme_shapes(new_project, tmp_path):
    stream = io.BytesIO()
    Image.fromarray(np.array([[1, 0], [1, 1]], np.uint8)).save(stream, "PNG")
    content = {
        "version": "5.4.1",
        "shapes": [
            {"label": "a", "points": SQUARE, "group_id": None, "shape_type": "polygon", "flags": {}},
            {"label": "b", "points": [[1.0, 2.0], [4.0, 6.0]], "shape_type": "rectangle"},
            {"label": "c", "points": [[30, 20], [35, 20]], "shape_type": "circle"},
            {"label": "d", "points": [[3, 4]], "shape_type": "point"},
            {"label": "e", "points": [[40, 30], [41, 31]], "shape_type": "mask",
             "mask": base64.b64encode(stream.getvalue()).decode()},
            {"label": "g", "points": [[0, 0], [2, 0], [2, 2], [0, 2]], "group_id": 4},
            {"label": "g", "points": [[5, 0], [7, 0], [7, 2], [5, 2]], "group_id": 4},
        ],
        "imagePath": "..\\..\\image.tif", "imageData": "aGk=" * 1000, "imageHeight": 40, "imageWidth": 50,
    }  # fmt: skip
    project = new_project((40, 50))

    report = run(project, write_json(tmp_path / "a.json", content))

    found = {item.class_name: item for item in project.objects()}
    assert report.skipped == {"point": 1}
    assert [found[name].area for name in "abeg"] == [20, 12, 3, 8]
    assert abs(found["c"].area - 25 * np.pi) < 4
    assert found["e"].box == Box(30, 40, 32, 42)


def test_yolo_lines_of_others(new_project, tmp_path):
    labels = tmp_path / "set" / "labels"
    labels.mkdir(parents=True)
    (tmp_path / "set" / "data.yaml").write_text("path: /etc\ntrain: ../../x\nnames:\n  0: cat\n  1: dog\n")
    (labels / "image.txt").write_text("1 0.2 0.25 0.3 0.25 0.3 0.35 0.2 0.35\n\n0 0.5 0.5 0.2 0.1\n")
    (labels / "other.txt").write_text("nonsense")
    project = new_project((40, 50))

    run(project, tmp_path / "set")

    assert [(item.class_name, item.box) for item in project.objects()] == [
        ("dog", Box(10, 10, 14, 15)), ("cat", Box(18, 20, 22, 30)),
    ]  # fmt: skip
    run(new_project((40, 50)), labels / "image.txt")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.uint32, bool])
def test_label_tiffs_of_others(new_project, tmp_path, dtype):
    y, x = np.ogrid[:700, :1100]
    labels = ((y // 90) * 13 + x // 90 + 1) * (((y + x) // 45) % 2 == 0)
    labels = labels.astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", labels, compression="zlib", tile=(256, 256))
    project = new_project()

    run(project, tmp_path / "a.tif")

    expected = sorted(np.packbits(labels == i).tobytes() for i in np.unique(labels) if i)
    assert visible(project) == expected


def test_an_object_of_many_tiles_is_one(new_project, tmp_path):
    mask = np.zeros((1300, 1500), np.uint8)
    mask[40:1290, 30:1480] = 1
    mask[500:530] = 0  # its parts do not touch
    tifffile.imwrite(tmp_path / "a.tif", mask)
    project = new_project(mask.shape)
    run(project, tmp_path / "a.tif")
    (item,) = project.objects()
    np.testing.assert_array_equal(item.mask_in(Box(0, 0, *mask.shape)), mask)


@pytest.mark.parametrize("mode", ["L", "P", "1", "I;16"])
def test_label_pngs_of_others(new_project, tmp_path, mode):
    labels = np.zeros((40, 50), np.uint16)
    labels[3:9, 4:20] = 1
    labels[20:25, 30:31] = 300 if mode == "I;16" else 1 if mode == "1" else 200
    picture = Image.fromarray(labels) if mode == "I;16" else Image.fromarray(labels.astype(np.uint8))
    if mode == "P":
        picture.putpalette([value for index in range(256) for value in (index, 255 - index, 7)])
    elif mode == "1":
        picture = Image.fromarray(labels.astype(bool))
    picture.save(tmp_path / "a.png")
    project = new_project((40, 50))
    run(project, tmp_path / "a.png")
    assert sorted(item.area for item in project.objects()) == ([101] if mode == "1" else [5, 96])


@pytest.mark.slow
def test_seventy_thousand_ids(new_project, tmp_path):
    y, x = np.ogrid[:2100, :2400]
    labels = ((y // 8) * 300 + x // 8 + 1).astype(np.uint32)
    labels[(y % 8 == 7) | (x % 8 > 5)] = 0
    labels[labels > 70_000] = 0
    tifffile.imwrite(tmp_path / "a.tif", labels, tile=(512, 512), compression="zlib")
    project, again = new_project(labels.shape), new_project(labels.shape)

    report = run(project, tmp_path / "a.tif")
    exported = finish(export(project, tmp_path / "b.tif"))

    assert (len(report.ids), exported.n_objects, exported.dtype) == (70_000, 70_000, "uint32")
    back = tifffile.imread(tmp_path / "b.tif")
    pairs = np.unique(np.stack([labels.ravel(), back.ravel()]), axis=1)
    assert pairs.shape[1] == len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == 70_001
    run(again, tmp_path / "b.tif")
    np.testing.assert_array_equal(again.labels(Box(0, 0, 500, 500)) > 0, labels[:500, :500] > 0)


# -- files that are wrong --------------------------------------------------------------------------------------------


def without(content: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name != key}


WRONG: dict[str, tuple[Any, str]] = {
    "no annotations": (without(COCO, "annotations"), "annotations"),
    "another size": ({**COCO, "images": [{**COCO["images"][0], "height": 9}]}, r"images\[0\]"),
    "no such image": (coco(image_id=3), r"annotations\[0\].image_id"),
    "no such category": (coco(category_id=1), r"annotations\[0\].category_id"),
    "odd numbers": (coco(segmentation=[[1, 2, 3]]), r"annotations\[0\].segmentation\[0\]"),
    "words": (coco(segmentation=[["a", "b", "c", "d", "e", "f"]]), r"annotations\[0\].segmentation"),
    "endless": (coco(segmentation=[[1, 2, 3, 4, float("inf"), 6]]), "segmentation"),
    "two points": (coco(segmentation=[[1, 2, 3, 4]]), "2 different points"),
    "wrong run length": (coco(segmentation={"size": [40, 50], "counts": [1, 2]}), "counts"),
    "run length of another size": (coco(segmentation={"size": [1, 2], "counts": [2]}), r"segmentation.size"),
    "negative run": (coco(segmentation={"size": [40, 50], "counts": [2001, -1]}), r"counts\[1\]"),
    "packed nonsense": (coco(segmentation={"size": [40, 50], "counts": "~~~"}), "counts"),
    "no shape at all": ({**COCO, "annotations": [without(COCO["annotations"][0], "segmentation")]}, "bbox"),
    "a list of numbers": ([1, 2], r"features\[0\]"),
    "a class of control characters": (
        {**COCO, "categories": [{"id": 7, "name": "a\x00b"}]}, r"annotations\[0\].*characters",
    ),
    "a coordinate too few": ({"features": [{"geometry": {"type": "Polygon", "coordinates": [[[1], [2], [3]]]}}]},
                             r"features\[0\].geometry.coordinates\[0\]"),
    "an unknown geometry": ({"features": [{"geometry": {"type": "Curve"}}]}, r"features\[0\].geometry.type"),
    "no such plane": (
        {"features": [{"geometry": {"type": "Polygon", "coordinates": [SQUARE], "plane": {"z": 4}}}]}, "plane"
    ),
    "a shape of labelme": ({"shapes": [{"label": "a", "shape_type": "star", "points": []}]}, r"shapes\[0\].shape_type"),
    "a label that is a number": ({"shapes": [{"label": 3, "points": SQUARE}]}, r"shapes\[0\].label"),
    "a mask that is no picture": (
        {"shapes": [{"label": "a", "shape_type": "mask", "points": [[0, 0], [1, 1]], "mask": "aGk="}]},
        r"shapes\[0\].mask",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named_by_file_record_and_field(new_project, tmp_path, case):
    content, place = WRONG[case]
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    project = new_project((40, 50))
    with pytest.raises(ImportFileError, match=rf"wrong.json: .*{place}"):
        run(project, path)
    assert project.count() == 0
    assert not project.history()


@pytest.mark.parametrize("line", ["x 1 2", "0 1", "0 1 2 3", "0 nan 0 1 0 1 1", "-1 0 0 1 0 1 1", "9 0 0 1 0 1 1"])
def test_what_is_wrong_in_a_line_of_yolo_is_named(new_project, tmp_path, line):
    (tmp_path / "labels").mkdir()
    (tmp_path / "classes.txt").write_text("a\n")
    (tmp_path / "labels" / "image.txt").write_text(f"0 0 0 1 0 1 1\n{line}\n")
    with pytest.raises(ImportFileError, match=r"image.txt: line 2"):
        run(new_project((40, 50)), tmp_path)


def test_pictures_that_are_no_labels_are_refused(new_project, tmp_path):
    project = new_project((40, 50))
    Image.new("RGB", (50, 40)).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((40, 50), np.float32))
    tifffile.imwrite(tmp_path / "rgb.tif", np.zeros((40, 50, 3), np.uint8), photometric="rgb")
    tifffile.imwrite(tmp_path / "negative.tif", np.full((40, 50), -1, np.int16))
    tifffile.imwrite(tmp_path / "small.tif", np.ones((41, 50), np.uint8))
    tifffile.imwrite(tmp_path / "empty.tif", np.zeros((40, 50), np.uint8))
    for name in ("a.png", "a.tif", "rgb.tif", "negative.tif", "small.tif", "empty.tif"):
        with pytest.raises(RelayError, match=name):
            run(project, tmp_path / name)
    assert project.count() == 0


def test_unknown_files_and_formats_are_refused(new_project, tmp_path):
    project = new_project((40, 50))
    (tmp_path / "a.xyz").write_text("")
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(StorageError, match="nowhere"):
        run(project, tmp_path / "nowhere.json")
    with pytest.raises(UsageError):
        run(project, tmp_path / "a.xyz")
    with pytest.raises(UsageError):
        run(project, tmp_path / "a.json", format="excel")
    with pytest.raises(ImportFileError):
        run(project, tmp_path / "a.json")
    with pytest.raises(ImportFileError):
        run(project, tmp_path / "empty")
    with pytest.raises(UsageError, match="plane"):
        run(project, tmp_path / "a.json", plane=Plane(3, 0))


# -- files that mean harm --------------------------------------------------------------------------------------------


def test_no_path_in_a_file_is_followed_and_no_link_out_of_a_folder(new_project, tmp_path):
    outside = tmp_path / "outside.txt"
    outside.write_text("0 0 0 1 0 1 1\n")
    labels = tmp_path / "set" / "labels"
    labels.mkdir(parents=True)
    (tmp_path / "set" / "classes.txt").write_text("a\n")
    (labels / "image.txt").symlink_to(outside)
    with pytest.raises(ImportFileError, match="leads out"):
        run(new_project((40, 50)), tmp_path / "set")

    folder = tmp_path / "pngs"
    folder.mkdir()
    Image.new("L", (50, 40), 1).save(tmp_path / "secret.png")
    (folder / "image.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(ImportFileError, match="leads out"):
        run(new_project((40, 50)), folder)


def bomb_deep(path: Path) -> None:
    path.with_suffix(".json").write_text('{"features": ' + "[" * 200_000)


def bomb_digits(path: Path) -> None:
    path.with_suffix(".json").write_text('{"features": [' + "9" * 100_000 + "]}")


def bomb_png(path: Path) -> None:
    Image.new("L", (12_000, 12_000)).save(path.with_suffix(".png"))


def bomb_mask(path: Path) -> None:
    stream = io.BytesIO()
    Image.new("L", (9_000, 9_000)).save(stream, "PNG")
    shape = {"label": "a", "shape_type": "mask", "points": [[0, 0], [8999, 8999]],
             "mask": base64.b64encode(stream.getvalue()).decode()}  # fmt: skip
    write_json(path.with_suffix(".json"), {"shapes": [shape]})


def bomb_tiff(path: Path) -> None:
    with tifffile.TiffWriter(path.with_suffix(".tif"), bigtiff=True) as tiff:
        tiff.write(iter([b"\0" * 99]), shape=(10**6, 10**6), dtype=np.uint8, tile=(2**20, 2**20), compression="zlib")


def bomb_zarr(path: Path) -> None:
    group = zarr.open_group(path.with_suffix(".zarr"), mode="w")
    group.create_array("0", shape=(40, 50), chunks=(2**20, 2**20), dtype="uint32")


def bomb_outline(path: Path) -> None:
    ring = [[0, 0], *([x, 1e9 * (x % 2)] for x in range(4001)), [0, 0]]
    write_json(path.with_suffix(".json"), {"features": [{"geometry": {"type": "Polygon", "coordinates": [ring]}}] * 20})


def bomb_yaml(path: Path) -> None:
    path.mkdir()
    lines = ['a0: &a0 ["x","x","x","x","x","x","x","x","x"]']
    lines += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    (path / "data.yaml").write_text("\n".join([*lines, "names: *a29"]))
    (path / "image.txt").write_text("0 0 0 1 0 1 1\n")


@pytest.mark.parametrize(
    "bomb", [bomb_deep, bomb_digits, bomb_png, bomb_mask, bomb_tiff, bomb_zarr, bomb_outline, bomb_yaml]
)
def test_bombs_are_refused_before_they_are_unpacked(new_project, tmp_path, bomb: Callable[[Path], None]):
    import tracemalloc

    bomb(tmp_path / "bomb")
    (path,) = tmp_path.glob("bomb*")
    project = new_project((40, 50))
    tracemalloc.start()
    try:
        if bomb is bomb_outline:  # cut at the image's border it is harmless
            assert len(run(project, path).ids) == 20
        else:
            with pytest.raises(RelayError):
                run(project, path)
        assert tracemalloc.get_traced_memory()[1] < 60 << 20
    finally:
        tracemalloc.stop()

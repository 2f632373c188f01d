"""Files as other programs write them are imported."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from format_checks import finish, masks_of, number_next_object
from import_checks import COCO, SQUARE, coco, run, visible, write_json
from PIL import Image
from pycocotools import mask as coco_mask

from napari_relay.errors import ImportFileError
from napari_relay.formats import export
from napari_relay.geometry import Box


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


def test_labelme_shapes_of_group_0_are_one_object(new_project, tmp_path):
    square = {"label": "g", "points": SQUARE, "group_id": 0, "shape_type": "polygon"}
    other = {**square, "points": [[x + 20, y] for x, y in SQUARE]}
    project = new_project((40, 50))
    run(project, write_json(tmp_path / "a.json", {"shapes": [square, other, {**other, "group_id": None}]}))
    assert [item.area for item in project.objects()] == [40, 20]


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
    project = new_project(labels.shape)

    report = run(project, tmp_path / "a.tif")
    exported = finish(export(project, tmp_path / "b.tif"))

    assert (len(report.ids), exported.n_objects, exported.dtype) == (70_000, 70_000, "uint32")
    back = tifffile.imread(tmp_path / "b.tif")
    pairs = np.unique(np.stack([labels.ravel(), back.ravel()]), axis=1)
    assert pairs.shape[1] == len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == 70_001


@pytest.mark.parametrize("ending", [".tif", ".zarr"])
def test_numbers_around_the_limit_of_16_bits_stay_apart(new_project, tmp_path, ending):
    labels = np.zeros((60, 700), np.uint32)
    for index in range(40):
        labels[index : index + 9, index * 17 : index * 17 + 9] = 65_516 + index
    tifffile.imwrite(tmp_path / "a.tif", labels)
    project = new_project(labels.shape)
    number_next_object(project, 65_516)

    run(project, tmp_path / "a.tif")
    report = finish(export(project, tmp_path / f"b{ending}"))

    assert report.dtype == "uint32"
    back = tifffile.imread(tmp_path / "b.tif") if ending == ".tif" else zarr.open_group(tmp_path / "b.zarr")["0"][...]
    np.testing.assert_array_equal(back, labels)


def test_an_ome_zarr_image_gives_the_labels_inside_it(new_project, tmp_path):
    old, new = new_project((40, 50)), new_project((40, 50))
    old.accept(Box(3, 4, 9, 20), np.ones((6, 16), bool), class_name="cell")
    finish(export(old, tmp_path / "out.zarr"))
    group = zarr.open_group(tmp_path / "image.zarr", mode="w")
    group.create_array("0", data=np.full((40, 50), 9, np.uint16))
    (tmp_path / "image.zarr" / "labels").mkdir()
    (tmp_path / "out.zarr").rename(tmp_path / "image.zarr" / "labels" / "cells")

    run(new, tmp_path / "image.zarr")

    assert masks_of(new) == masks_of(old)
    (tmp_path / "image.zarr" / "labels" / "more").mkdir()
    with pytest.raises(ImportFileError, match="cells, more"):
        run(new, tmp_path / "image.zarr")

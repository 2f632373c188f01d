"""Files that are wrong, or that mean harm, change nothing and are named."""

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
from import_checks import COCO, SQUARE, coco, run, write_json
from PIL import Image

from napari_relay.errors import ImportFileError, RelayError, StorageError, UsageError
from napari_relay.geometry import Plane


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

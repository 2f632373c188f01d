"""What every record format must do, and what the programs it is made for find in the file."""

from __future__ import annotations

import base64
import io
import json
import tracemalloc
import uuid
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from format_checks import SHAPE, fill, finish, number_next_object
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from pycocotools.coco import COCO

from napari_relay.errors import ExportError, UsageError
from napari_relay.formats import FORMATS, export, known_losses
from napari_relay.formats.records import with_runs
from napari_relay.formats.registry import LabelFormat, RecordFormat, find_format
from napari_relay.formats.runs import to_mask
from napari_relay.formats.target import Target
from napari_relay.geometry import Box, Plane
from napari_relay.store import Project

RECORDS = [name for name, entry in FORMATS.items() if isinstance(entry, RecordFormat) and not entry.geo]


def path_for(folder: Path, format: str) -> Path:
    return folder / f"out{FORMATS[format].suffixes[0]}"


def read(path: Path, format: str, target: Target) -> list[tuple[str | None, Plane, np.ndarray]]:
    """Class, plane and mask over the image of every object in a file."""
    entry = FORMATS[format]
    assert isinstance(entry, RecordFormat)
    whole = Box(0, 0, *target.shape)
    files = sorted(path.glob("*.json")) if path.is_dir() and format == "labelme" else [path]
    found = (item for file in files for item in with_runs(entry.read(file, target), target.shape))
    return [(item.facts.class_name, item.frame.plane, to_mask(runs, whole)) for item, runs in found]


def expected(project: Project) -> list[tuple[str, Plane, np.ndarray]]:
    whole = Box(0, 0, *project.shape)
    return [(item.class_name, item.plane, item.mask_in(whole)) for item in project.objects()]


def assert_equal(found, wanted) -> None:
    assert [(name, plane) for name, plane, _ in found] == [(name, plane) for name, plane, _ in wanted]
    for (_, _, mask), (_, _, true) in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(mask, true)


@pytest.mark.parametrize("format", RECORDS)
def test_every_object_comes_back_whole_also_where_another_lies_on_it(new_project, tmp_path, format):
    project = new_project()
    fill(project)

    report = finish(export(project, path_for(tmp_path, format), format=format))

    assert (report.n_objects, report.n_files) == (8, 1)
    assert_equal(read(path_for(tmp_path, format), format, Target(SHAPE, (1, 1), "image.tif")), expected(project))
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("format", RECORDS)
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)),
            st.integers(0, 11),
            st.integers(0, 6),
            st.sampled_from(["a", "b c", "ß"]),
        ),
        max_size=6,
    )
)
def test_any_objects_come_back(format, tmp_path_factory, objects):
    folder = tmp_path_factory.mktemp("any")
    with Project.open(folder / "p.relay", fingerprint="f", shape=(20, 15), image_name="i.png") as project:
        for mask, y, x, name in objects:
            if mask.any():
                box = Box(y, x, y + mask.shape[0], x + mask.shape[1])
                project.accept(box, mask, class_name=name, overlap="allow")
        finish(export(project, path_for(folder, format), format=format))
        assert_equal(read(path_for(folder, format), format, Target((20, 15), (1, 1), "i.png")), expected(project))


@pytest.mark.parametrize("format", RECORDS)
def test_tiles_hold_the_pieces_of_every_object_where_they_lie(new_project, tmp_path, format):
    project = new_project()
    fill(project)
    path = path_for(tmp_path, format)

    report = finish(export(project, path, format=format, tile=300))

    assert report.n_objects == 8
    assert report.n_files == (1 if FORMATS[format].many_frames else 12)
    found = read(path, format, Target(SHAPE, (1, 1), "image.tif"))
    for name in {name for name, _, _ in found}:
        pieces = np.sum([mask for other, _, mask in found if other == name], axis=0)
        whole = np.sum([mask for other, _, mask in expected(project) if other == name], axis=0)
        np.testing.assert_array_equal(pieces, whole)


@pytest.mark.parametrize("format", RECORDS)
def test_planes_keep_apart(new_project, tmp_path, format):
    project = new_project((60, 70), (2, 3))
    for t, z in np.ndindex(2, 3):
        project.accept(Box(t, z, t + 5, z + 6), np.ones((5, 6), bool), plane=Plane(t, z))
    path = path_for(tmp_path, format)

    finish(export(project, path, format=format))

    assert_equal(read(path, format, Target((60, 70), (2, 3), "image.tif")), expected(project))


@pytest.mark.parametrize("format", RECORDS)
def test_a_region_keeps_its_place_in_the_image(new_project, tmp_path, format):
    project = new_project()
    fill(project)
    region = Box(100, 130, 641, 1003)
    path = path_for(tmp_path, format)

    report = finish(export(project, path, format=format, region=region))

    inside = np.zeros(SHAPE, bool)
    inside[region.slices] = True
    wanted = [(name, plane, mask & inside) for name, plane, mask in expected(project) if (mask & inside).any()]
    assert report.n_objects == len(wanted)
    assert_equal(read(path, format, Target(SHAPE, (1, 1), "image.tif")), wanted)


@pytest.mark.parametrize("format", RECORDS)
def test_nothing_is_left_of_an_export_that_is_given_up(new_project, tmp_path, format):
    project = new_project()
    fill(project)
    exporting = export(project, path_for(tmp_path, format), format=format, tile=300)
    for _ in range(5):
        next(exporting)
    exporting.close()
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("format", RECORDS)
def test_deleted_and_proposed_objects_do_not_appear(new_project, tmp_path, format):
    project = new_project()
    fill(project)
    project.delete([2, 3])
    project.accept(Box(0, 0, 9, 9), np.ones((9, 9), bool), state="proposed")
    assert finish(export(project, path_for(tmp_path, format), format=format)).n_objects == 6


def test_coco_is_what_pycocotools_reads(new_project, tmp_path):
    project = new_project()
    fill(project)
    finish(export(project, tmp_path / "out.json"))

    coco = COCO(tmp_path / "out.json")

    whole = Box(0, 0, *SHAPE)
    for item in project.objects():
        (annotation,) = coco.loadAnns([item.id])
        np.testing.assert_array_equal(coco.annToMask(annotation).astype(bool), item.mask_in(whole))
        assert annotation["area"] == item.area
        assert annotation["bbox"] == [item.box.x0, item.box.y0, item.box.width, item.box.height]
        assert coco.loadCats([annotation["category_id"]])[0]["name"] == item.class_name
    assert isinstance(coco.anns[1]["segmentation"], list)
    assert isinstance(coco.anns[2]["segmentation"]["counts"], str)  # rings in rings
    assert coco.imgs[1]["file_name"] == "image.tif"


def test_coco_tiles_name_their_offset(new_project, tmp_path):
    project = new_project((100, 130))
    project.accept(Box(60, 60, 70, 70), np.ones((10, 10), bool))
    finish(export(project, tmp_path / "out.json", tile=64))

    coco = COCO(tmp_path / "out.json")

    assert [image["file_name"] for image in coco.imgs.values()][-1] == "image_t0_z0_y64_x128.png"
    assert len(coco.anns) == 4  # cut by both borders
    last = coco.anns[max(coco.anns)]
    assert last["bbox"] == [0, 0, 6, 6]
    assert coco.imgs[last["image_id"]]["relay"] == {
        "image": "image.tif", "t": 0, "z": 0, "y0": 64, "x0": 64, "height": 36, "width": 64,
    }  # fmt: skip


def test_geojson_is_what_qupath_reads(new_project, tmp_path):
    project = new_project((300, 400), (1, 2))
    project.accept(Box(10, 20, 12, 23), np.ones((2, 3), bool), class_name="Tumour", plane=Plane(0, 1), score=0.5)
    ring = np.ones((5, 5), bool)
    ring[2, 2] = False
    project.accept(Box(0, 0, 5, 5), ring)
    project.set_state([2], "locked")
    finish(export(project, tmp_path / "out.geojson", pixel_size_um=(0.5, 0.25)))

    collection = json.loads((tmp_path / "out.geojson").read_text(encoding="utf-8"))
    by_name = {feature["properties"]["name"]: feature for feature in collection["features"]}

    assert collection["type"] == "FeatureCollection"
    assert by_name["1"]["geometry"] == {
        "type": "Polygon",
        "coordinates": [[[20, 10], [23, 10], [23, 12], [20, 12], [20, 10]]],
        "plane": {"c": -1, "z": 1, "t": 0},
    }
    properties = by_name["1"]["properties"]
    colors = {info.name: info.color for info in project.classes()}
    assert properties["classification"]["name"] == "Tumour"
    assert "#{:02x}{:02x}{:02x}".format(*properties["classification"]["color"]) == colors["Tumour"]
    assert properties["measurements"] == {"Area px^2": 6, "Area µm^2": 0.75}
    assert properties["objectType"] == "annotation"
    assert all(isinstance(value, str) for value in properties["metadata"].values())
    assert [uuid.UUID(feature["id"]).version for feature in collection["features"]] == [5, 5]
    assert [len(ring) for ring in by_name["2"]["geometry"]["coordinates"]] == [5, 5]
    assert "plane" not in by_name["2"]["geometry"]
    assert by_name["2"]["properties"]["isLocked"] is True


def test_labelme_shapes_are_painted_by_labelmes_own_rules(new_project, tmp_path):
    project = new_project()
    fill(project)
    finish(export(project, tmp_path / "out.labelme.json"))

    data = json.loads((tmp_path / "out.labelme.json").read_text(encoding="utf-8"))

    assert (data["imageHeight"], data["imageWidth"], data["imagePath"]) == (*SHAPE, "image.tif")
    assert {shape["shape_type"] for shape in data["shapes"]} == {"polygon", "mask"}
    whole = Box(0, 0, *SHAPE)
    (shape,) = [shape for shape in data["shapes"] if shape["group_id"] == 2]
    (x0, y0), (x1, y1) = shape["points"]
    painted = np.zeros(SHAPE, bool)
    painted[y0 : y1 + 1, x0 : x1 + 1] = np.asarray(Image.open(io.BytesIO(base64.b64decode(shape["mask"]))))
    np.testing.assert_array_equal(painted, project.object(2).mask_in(whole))
    assert len([shape for shape in data["shapes"] if shape["group_id"] == 3]) == 600  # the checkerboard's pixels
    (square,) = [shape for shape in data["shapes"] if shape["label"] == "square"]
    assert sorted(map(tuple, square["points"])) == [(1000, 4), (1000, 104), (1100, 4), (1100, 104)]


def test_yolo_lines_are_filled_by_opencv(new_project, tmp_path):
    project = new_project()
    fill(project)
    finish(export(project, tmp_path / "out.yolo"))

    names = yaml.safe_load((tmp_path / "out.yolo" / "data.yaml").read_text(encoding="utf-8"))["names"]
    lines = (tmp_path / "out.yolo" / "labels" / "image.txt").read_text(encoding="utf-8").splitlines()

    for line, item in zip(lines, project.objects(), strict=True):
        number, *rest = line.split()
        assert names[int(number)] == item.class_name
        if item.area > 1000 and item.id != 3:
            points = np.array(rest, float).reshape(-1, 2) * (SHAPE[1], SHAPE[0])
            painted = np.zeros(SHAPE, np.uint8)
            cv2.fillPoly(painted, [np.round(points * 64).astype(np.int32)], 1, shift=6)  # in 64ths of a pixel
            mask = item.mask_in(Box(0, 0, *SHAPE))
            assert (painted.astype(bool) & mask).sum() > 0.98 * item.area
            assert painted.sum() < 1.2 * item.area  # OpenCV paints the border too


def test_label_png_is_what_pillow_reads(new_project, tmp_path):
    project = new_project()
    fill(project)
    finish(export(project, tmp_path / "out.png"))
    with Image.open(tmp_path / "out.png") as picture:
        assert json.loads(picture.text["relay"])["width"] == SHAPE[1]
        np.testing.assert_array_equal(np.asarray(picture), project.labels(Box(0, 0, *SHAPE)))


def test_label_png_takes_16_bits_above_255_and_refuses_more(new_project, tmp_path):
    project = new_project((40, 40))
    number_next_object(project, 65_535)
    project.accept(Box(0, 0, 9, 9), np.ones((9, 9), bool))
    finish(export(project, tmp_path / "out.png"))
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.mode == "I;16"
        assert np.asarray(picture)[0, 0] == 65_535

    project.accept(Box(20, 20, 29, 29), np.ones((9, 9), bool))
    with pytest.raises(ExportError, match="65536"):
        export(project, tmp_path / "other.png")


def test_label_png_tiles_say_where_they_lie(new_project, tmp_path):
    project = new_project()
    fill(project)
    report = finish(export(project, tmp_path / "out.png", tile=512))
    assert report.n_files == 6
    for file in (tmp_path / "out.png").glob("*.png"):
        with Image.open(file) as picture:
            place = json.loads(picture.text["relay"])
            box = Box(place["y0"], place["x0"], place["y0"] + picture.height, place["x0"] + picture.width)
            assert file.name == f"image_t0_z0_y{box.y0}_x{box.x0}.png"
            np.testing.assert_array_equal(np.asarray(picture), project.labels(box))


@pytest.mark.parametrize(
    ("format", "shape"),
    [
        ("label-png", (13_378, 13_378)),
        ("coco", (65_536, 65_536)),
        ("labelme", (10, 32_768)),
        ("yolo-seg", (40_000, 40_000)),
    ],
)
def test_a_picture_that_is_too_large_is_refused_with_the_advice_to_cut_it(new_project, tmp_path, format, shape):
    project = new_project(shape)
    project.accept(Box(0, 0, 9, 9), np.ones((9, 9), bool))
    with pytest.raises(ExportError, match="--tile"):
        export(project, path_for(tmp_path, format), format=format)
    export(project, path_for(tmp_path, format), format=format, tile=8192)
    assert not list(tmp_path.glob("out*"))


def test_tiles_of_a_few_pixels_are_refused(new_project, tmp_path):
    with pytest.raises(UsageError, match="64"):
        export(new_project(), tmp_path / "a.png", tile=5)


@pytest.mark.parametrize("tile", [None, 32_768])
@pytest.mark.parametrize("format", ["geojson", "coco"])
def test_a_huge_image_costs_no_more_than_its_objects(new_project, tmp_path, format, tile):
    project = new_project((100_000, 100_000))
    ring = np.ones((60, 80), bool)
    ring[20:30, 40:50] = False
    for y, x in ((0, 0), (32_740, 65_500), (99_940, 99_920)):
        project.accept(Box(y, x, y + 60, x + 80), ring)
    path = path_for(tmp_path, format)
    if format == "coco" and tile is None:
        with pytest.raises(ExportError, match="run lengths"):
            export(project, path, format=format)
        return

    tracemalloc.start()
    try:
        report = finish(export(project, path, format=format, tile=tile))
        assert tracemalloc.get_traced_memory()[1] < 30 << 20
    finally:
        tracemalloc.stop()

    assert report.n_objects == 3
    assert path.stat().st_size < 20_000


@pytest.mark.parametrize("format", FORMATS)
def test_what_a_format_cannot_hold_is_named_before(format):
    named = " ".join(known_losses(Path("a"), format))
    kept = FORMATS[format].kept
    assert ("classes" in named) == ("class_name" not in kept)
    assert ("colours" in named) == ("color" not in kept)
    assert ("numbers" in named) == ("id" not in kept)
    assert ("overlap" in named) == isinstance(FORMATS[format], LabelFormat)


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("a.json", "coco"), ("a.coco.json", "coco"), ("a.labelme.json", "labelme"), ("a.geojson", "geojson"),
        ("A.PNG", "label-png"), ("a.yolo", "yolo-seg"),
    ],
)  # fmt: skip
def test_the_longest_ending_tells_the_format(name, format):
    assert find_format(None, Path(name)).name == format

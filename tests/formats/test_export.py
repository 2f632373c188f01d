"""What every export format must do; each format of the registry runs the same tests."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from format_checks import SHAPE, fill, finish, number_next_object
from ome_zarr_models.v05 import ImageLabel

from napari_relay.errors import ExportError, StorageError, UsageError
from napari_relay.formats import FORMATS, export
from napari_relay.formats.registry import find_format
from napari_relay.geometry import Box, Plane
from napari_relay.store import ProjectReader, open_pyramid
from napari_relay.store.majority import Blocks

RASTERS = ("ome-zarr", "label-tiff")
NAMES = {"ome-zarr": ["labels.ome.zarr", "labels.zarr"], "label-tiff": ["labels.tif", "labels.ome.tif"]}
CASES = [(name, file) for name in RASTERS for file in NAMES[name]]


def read(path: Path) -> np.ndarray:
    """With the formats' own libraries, not with our code."""
    if path.is_dir():
        return zarr.open_group(path, mode="r")["0"][...]
    return tifffile.imread(path)


@pytest.mark.parametrize(("format", "file"), CASES)
def test_every_pixel_keeps_its_id(new_project, tmp_path, format, file):
    project = new_project()
    fill(project)

    report = finish(export(project, tmp_path / file, format=format))

    np.testing.assert_array_equal(read(tmp_path / file), project.labels(Box(0, 0, *SHAPE)))
    assert (report.n_objects, report.hidden, report.shape) == (8, (), SHAPE)
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(("format", "file"), CASES)
def test_time_and_depth_are_axes_of_the_file(new_project, tmp_path, format, file):
    project = new_project((60, 70), (2, 3))
    for t, z in np.ndindex(2, 3):
        project.accept(Box(t, z, t + 50, z + 60), np.ones((50, 60), bool), plane=Plane(t, z))

    finish(export(project, tmp_path / file, format=format))
    found = read(tmp_path / file)

    assert found.shape == (2, 3, 60, 70)
    for t, z in np.ndindex(2, 3):
        np.testing.assert_array_equal(found[t, z], project.labels(Box(0, 0, 60, 70), Plane(t, z)))


@pytest.mark.parametrize(("format", "file"), CASES)
def test_a_region_of_one_plane_is_cut_out(new_project, tmp_path, format, file):
    project = new_project(sizes=(1, 2))
    fill(project)
    project.accept(Box(0, 0, 300, 300), np.ones((300, 300), bool), plane=Plane(0, 1))
    region = Box(100, 130, 641, 1003)

    report = finish(export(project, tmp_path / file, format=format, region=region, plane=Plane(0, 0)))

    np.testing.assert_array_equal(read(tmp_path / file), project.labels(region, Plane(0, 0)))
    assert report.shape == region.shape


@pytest.mark.parametrize("format", RASTERS)
@pytest.mark.parametrize(
    ("highest", "dtype"), [(255, "uint8"), (256, "uint16"), (65_535, "uint16"), (70_000, "uint32")]
)
def test_the_dtype_holds_the_highest_id(new_project, tmp_path, format, highest, dtype):
    project = new_project((40, 40))
    number_next_object(project, highest)
    project.accept(Box(0, 0, 9, 9), np.ones((9, 9), bool))
    path = tmp_path / NAMES[format][0]

    report = finish(export(project, path))

    assert report.dtype == dtype
    assert set(np.unique(read(path))) == {0, highest}


def test_an_id_beyond_32_bits_is_refused(new_project, tmp_path):
    project = new_project((40, 40))
    number_next_object(project, 2**32)
    project.accept(Box(0, 0, 9, 9), np.ones((9, 9), bool))
    with pytest.raises(ExportError, match="4294967296"):
        export(project, tmp_path / "labels.tif")


@pytest.mark.parametrize("format", RASTERS)
def test_what_is_accepted_during_an_export_is_not_in_it(new_project, tmp_path, format):
    project = new_project()
    fill(project)
    before = project.labels(Box(0, 0, *SHAPE))
    number_next_object(project, 70_000)  # would not even fit the dtype
    exporting = export(project, tmp_path / NAMES[format][0])
    next(exporting)
    project.accept(Box(0, 0, *SHAPE), np.ones(SHAPE, bool))

    finish(exporting)

    np.testing.assert_array_equal(read(tmp_path / NAMES[format][0]), before)


@pytest.mark.parametrize("format", RASTERS)
def test_an_empty_project_is_exported_as_background(new_project, tmp_path, format):
    path = tmp_path / NAMES[format][0]
    assert finish(export(new_project((40, 50)), path)).n_objects == 0
    np.testing.assert_array_equal(read(path), np.zeros((40, 50)))


@pytest.mark.parametrize("format", RASTERS)
def test_objects_wholly_under_others_are_named(new_project, tmp_path, format):
    project = new_project()
    under = project.accept(Box(10, 10, 20, 20), np.ones((10, 10), bool))
    project.accept(Box(0, 0, 30, 30), np.ones((30, 30), bool), overlap="allow")

    report = finish(export(project, tmp_path / NAMES[format][0]))

    assert report.hidden == (under.id,)
    assert any(f": {under.id}." in loss for loss in report.losses)


@pytest.mark.parametrize("format", RASTERS)
def test_a_tile_that_comes_back_different_is_noticed_and_nothing_is_left(new_project, tmp_path, format, monkeypatch):
    project = new_project()
    fill(project)
    good = FORMATS[format]

    def damaged(job, path, tiles):
        def spoil():
            for count, tile in enumerate(tiles):
                if count == 3:
                    tile = tile.copy()
                    tile[-1, -1] ^= 1
                yield tile

        yield from good.write(job, path, spoil())

    broken = replace(good, write=damaged)
    monkeypatch.setattr(export_module_of(export), "find_format", lambda name, path: broken)

    with pytest.raises(ExportError, match="not written correctly"):
        finish(export(project, tmp_path / NAMES[format][0]))
    assert not list(tmp_path.glob("labels*"))


@pytest.mark.parametrize("format", RASTERS)
@pytest.mark.parametrize("after", [0, 3, 8])
def test_closing_the_generator_early_leaves_nothing(new_project, tmp_path, format, after):
    project = new_project()
    fill(project)
    exporting = export(project, tmp_path / NAMES[format][0])
    for _ in range(after):
        next(exporting)
    exporting.close()
    assert not list(tmp_path.glob("labels*"))
    assert not [thread for thread in threading.enumerate() if thread.name == "export"]


@pytest.mark.parametrize("format", RASTERS)
def test_what_lies_at_the_path_is_kept_unless_replacing_is_allowed(new_project, tmp_path, format):
    project = new_project((40, 40))
    path = tmp_path / NAMES[format][0]
    finish(export(project, path))
    project.accept(Box(0, 0, 9, 9), np.ones((9, 9), bool))
    with pytest.raises(ExportError, match="already exists"):
        export(project, path)
    assert not read(path).any()
    finish(export(project, path, overwrite=True))
    assert read(path).any()


@pytest.mark.parametrize("format", RASTERS)
def test_a_full_disk_is_reported_and_nothing_is_left(new_project, tmp_path, format, monkeypatch):
    project = new_project()
    fill(project)

    def full(job, path, tiles):
        path.mkdir() if format == "ome-zarr" else path.write_bytes(b"half")
        next(tiles)
        yield 1
        raise OSError(28, "No space left on device")

    good = FORMATS[format]
    broken = replace(good, write=full)
    monkeypatch.setattr(export_module_of(export), "find_format", lambda name, path: broken)
    with pytest.raises(StorageError, match="No space left"):
        finish(export(project, tmp_path / NAMES[format][0]))
    assert not list(tmp_path.glob("labels*"))


def test_no_more_than_a_tile_of_pixels_is_asked_of_the_project(new_project, tmp_path, monkeypatch):
    project = new_project((3000, 2000))
    project.accept(Box(0, 0, 3000, 2000), np.ones((3000, 2000), bool))
    asked = []
    monkeypatch.setattr(
        ProjectReader,
        "labels",
        lambda self, box, *a, _o=ProjectReader.labels, **k: (asked.append(box.area), _o(self, box, *a, **k))[1],
    )
    for format, file in CASES[::2]:
        finish(export(project, tmp_path / file, format=format))
    assert max(asked) == 512 * 512


def test_the_zarr_export_equals_the_label_pyramid(new_project, tmp_path):
    project = new_project()
    pyramid = open_pyramid(tmp_path / "p.labels.ome.zarr", project, [SHAPE, (233, 367), (11, 17)], pixel_size_um=(2, 3))
    fill(project)
    while tiles := project.journal.tiles(100):
        pyramid.render(tiles)
    pyramid.write_colors()

    finish(export(project, tmp_path / "labels.ome.zarr"))

    group = zarr.open_group(tmp_path / "labels.ome.zarr", mode="r")
    label = ImageLabel.from_zarr(group)
    assert label.attributes.ome.multiscales[0].datasets[0].coordinateTransformations[0].scale == [2, 3]
    assert {c.label_value for c in label.attributes.ome.image_label.colors} == set(range(1, 9))
    assert {p.label_value: p.model_dump()["class"] for p in label.attributes.ome.image_label.properties}[6] == "dot"
    for index, array in enumerate(pyramid.arrays):
        np.testing.assert_array_equal(group[str(index)][...], array[...])


def test_the_tiff_is_a_tiled_bigtiff_with_axes_and_pixel_size(new_project, tmp_path):
    project = new_project((600, 700), (1, 2))
    finish(export(project, tmp_path / "a.tif", pixel_size_um=(0.5, 0.25)))
    finish(export(project, tmp_path / "a.ome.tif", pixel_size_um=(0.5, 0.25)))
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.is_bigtiff
        assert tiff.pages[0].tile == (512, 512)
        assert tiff.series[0].axes == "ZYX"
        assert tiff.pages[0].tags["XResolution"].value == (40_000, 1)
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tiff:
        assert tiff.is_ome
        assert tiff.series[0].axes == "ZYX"
        assert 'PhysicalSizeX="0.25"' in tiff.ome_metadata


@pytest.mark.parametrize(
    ("path", "format", "expected"),
    [
        ("a.tif", None, "label-tiff"),
        ("A.OME.TIFF", None, "label-tiff"),
        ("a.zarr", None, "ome-zarr"),
        ("a.bin", "ome-zarr", "ome-zarr"),
    ],
)
def test_the_format_is_told_by_name_or_ending(path, format, expected):
    assert find_format(format, Path(path)).name == expected


@pytest.mark.parametrize(("path", "format"), [("a.bin", None), ("a.tif", "cocoa")])
def test_an_unknown_format_is_refused_with_the_list(path, format):
    with pytest.raises(UsageError, match="ome-zarr, label-tiff"):
        find_format(format, Path(path))


@pytest.mark.parametrize(
    "settings",
    [
        {"region": Box(0, 0, 0, 5)},
        {"region": Box(0, 0, 9999, 5)},
        {"plane": Plane(1, 0)},
        {"level_shapes": [(5, 5)]},
    ],
)
def test_a_wrong_call_is_refused_before_anything_is_written(new_project, tmp_path, settings):
    with pytest.raises(UsageError):
        export(new_project(), tmp_path / "a.tif", **settings)
    assert not list(tmp_path.glob("a.tif*"))


def test_a_missing_folder_is_named(new_project, tmp_path):
    with pytest.raises(ExportError, match="nowhere"):
        export(new_project(), tmp_path / "nowhere" / "a.tif")


def export_module_of(function: Callable[..., Any]) -> Any:
    import sys

    return sys.modules[function.__module__]


@pytest.mark.parametrize("kept", [96, 2])
@pytest.mark.parametrize("level_shapes", [None, [(2501, 2703), (1100, 1400), (630, 700), (3, 2)]])
def test_every_level_of_an_ome_zarr_is_what_the_rule_gives_from_level_0(
    new_project, tmp_path, monkeypatch, level_shapes, kept
):
    monkeypatch.setattr("napari_relay.formats.chunk_buffer._KEPT", kept)  # chunks make room and are taken up again
    shape = (2501, 2703)
    project = new_project(shape, (1, 2))
    rng = np.random.default_rng(2)
    y, x = np.ogrid[:200, :200]
    for _ in range(60):
        top, left = int(rng.integers(0, shape[0] - 200)), int(rng.integers(0, shape[1] - 200))
        mask = np.hypot(y - 99.5, x - 99.5) < rng.uniform(4, 100)
        project.accept(Box(top, left, top + 200, left + 200), mask, plane=Plane(0, 1), overlap="allow")

    finish(export(project, tmp_path / "labels.ome.zarr", level_shapes=level_shapes))

    group = zarr.open_group(tmp_path / "labels.ome.zarr", mode="r")
    full = project.labels(Box(0, 0, *shape), Plane(0, 1))
    assert len(list(group.array_keys())) == (4 if level_shapes is None else len(level_shapes))
    for name in group.array_keys():
        level = group[name][...]
        blocks = Blocks(shape, level.shape[-2:])
        np.testing.assert_array_equal(level[1], blocks.reduce(full, Box(0, 0, *blocks.shape)))
        assert not level[0].any()

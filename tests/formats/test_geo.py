"""Geo formats lie where the image lies, in GDAL's eyes, and come back pixel by pixel."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rasterio", reason="the extra `geo` is not installed")
pytest.importorskip("pyogrio", reason="the extra `geo` is not installed")

import pyogrio
import rasterio
from format_checks import SHAPE, fill, finish, masks_of
from rasterio.features import geometry_mask

from napari_relay.errors import ExportError, ImportFileError
from napari_relay.formats import FORMATS, Georeference, export, import_file
from napari_relay.geometry import Box, Plane

UTM = Georeference("EPSG:32618", (0.5, 0.0, 450_000.25, 0.0, -0.5, 4_640_000.75))
TURNED = Georeference("EPSG:32618", (0.43, 0.25, 450_000.0, 0.25, -0.43, 4_640_000.0))
DEGREES = Georeference("EPSG:4326", (1e-5, 0.0, 7.123456789, 0.0, -1e-5, 51.987654321))
PLACES = {"utm": UTM, "turned": TURNED, "degrees": DEGREES}


@pytest.mark.parametrize("place", PLACES)
def test_geotiff_is_where_the_image_is(new_project, tmp_path, place):
    project = new_project()
    fill(project)
    region = Box(100, 130, 641, 1003)
    finish(export(project, tmp_path / "out.geo.tif", georeference=PLACES[place], region=region))

    with rasterio.open(tmp_path / "out.geo.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(1), project.labels(region))
        assert dataset.crs == rasterio.crs.CRS.from_string(PLACES[place].crs)
        corner = rasterio.Affine(*PLACES[place].affine) * (130, 100)
        assert dataset.transform * (0, 0) == pytest.approx(corner, rel=1e-13)
        assert dataset.nodata == 0
        assert dataset.block_shapes == [(512, 512)]


@pytest.mark.parametrize("place", PLACES)
def test_geojson_is_where_the_image_is(new_project, tmp_path, place):
    project = new_project()
    fill(project)
    finish(export(project, tmp_path / "out.geo.json", georeference=PLACES[place]))

    info = pyogrio.read_info(tmp_path / "out.geo.json")
    features = json.loads((tmp_path / "out.geo.json").read_text(encoding="utf-8"))["features"]

    assert rasterio.crs.CRS.from_user_input(info["crs"]) == rasterio.crs.CRS.from_string(PLACES[place].crs)
    assert info["features"] == 8
    for feature, item in zip(features, project.objects(), strict=True):
        mask = geometry_mask([feature["geometry"]], SHAPE, rasterio.Affine(*PLACES[place].affine), invert=True)
        np.testing.assert_array_equal(mask, item.mask_in(Box(0, 0, *SHAPE)))
        assert feature["properties"]["class"] == item.class_name
        shells = [part[0] for part in (
            [feature["geometry"]["coordinates"]] if feature["geometry"]["type"] == "Polygon"
            else feature["geometry"]["coordinates"]
        )]  # fmt: skip
        for shell in shells:
            x, y = (np.array(shell) - shell[0]).T
            assert (x[:-1] * y[1:] - x[1:] * y[:-1]).sum() > 0  # anticlockwise


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("ending", [".geo.tif", ".geo.json"])
def test_objects_come_back(new_project, tmp_path, place, ending):
    old, new = new_project(), new_project()
    fill(old)
    path = tmp_path / f"out{ending}"
    finish(export(old, path, georeference=PLACES[place], region=Box(100, 130, 641, 1003)))

    finish(import_file(new, path, georeference=PLACES[place]))

    labels = np.zeros(SHAPE, bool)
    labels[100:641, 130:1003] = old.labels(Box(100, 130, 641, 1003)) > 0
    np.testing.assert_array_equal(new.labels(Box(0, 0, *SHAPE)) > 0, labels)


def test_shapes_come_back_whole_with_their_facts(new_project, tmp_path):
    old, new = new_project(), new_project()
    fill(old)
    finish(export(old, tmp_path / "out.geo.json", georeference=TURNED))
    finish(import_file(new, tmp_path / "out.geo.json", georeference=TURNED))
    assert masks_of(new) == masks_of(old)


@pytest.mark.parametrize("format", ["geotiff", "geojson-crs"])
def test_without_a_place_on_the_earth_there_is_no_export(new_project, tmp_path, format):
    with pytest.raises(ExportError, match="lies on the Earth"):
        export(new_project(), tmp_path / "out", format=format)


def test_a_system_without_a_code_is_refused_by_geojson(new_project, tmp_path):
    local = 'LOCAL_CS["mine",UNIT["metre",1]]'
    with pytest.raises(ExportError, match="EPSG"):
        export(new_project(), tmp_path / "out.geo.json", georeference=replace(UTM, crs=local))


@pytest.mark.parametrize("format", ["geotiff", "geojson-crs"])
@pytest.mark.parametrize(
    "wrong",
    [
        replace(UTM, crs="EPSG:32619"),
        replace(UTM, affine=(0.5, 0.0, 450_000.75, 0.0, -0.5, 4_640_000.75)),  # a pixel to the right
        replace(UTM, affine=(-0.5, 0.0, 450_000.25, 0.0, -0.5, 4_640_000.75)),  # mirrored
        replace(UTM, affine=(0.5, 0.0, 450_000.0, 0.0, -0.5, 4_640_001.0)),  # by half a pixel: centre for corner
    ],
)
def test_an_exporter_that_misplaces_is_caught(new_project, tmp_path, monkeypatch, format, wrong):
    import sys

    good = FORMATS[format]
    project = new_project((60, 70))
    project.accept(Box(20, 30, 24, 35), np.ones((4, 5), bool))

    def write(job, path, rest):
        return good.write(replace(job, georeference=wrong), path, rest)

    module = sys.modules[export.__module__]
    monkeypatch.setattr(module, "find_format", lambda name, path: replace(good, write=write))
    with pytest.raises(ExportError, match="was not written correctly"):
        finish(export(project, tmp_path / "out", format=format, georeference=UTM))
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("ending", [".geo.tif", ".geo.json"])
def test_a_file_of_another_place_is_refused(new_project, tmp_path, ending):
    old, new = new_project(), new_project()
    fill(old)
    path = tmp_path / f"out{ending}"
    finish(export(old, path, georeference=UTM))
    with pytest.raises(ImportFileError, match="EPSG"):
        finish(import_file(new, path, georeference=replace(UTM, crs="EPSG:32619")))
    with pytest.raises(ImportFileError, match="not known"):
        finish(import_file(new, path))
    far = replace(UTM, affine=(0.5, 0.0, 999_000.25, 0.0, -0.5, 4_640_000.75))
    with pytest.raises(ImportFileError):
        finish(import_file(new, path, georeference=far))
    assert new.count() == 0


def test_the_certificate_names_crs_and_affine(new_project, tmp_path: Path):
    project = new_project((60, 70), (1, 2))
    project.accept(Box(20, 30, 24, 35), np.ones((4, 5), bool))
    finish(export(project, tmp_path / "out.geo.tif", georeference=UTM, plane=Plane(0, 0)))
    compared = json.loads((tmp_path / "out.geo.tif.certificate.json").read_text())["compared"]
    assert (compared["crs"], compared["affine"]) == ("EPSG:32618", list(UTM.affine))

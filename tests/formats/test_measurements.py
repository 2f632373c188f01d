"""Sizes, shapes and intensities in the units of the world, as a table and in GeoJSON."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_relay.errors import ExportError
from napari_relay.formats import Measure, export, export_measurements
from napari_relay.formats import measurements as table
from napari_relay.formats import measuring as measuring_
from napari_relay.formats.measuring import PixelScale, scale_of
from napari_relay.geometry import Box
from napari_relay.sources import open_image
from napari_relay.store import Project

SHAPE = (300, 400)


def disc(radius: int, hole: int = 0) -> np.ndarray:
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    distance = np.hypot(y, x)
    return (distance <= radius) & (distance >= hole)


@pytest.fixture
def project(tmp_path: Path):
    with Project.open(tmp_path / "a.tif.relay", fingerprint="f", shape=SHAPE, image_name="a.tif") as opened:
        opened.accept(Box(10, 20, 91, 101), disc(40), class_name="cell")
        opened.accept(Box(100, 200, 161, 261), disc(30, 10), class_name="ring")
        opened.accept(Box(200, 10, 201, 11), np.ones((1, 1), bool), class_name="=1+1")
        yield opened


def finish(steps):
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def test_sizes_and_shapes_are_in_the_units_of_the_world(project):
    measure = Measure(PixelScale((0.5, 0.5), "µm"))
    whole, ring, dot = (measure.of(stored) for stored in project.objects())
    assert list(whole) == measure.names()
    assert whole["Area µm^2"] == pytest.approx(np.pi * 20**2, rel=0.01)
    assert whole["Length µm"] == pytest.approx(2 * np.pi * 20, rel=0.05)
    assert whole["Max diameter µm"] == pytest.approx(40, rel=0.02)
    assert whole["Circularity"] > 0.9
    assert (whole["Holes"], ring["Holes"], dot["Holes"]) == (0, 1, 0)
    assert ring["Solidity"] == pytest.approx(1 - (10 / 30) ** 2, abs=0.03)
    assert dot["Area µm^2"] == 0.25
    assert dot["Solidity"] == 1


def test_pixels_that_are_not_square_have_areas_and_axes_but_no_perimeter(project):
    (whole, *_) = (Measure(PixelScale((2.0, 0.5), "CRS unit")).of(stored) for stored in project.objects())
    assert whole["Area CRS unit^2"] == pytest.approx(np.pi * 40**2, rel=0.01)
    assert whole["Max diameter CRS unit"] == pytest.approx(160, rel=0.02)
    assert whole["Min diameter CRS unit"] == pytest.approx(40, rel=0.02)
    assert "Length CRS unit" not in whole


def test_intensities_are_those_of_the_pixels_of_the_object_alone(project):
    image = np.zeros((2, *SHAPE), np.uint16)
    rng = np.random.default_rng(0)
    stored = project.object(2)
    values = rng.integers(0, 60_000, int(stored.mask.sum()))
    image[1][stored.box.slices][stored.mask] = values
    with open_image(image, axes="cyx", channel_names=["DAPI", "GFP"]) as source:
        measured = Measure(PixelScale(), source).of(stored)
    assert measured["DAPI: Mean"] == 0
    assert measured["GFP: Mean"] == pytest.approx(values.mean())
    assert measured["GFP: Std.Dev."] == pytest.approx(values.std())
    assert measured["GFP: Median"] == np.median(values)
    assert (measured["GFP: Min"], measured["GFP: Max"]) == (values.min(), values.max())


@given(height=st.integers(1, 40), width=st.integers(1, 60), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_any_mask_has_finite_measurements(height, width, seed, tmp_path_factory):
    rng = np.random.default_rng(seed)
    mask = rng.random((height, width)) < rng.uniform(0.05, 1)
    mask[rng.integers(height), rng.integers(width)] = True
    with Project.open(tmp_path_factory.mktemp("any") / "a.relay", fingerprint="f", shape=(40, 60)) as project:
        stored = project.accept(Box(0, 0, height, width), mask)
        measured = Measure(PixelScale((0.3, 0.3), "µm")).of(stored)
        assert all(np.isfinite(value) for value in measured.values())
        assert 0 <= measured["Solidity"] <= 1 + 1e-9
        y, x = table._centroid(stored)
        rows, columns = np.nonzero(mask)
        assert (y, x) == (pytest.approx(rows.mean()), pytest.approx(columns.mean()))


def test_a_huge_object_is_measured_coarsely_and_its_area_exactly(project, monkeypatch):
    fine = [Measure(PixelScale()).of(stored) for stored in project.objects()]
    image = np.full(SHAPE, 7, np.uint8)
    monkeypatch.setattr(measuring_, "MAX_PIXELS", 800)
    with open_image(image) as source:
        coarse = [Measure(PixelScale(), source).of(stored) for stored in project.objects()]
    for one, other in zip(fine, coarse, strict=True):
        assert one["Area px^2"] == other["Area px^2"]
        assert one["Max diameter px"] == pytest.approx(other["Max diameter px"], rel=0.1, abs=2)
    assert {measured[f"{source.channel_names[0]}: Mean"] for measured in coarse} == {7.0}


def test_units_come_from_crs_pixel_size_or_pixels(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((50, 60), np.uint8), resolution=(20_000, 20_000),
                     resolutionunit="CENTIMETER")  # fmt: skip
    with open_image(tmp_path / "a.tif") as source:
        assert scale_of(source, None) == PixelScale((0.5, 0.5), "µm")
    assert scale_of(None, (0.25, 0.5)) == PixelScale((0.25, 0.5), "µm")
    assert scale_of(None, None) == PixelScale((1.0, 1.0), "px")
    assert scale_of(None, None, (0.0, 2.0, 10.0, 3.0, 0.0, 20.0)) == PixelScale((2.0, 3.0), "CRS unit")


def test_a_table_has_a_row_for_each_object_and_no_formulas(project, tmp_path):
    project.set_note(1, '+cmd, "quoted"\nnew line')
    project.set_state(2, "rejected")
    path = tmp_path / "out.csv"
    report = finish(export_measurements(project, path, Measure(PixelScale((0.5, 0.5), "µm"))))
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["Object"] for row in rows] == ["1", "3"]
    assert [row["Class"] for row in rows] == ["cell", "'=1+1"]
    assert rows[0]["Note"].startswith("'+cmd")
    assert (float(rows[0]["Centroid y px"]), float(rows[0]["Centroid x px"])) == (50, 60)
    assert float(rows[0]["Area µm^2"]) == pytest.approx(project.object(1).area / 4)
    proof = json.loads(report.certificate.read_text())
    assert (proof["verdict"], proof["compared"]["objects"], proof["unit"]) == ("equal to the project", 2, "µm")


@pytest.mark.parametrize("spoil", ["drop", "class", "more"])
def test_a_table_that_was_written_wrongly_is_refused(project, tmp_path, monkeypatch, spoil):
    honest = table._write

    def wrong(of, path, ids, measure):
        yield from honest(of, path, ids, measure)
        lines = path.read_bytes().split(b"\r\n")
        if spoil == "drop":
            del lines[2]
        elif spoil == "more":
            lines.insert(2, lines[1])
        else:
            lines[1] = lines[1].replace(b"cell", b"bell")
        path.write_bytes(b"\r\n".join(lines))

    monkeypatch.setattr(table, "_write", wrong)
    with pytest.raises(ExportError, match=r"out\.csv"):
        finish(export_measurements(project, tmp_path / "out.csv", Measure(PixelScale())))
    assert not list(tmp_path.glob("out*"))


def test_geojson_carries_the_measurements_as_qupath_reads_them(project, tmp_path):
    finish(export(project, tmp_path / "out.geojson", measure=Measure(PixelScale((0.5, 0.5), "µm"))))
    (first, *_) = json.loads((tmp_path / "out.geojson").read_text())["features"]
    measured = first["properties"]["measurements"]
    assert measured["Area px^2"] == project.object(1).area
    assert measured["Circularity"] > 0.9
    assert all(isinstance(value, int | float) for value in measured.values())

"""`export --out table.csv` and `--measure`."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_relay.geometry import Box
from napari_relay.sources import open_image
from napari_relay.store import Project

Run = Callable[..., Any]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    pixels = np.zeros((60, 80, 3), np.uint8)
    pixels[10:20, 10:30] = (200, 100, 50)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with open_image(tmp_path / "a.png") as source:
        fingerprint = source.fingerprint
    path = tmp_path / "a.png.relay"
    with Project.open(path, fingerprint=fingerprint, shape=(60, 80), image_name="a.png") as opened:
        opened.accept(Box(10, 10, 20, 30), np.ones((10, 20), bool), class_name="cell")
    return path


def test_a_table_is_told_by_its_ending_and_has_intensities(run: Run, project: Path, tmp_path: Path) -> None:
    ran = run("export", project, "--out", tmp_path / "out.csv")
    assert ran.code == 0, ran.err
    (row,) = csv.DictReader((tmp_path / "out.csv").open(encoding="utf-8-sig", newline=""))
    assert (row["Area px"], row["Area px^2"], row["red: Mean"]) == ("200", "200", "200")


def test_without_the_image_there_are_shapes_alone(run: Run, project: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").unlink()
    ran = run("export", project, "--format", "csv", "--out", tmp_path / "out.csv")
    assert ran.code == 0
    assert "no intensities" in ran.err
    (row,) = csv.DictReader((tmp_path / "out.csv").open(encoding="utf-8-sig", newline=""))
    assert row["Solidity"] == "1"
    assert not [name for name in row if "Mean" in name]


def test_geojson_has_measurements_when_they_are_asked_for(run: Run, project: Path, tmp_path: Path) -> None:
    assert run("export", project, "--out", tmp_path / "a.geojson").code == 0
    assert run("export", project, "--measure", "--out", tmp_path / "b.geojson").code == 0
    plain, measured = (
        json.loads((tmp_path / name).read_text())["features"][0]["properties"]["measurements"]
        for name in ("a.geojson", "b.geojson")
    )
    assert set(plain) == {"Area px^2"}
    assert measured["green: Mean"] == 100

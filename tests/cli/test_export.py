"""`export`: labels that equal the project, or one sentence and nothing on the disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from napari_relay.geometry import Box
from napari_relay.sources import open_image
from napari_relay.store import Project

Run = Callable[..., Any]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    path = tmp_path / "a.png.relay"
    with Project.open(path, fingerprint="f", shape=(700, 600), image_name="a.png") as opened:
        opened.accept(Box(10, 20, 50, 60), np.ones((40, 40), bool), class_name="cell")
        opened.accept(Box(500, 500, 540, 530), np.ones((40, 30), bool), class_name="cell")
    return path


def truth(project: Path) -> np.ndarray:
    with Project.open(project, create=False, read_only=True) as opened:
        return np.asarray(opened.labels(Box(0, 0, 700, 600)))


def test_label_tiff_holds_the_ids(run: Run, project: Path, tmp_path: Path) -> None:
    ran = run("export", project, "--format", "label-tiff", "--out", tmp_path / "labels.tif")

    assert ran.code == 0
    assert "2 objects" in ran.out
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "labels.tif"), truth(project))


def test_ome_zarr_is_chosen_by_the_ending(run: Run, project: Path, tmp_path: Path) -> None:
    report = json.loads(run("export", project, "--out", tmp_path / "labels.ome.zarr", "--json").out)

    assert (report["format"], report["n_objects"]) == ("ome-zarr", 2)
    group = zarr.open_group(tmp_path / "labels.ome.zarr", mode="r")
    np.testing.assert_array_equal(np.asarray(group["0"]), truth(project))


def test_project_that_a_window_has_open_is_exported(run: Run, project: Path, tmp_path: Path) -> None:
    with Project.open(project, create=False):
        assert run("export", project, "--out", tmp_path / "labels.tif").code == 0


def test_existing_file_is_replaced_only_when_asked(run: Run, project: Path, tmp_path: Path) -> None:
    target = tmp_path / "labels.tif"
    target.write_text("mine")

    ran = run("export", project, "--out", target)

    assert (ran.code, target.read_text()) == (1, "mine")
    assert "already exists" in ran.err
    assert run("export", project, "--out", target, "--overwrite").code == 0
    assert tifffile.imread(target).max() == 2


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--out", "labels.xyz"], 2, "tells no export format"),
        (["--out", "labels.tif", "--format", "jpeg"], 2, "no export format 'jpeg'"),
        (["--out", "no/such/folder/labels.tif"], 1, "does not exist"),
    ],
)
def test_wrong_call_leaves_nothing(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, message: str
) -> None:
    monkeypatch.chdir(project.parent)
    before = sorted(file.name for file in project.parent.iterdir())

    ran = run("export", project, *words)

    assert (ran.code, message in ran.err) == (code, True)
    assert sorted(file.name for file in project.parent.iterdir()) == before


def test_missing_project_is_not_made(run: Run, tmp_path: Path) -> None:
    ran = run("export", tmp_path / "none.relay", "--out", tmp_path / "labels.tif")

    assert ran.code == 1
    assert list(tmp_path.iterdir()) == []


def test_outlines_are_exported_with_a_certificate_and_losses_are_told_before(run: Run, project: Path, tmp_path: Path):
    ran = run("export", project, "--out", tmp_path / "out.yolo")

    assert ran.code == 0
    assert "numbers" in ran.err
    assert "equal to the project" in ran.out
    assert json.loads((tmp_path / "out.yolo.certificate.json").read_text())["compared"]["objects"] == 2


def test_a_region_in_tiles_is_a_folder(run: Run, project: Path, tmp_path: Path):
    ran = run("export", project, "--out", tmp_path / "out.png", "--region", "0,0,200,100", "--tile", "128")

    assert ran.code == 0
    assert "2 files" in ran.out
    assert sorted(file.name for file in (tmp_path / "out.png").iterdir()) == [
        "a_t0_z0_y0_x0.png",
        "a_t0_z0_y128_x0.png",
    ]


@pytest.mark.parametrize("words", [("--region", "1,2,3"), ("--region", "a,b,c,d"), ("--plane", "0")])
def test_wrong_numbers_are_a_wrong_call(run: Run, project: Path, tmp_path: Path, words: tuple[str, str]):
    ran = run("export", project, "--out", tmp_path / "out.png", *words)

    assert ran.code == 2
    assert words[1] in ran.err


def test_a_training_set_needs_the_image_of_the_project(run: Run, tmp_path: Path):
    Image.new("L", (90, 80), 7).save(tmp_path / "b.png")
    Image.new("L", (90, 80), 9).save(tmp_path / "c.png")
    with open_image(tmp_path / "b.png") as source:
        settings = {"fingerprint": source.fingerprint, "shape": source.shape, "image_name": "b.png"}
    with Project.open(tmp_path / "b.png.relay", **settings) as opened:
        opened.accept(Box(10, 20, 50, 60), np.ones((40, 40), bool))
    words = ("export", tmp_path / "b.png.relay", "--format", "training-set", "--out", tmp_path / "set")

    assert run(*words, "--image", tmp_path / "c.png").code == 2
    assert run(*words, "--tile", "64").code == 2
    assert run(*words, "--reviewed").code == 1
    assert run(*words).code == 0
    assert len(list((tmp_path / "set").glob("*/labels/*.png"))) == 1


def test_geo_formats_take_their_place_from_the_image(run: Run, tmp_path: Path):
    rasterio = pytest.importorskip("rasterio", reason="the extra `geo` is not installed")
    place = {"crs": "EPSG:32618", "transform": rasterio.Affine(0.5, 0, 450_000, 0, -0.5, 4_640_000)}
    with rasterio.open(
        tmp_path / "g.tif", "w", driver="GTiff", height=80, width=90, count=1, dtype="uint8", **place
    ) as dataset:
        dataset.write(np.arange(80 * 90, dtype=np.uint8).reshape(80, 90), 1)
    with open_image(tmp_path / "g.tif") as source:
        settings = {"fingerprint": source.fingerprint, "shape": source.shape, "image_name": "g.tif"}
    with Project.open(tmp_path / "g.tif.relay", **settings) as opened:
        opened.accept(Box(10, 20, 50, 60), np.ones((40, 40), bool))

    for name in ("out.geo.tif", "out.geo.json"):
        assert run("export", tmp_path / "g.tif.relay", "--out", tmp_path / name).code == 0
        assert run("import", tmp_path / "g.tif.relay", tmp_path / name).code == 0

    with rasterio.open(tmp_path / "out.geo.tif") as dataset:
        assert (dataset.crs.to_string(), dataset.transform) == ("EPSG:32618", place["transform"])
    with Project.open(tmp_path / "g.tif.relay", create=False, read_only=True) as opened:
        assert [item.box for item in opened.objects()] == [Box(10, 20, 50, 60)] * 4

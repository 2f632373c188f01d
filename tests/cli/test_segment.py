"""`segment`: the window's job without the window, on a real photo with the real model."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from napari_relay.cli import main
from napari_relay.store import Project

Run = Callable[..., Any]
COINS = {18: (186.6, 347.2), 3: (50.9, 155.3)}
"""Number in coins_labels.png -> its centre."""


@pytest.fixture(scope="module")
def segmented(tmp_path_factory: pytest.TempPathFactory, sample_data: Path) -> Path:
    """A folder in which two coins were segmented, with every kind of output; one object had a click outside."""
    folder = tmp_path_factory.mktemp("segment")
    shutil.copy(sample_data / "coins.png", folder)
    (y, x), (y2, x2) = COINS.values()
    across = [{"y": y, "x": x}, {"y": y, "x": x - 22}, {"y": y, "x": x + 22}, {"y": y + 22, "x": x}]
    clicks = [
        {"clicks": across, "class": "coin"},
        [{"y": y2, "x": x2}, {"y": y2 + 60, "x": x2, "positive": False}],
        [{"y": 5000, "x": 10}],
    ]
    (folder / "clicks.json").write_text(json.dumps(clicks))
    outputs = [word for name in ("o.png", "l.tif", "l.ome.zarr") for word in ("--out", str(folder / name))]
    words = ["segment", str(folder / "coins.png"), "--clicks", str(folder / "clicks.json"), "--device", "cpu"]
    with (
        open(folder / "report.json", "w", encoding="utf-8") as report,
        contextlib.redirect_stdout(report),
        pytest.raises(SystemExit) as stop,
    ):
        main([*words, *outputs, "--json"])
    assert stop.value.code == 1, "one of the objects was left out"
    return folder


@pytest.fixture(scope="module")
def report(segmented: Path) -> dict[str, Any]:
    return dict(json.loads((segmented / "report.json").read_text(encoding="utf-8")))


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.count_nonzero(one & other) / np.count_nonzero(one | other))


def coin(number: int, sample_data: Path) -> np.ndarray:
    return np.asarray(Image.open(sample_data / "coins_labels.png")) == number


def test_objects_are_in_the_project_and_fit_their_coins(segmented: Path, sample_data: Path) -> None:
    with Project.open(segmented / "coins.png.relay", create=False, read_only=True) as project:
        first, second = project.objects()
        for stored, number in ((first, 18), (second, 3)):
            mask = np.zeros((303, 384), bool)
            mask[stored.box.slices] = stored.mask
            assert iou(mask, coin(number, sample_data)) > 0.8
        assert [first.class_name, second.class_name] == ["coin", "object"]
        assert [first.n_clicks, second.n_clicks] == [4, 2]


def test_report_tells_each_object(report: dict[str, Any]) -> None:
    first, second, third = report["objects"]

    assert (first["class"], first["clicks"], first["error"]) == ("coin", 4, None)
    assert first["area"] > 2000
    assert set(first["box"]) == {"y0", "x0", "y1", "x1"}
    assert 0 < second["score"] <= 1
    assert third["id"] is None
    assert "outside" in third["error"] or "5000" in third["error"]


def test_label_pyramid_shows_the_objects(segmented: Path, report: dict[str, Any]) -> None:
    labels = np.asarray(zarr.open_group(report["pyramid"], mode="r")["0"])

    assert Path(report["pyramid"]) == segmented / "coins.png.labels.ome.zarr"
    assert set(np.unique(labels)) == {0, 1, 2}


def test_label_images_equal_the_pyramid(segmented: Path, report: dict[str, Any]) -> None:
    labels = np.asarray(zarr.open_group(report["pyramid"], mode="r")["0"])

    np.testing.assert_array_equal(tifffile.imread(segmented / "l.tif"), labels)
    np.testing.assert_array_equal(np.asarray(zarr.open_group(segmented / "l.ome.zarr", mode="r")["0"]), labels)


def test_overlay_is_a_picture_of_the_image(segmented: Path) -> None:
    picture = np.asarray(Image.open(segmented / "o.png"))

    assert picture.shape == (505, 640, 3)
    coloured = np.ptp(picture.astype(int), axis=2) > 20
    scale = 640 / 384
    assert coloured[int(186 * scale), int(347 * scale)]
    assert not coloured[int(60 * scale), int(45 * scale)]


def test_nothing_half_written_is_left(segmented: Path) -> None:
    assert not list(segmented.rglob("*.partial"))


def test_second_run_adds_to_the_project(segmented: Path, run: Run, tmp_path: Path) -> None:
    for name in ("coins.png", "coins.png.relay"):
        shutil.copy(segmented / name, tmp_path)
    (tmp_path / "c.json").write_text('[[{"y": 268, "x": 358}]]')

    ran = run("segment", tmp_path / "coins.png", "--clicks", tmp_path / "c.json", "--device", "cpu")

    assert ran.code == 0
    assert "coins.png.relay" in ran.out
    with Project.open(tmp_path / "coins.png.relay", create=False, read_only=True) as project:
        assert project.count() == 3


@pytest.fixture
def image(tmp_path: Path, sample_data: Path) -> Path:
    (tmp_path / "clicks.json").write_text('[[{"y": 186, "x": 347}]]')
    return Path(shutil.copy(sample_data / "coins.png", tmp_path))


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--clicks", "none.json"], 2, "Cannot read the clicks file"),
        (["--clicks", "clicks.json", "--out", "labels.docx"], 2, "tells no export format"),
        (["--clicks", "clicks.json", "--out", "no/such/o.png"], 2, "does not exist"),
        (["--clicks", "clicks.json", "--checkpoint", "nonsense"], 1, "no checkpoint 'nonsense'"),
        (["--clicks", "clicks.json", "--device", "abacus"], 2, "Unknown device 'abacus'"),
    ],
)
def test_wrong_call_is_told_before_anything_is_clicked(
    run: Run, image: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, message: str
) -> None:
    monkeypatch.chdir(image.parent)

    ran = run("segment", image.name, *words)

    assert (ran.code, message in ran.err) == (code, True), ran.err
    if image.with_name("coins.png.relay").exists():
        with Project.open(image.with_name("coins.png.relay"), create=False, read_only=True) as project:
            assert project.count() == 0


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.png", None, "There is no file"),
        ("text.png", b"just some text", "is not an image"),
        ("cut.png", "cut", "cut.png"),
    ],
)
def test_bad_image_is_one_sentence_and_leaves_no_project(
    run: Run, image: Path, name: str, content: bytes | str | None, message: str
) -> None:
    bad = image.with_name(name)
    if content == "cut":
        content = image.read_bytes()[:2000]
    if isinstance(content, bytes):
        bad.write_bytes(content)

    ran = run("segment", bad, "--clicks", image.with_name("clicks.json"))

    assert ran.code == 1
    assert message in ran.err
    assert len(ran.err.splitlines()) == 1
    assert not list(image.parent.glob(f"{name}.*"))


def test_project_of_another_image_is_refused(run: Run, segmented: Path, tmp_path: Path, sample_data: Path) -> None:
    other = Path(shutil.copy(sample_data / "cat_turned.jpg", tmp_path))
    before = (segmented / "coins.png.relay").read_bytes()
    words = ("--clicks", segmented / "clicks.json", "--project", segmented / "coins.png.relay")

    ran = run("segment", other, *words)

    assert ran.code == 1
    assert "coins.png" in ran.err
    assert (segmented / "coins.png.relay").read_bytes() == before

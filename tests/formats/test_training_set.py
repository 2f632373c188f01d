"""A training set: crops with the right labels and clicks, which `evaluate` can measure."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from format_checks import finish
from PIL import Image

from napari_relay.errors import ExportError, UsageError
from napari_relay.formats import export_training_set
from napari_relay.geometry import Box, Click
from napari_relay.sources import Source, open_image
from napari_relay.store import Project


@pytest.fixture
def image(tmp_path: Path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (300, 400, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with open_image(tmp_path / "a.png") as source:
        yield source


@pytest.fixture
def project(image: Source, tmp_path: Path):
    with Project.open(
        tmp_path / "a.png.relay", fingerprint=image.fingerprint, shape=image.shape, image_name="a.png"
    ) as opened:
        ring = np.ones((40, 30), bool)
        ring[10:20, 10:20] = False
        opened.accept(
            Box(100, 100, 140, 130), ring, class_name="cell", clicks=[Click(105, 103), Click(115, 115, False)]
        )
        opened.accept(Box(100, 130, 120, 150), np.ones((20, 20), bool), class_name="other")
        opened.accept(Box(0, 0, 20, 20), np.ones((20, 20), bool))
        yield opened


def crops(folder: Path) -> dict[int, tuple[np.ndarray, np.ndarray, dict]]:
    """Object -> picture, labels, record."""
    found = {}
    for record_file in folder.glob("*/clicks/*.json"):
        record = json.loads(record_file.read_text(encoding="utf-8"))
        split, name = record_file.parents[1], record_file.stem
        picture, labels = (np.asarray(Image.open(split / kind / f"{name}.png")) for kind in ("images", "labels"))
        found[record["object"]] = (picture, labels, record)
    return found


def test_each_object_has_its_crop_with_labels_and_clicks(project, image, tmp_path):
    report = finish(export_training_set(project, image, tmp_path / "set"))

    found = crops(tmp_path / "set")
    pixels = np.asarray(Image.open(tmp_path / "a.png"))
    picture, labels, record = found[1]

    assert (report.n_objects, sorted(found)) == (3, [1, 2, 3])
    y0, x0 = record["y0"], record["x0"]
    assert (picture.shape, labels.shape, record["scale"]) == ((64, 64, 3), (64, 64), 1.0)
    assert np.abs(picture.astype(int) - pixels[y0 : y0 + 64, x0 : x0 + 64]).max() <= 1
    box = Box(y0, x0, y0 + 64, x0 + 64)
    np.testing.assert_array_equal(labels == 1, project.object(1).mask_in(box))
    np.testing.assert_array_equal(labels == 2, project.object(2).mask_in(box))
    assert record["objects"] == {"1": 1, "2": 2}
    assert record["class"] == "cell"
    assert record["clicks"] == [
        {"y": 105 - y0, "x": 103 - x0, "positive": True}, {"y": 115 - y0, "x": 115 - x0, "positive": False},
    ]  # fmt: skip


def test_what_lies_outside_the_image_does_not_count(project, image, tmp_path):
    finish(export_training_set(project, image, tmp_path / "set"))
    picture, labels, record = crops(tmp_path / "set")[3]
    assert record["y0"] == -22
    assert (labels[:22] == 255).all()
    assert (labels[:, :22] == 255).all()
    assert not picture[:22].any()
    assert (labels == 1).sum() == 400


def test_large_objects_are_shown_coarser(tmp_path):
    pixels = np.zeros((1500, 1600), np.uint8)
    with (
        open_image(pixels) as source,
        Project.open(tmp_path / "p.relay", fingerprint=source.fingerprint, shape=source.shape) as project,
    ):
        mask = np.ones((1400, 1400), bool)
        mask[:700] = False
        mask[0, 0] = True
        project.accept(Box(50, 100, 1450, 1500), mask)
        finish(export_training_set(project, source, tmp_path / "set"))
    _, labels, record = crops(tmp_path / "set")[1]
    assert labels.shape == (1024, 1024)
    assert record["scale"] == pytest.approx(2240 / 1024)
    assert (labels == 1).sum() == pytest.approx(mask.sum() / record["scale"] ** 2, rel=0.01)


def test_the_object_of_a_crop_is_whole_where_another_lies_on_it(project, image, tmp_path):
    project.accept(Box(90, 90, 150, 160), np.ones((60, 70), bool), overlap="allow")
    finish(export_training_set(project, image, tmp_path / "set"))
    _, labels, _ = crops(tmp_path / "set")[1]
    assert (labels == 1).sum() == project.object(1).area


def test_only_reviewed_objects_where_that_is_asked_for(project, image, tmp_path):
    with pytest.raises(ExportError, match="no objects"):
        finish(export_training_set(project, image, tmp_path / "set", reviewed_only=True))
    project.set_state([2], "reviewed")
    assert finish(export_training_set(project, image, tmp_path / "set", reviewed_only=True)).n_objects == 1
    assert not list(tmp_path.glob("*.partial"))


def test_the_split_is_the_same_each_time(project, image, tmp_path):
    for name in ("one", "two"):
        finish(export_training_set(project, image, tmp_path / name))
    names = [sorted(str(file.relative_to(tmp_path / name)) for file in (tmp_path / name).rglob("*.png"))
             for name in ("one", "two")]  # fmt: skip
    assert names[0] == names[1]
    summary = json.loads((tmp_path / "one" / "dataset.json").read_text())
    assert sum(summary["objects"].values()) == 3
    assert summary["classes"] == {"cell": 1, "other": 1, "object": 1}


def test_another_image_is_refused(project, tmp_path):
    with open_image(np.zeros((300, 400), np.uint8)) as other, pytest.raises(UsageError, match="not the image"):
        export_training_set(project, other, tmp_path / "set")


def test_labels_that_come_back_different_are_noticed(project, image, tmp_path, monkeypatch):
    save = Image.Image.save

    def spoil(self, path, *rest, **more):
        if Path(path).parent.name == "labels":
            self = Image.fromarray(np.asarray(self) ^ 1)
        save(self, path, *rest, **more)

    monkeypatch.setattr(Image.Image, "save", spoil)
    with pytest.raises(ExportError, match="was not written correctly"):
        finish(export_training_set(project, image, tmp_path / "set"))
    assert not list(tmp_path.glob("set*"))

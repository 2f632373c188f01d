"""Real projects on real images for the tests of learning."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from napari_relay.geometry import Box, Click
from napari_relay.model.checkpoint import read_card
from napari_relay.sources import open_image
from napari_relay.store import Project

MakeProject = Callable[..., Path]


def objects_of(labels: np.ndarray) -> dict[int, tuple[Box, np.ndarray]]:
    """Box and mask of each label."""
    found = {}
    for label in np.unique(labels[labels > 0]):
        rows, columns = np.nonzero(labels == label)
        box = Box(int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1)
        found[int(label)] = (box, (labels == label)[box.slices])
    return found


def make_coins_project(folder: Path, sample_data: Path, *, shifted: bool = False, name: str = "coins.png") -> Path:
    """A copy of the coins with every coin accepted; every second mask `shifted` by half its size."""
    folder.mkdir(parents=True, exist_ok=True)
    image = folder / name
    shutil.copyfile(sample_data / "coins.png", image)
    labels = np.asarray(Image.open(sample_data / "coins_labels.png"))
    project = folder / f"{name}.relay"
    with (
        open_image(image) as source,
        Project.open(project, fingerprint=source.fingerprint, shape=source.shape, image_name=source.name) as opened,
    ):
        for label, (box, mask) in objects_of(labels).items():
            y, x = box.centre
            if shifted and label % 2:
                box = Box(box.y0, box.x0 + box.width // 2, box.y1, box.x1 + box.width // 2)
                inside = box.clip(source.shape)
                box, mask = inside, mask[:, : inside.width]
            opened.accept(box, mask, class_name="coin", clicks=[Click(y, x)], overlap="allow")
    return project


@pytest.fixture
def coins_project(tmp_path: Path, sample_data: Path) -> Path:
    return make_coins_project(tmp_path / "images", sample_data)


@pytest.fixture
def learned(tmp_path: Path) -> Callable[[str, float], Path]:
    """Makes a learned checkpoint that differs from the program's in one tensor of the head, without torch."""

    def make(name: str, value: float) -> Path:
        base = read_card("small")
        card = {
            **base.to_json(), "name": name, "title": f"learned {name}", "shards": [],
            "base": {"name": "small", "hash": "not checked here"},
        }  # fmt: skip
        path = tmp_path / f"{name}.safetensors"
        save_file(
            {"head.pixels.out.bias": np.full(1, value, np.float16)}, path, metadata={"card": json.dumps(card)}
        )
        return path

    return make

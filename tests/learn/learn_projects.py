"""Real projects on real images for the tests of learning."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from napari_relay.geometry import Box, Click
from napari_relay.sources import open_image
from napari_relay.store import Project


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

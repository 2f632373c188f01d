"""Pictures whose colours tell their labels, in the layout of the training data, for the tests of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = np.array([[30, 60, 90], [220, 40, 40], [40, 220, 40], [40, 40, 220], [200, 200, 60]], np.uint8)


def save(folder: Path, name: str, labels: np.ndarray, kind: str = "labels", suffix: str = "") -> None:
    """A picture whose colours tell the label, and its label map."""
    for part in ("images", kind):
        (folder / part).mkdir(parents=True, exist_ok=True)
    image = folder / "images" / f"{name}.png"
    if suffix in ("", ".a0"):
        Image.fromarray(COLOURS[np.where(labels > 4, 0, labels)]).save(image)
    Image.fromarray(labels).save(folder / kind / f"{name}{suffix}.png")

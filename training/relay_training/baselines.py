"""Classic methods without learning, as a floor to compare with: random walker and geodesic distance.

Both see a picture of at most `SIDE` pixels on its longer side, know the clicks as small disks, and take the
picture's frame for background, since a first click says nothing about where the object ends.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from skimage.color import rgb2lab
from skimage.filters import sobel
from skimage.graph import MCP_Geometric
from skimage.segmentation import random_walker

from napari_relay.geometry import Box, Click, to_scaled
from relay_training.bench_data import read_rgb
from relay_training.contest import Answer, Clicker, OpenPicture, Stopwatch

SEED_RADIUS = 2
"""Radius of the disk that a click marks, in pixels of the small picture."""

Float64 = npt.NDArray[np.float64]
Seeds = npt.NDArray[np.int32]
FOREGROUND, BACKGROUND = 1, 2


class _Classic:
    """A method that maps a small picture and seeds to the probability of the object."""

    def __init__(self, name: str, side: int, **settings: float) -> None:
        self.name = name
        self.side = side
        self.card: dict[str, Any] = {"kind": name, "side": side, **settings}

    def probability(self, lab: Float64, seeds: Seeds) -> Float64:
        raise AssertionError(f"{type(self).__name__} has no method")

    @contextmanager
    def open(self, path: Path) -> Iterator[OpenPicture]:
        yield _Small(self, read_rgb(path))


class RandomWalker(_Classic):
    """Grady 2006, `skimage.segmentation.random_walker` on CIELAB."""

    def __init__(self, side: int = 192, beta: float = 130.0) -> None:
        super().__init__("random-walker", side, beta=beta)
        self._beta = beta

    def probability(self, lab: Float64, seeds: Seeds) -> Float64:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # cg_j says that pyamg would be faster
            walked = random_walker(
                lab, seeds, beta=self._beta, mode="cg_j", tol=1e-3, channel_axis=-1, return_full_prob=True
            )
        return np.asarray(walked[0])


class Geodesic(_Classic):
    """Nearest seed by geodesic distance (Bai and Sapiro 2007): a path costs its length and the edges it
    crosses.
    """

    def __init__(self, side: int = 320, edge_cost: float = 40.0) -> None:
        super().__init__("geodesic", side, edge_cost=edge_cost)
        self._edge_cost = edge_cost

    def probability(self, lab: Float64, seeds: Seeds) -> Float64:
        edges = np.linalg.norm(np.stack([sobel(channel) for channel in np.moveaxis(lab, -1, 0)]), axis=0)
        cost = 0.02 + self._edge_cost * edges / 100
        near = MCP_Geometric(cost).find_costs(np.argwhere(seeds == FOREGROUND))[0]
        far = MCP_Geometric(cost).find_costs(np.argwhere(seeds == BACKGROUND))[0]
        return np.asarray(far / np.maximum(near + far, 1e-12))


class _Small:
    """A picture opened by a classic method."""

    def __init__(self, method: _Classic, rgb: npt.NDArray[np.uint8]) -> None:
        self.shape = (rgb.shape[0], rgb.shape[1])
        self._method = method
        self._scale = max(1.0, max(self.shape) / method.side)
        size = (max(1, round(self.shape[1] / self._scale)), max(1, round(self.shape[0] / self._scale)))
        small = Image.fromarray(rgb).resize(size, Image.Resampling.BOX)
        self._lab: Float64 = rgb2lab(np.asarray(small))  # [y, x, 3]

    def start(self) -> Clicker:
        clicks: list[Click] = []

        def click(new: Click) -> Answer:
            clicks.append(new)
            with Stopwatch() as watch:
                probability = self._method.probability(self._lab, self._seeds(clicks))
                large = Image.fromarray(probability.astype(np.float32)).resize(
                    (self.shape[1], self.shape[0]), Image.Resampling.BILINEAR
                )
                mask = np.asarray(large) > 0.5
            return Answer(Box(0, 0, *self.shape), mask, watch.ms, watch.cpu_ms)

        return click

    def _seeds(self, clicks: list[Click]) -> Seeds:
        height, width = self._lab.shape[:2]
        seeds = np.zeros((height, width), np.int32)
        seeds[[0, -1], :] = BACKGROUND
        seeds[:, [0, -1]] = BACKGROUND
        ys, xs = np.ogrid[:height, :width]
        for click in clicks:
            y = min(max(to_scaled(click.y, self._scale), 0.0), height - 1.0)
            x = min(max(to_scaled(click.x, self._scale), 0.0), width - 1.0)
            disk = (ys - y) ** 2 + (xs - x) ** 2 <= SEED_RADIUS**2
            seeds[disk] = FOREGROUND if click.positive else BACKGROUND
        return seeds

"""Synthetic slides whose objects lie where tiles meet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_relay.fullimage.plan import Grid
from napari_relay.geometry import Box


@dataclass(frozen=True)
class Disc:
    y: float
    x: float
    radius: float

    def mask(self, shape: tuple[int, int]) -> np.ndarray:
        y, x = np.ogrid[: shape[0], : shape[1]]
        return np.hypot(y - self.y, x - self.x) <= self.radius


def seams(grid: Grid, axis: int) -> list[int]:
    """Where views begin and end inside the image."""
    lines = {start for i in range(grid.counts[axis]) for start in (i * grid.stride, i * grid.stride + grid.side)}
    return sorted(line for line in lines if 30 < line < grid.shape[axis] - 30)


def seam_discs(shape: tuple[int, int], step: int = 0, radius: float = 20) -> list[Disc]:
    """Discs on every seam and every crossing of seams, none of which touch; and large ones over whole overlaps."""
    grid = Grid(shape, step, Box(0, 0, *shape))
    discs: list[Disc] = []

    def add(y: float, x: float, radius: float) -> None:
        inside = radius < y < shape[0] - radius and radius < x < shape[1] - radius
        if inside and all(np.hypot(y - d.y, x - d.x) > radius + d.radius + 12 for d in discs):
            discs.append(Disc(y, x, radius))

    rows, columns = seams(grid, 0), seams(grid, 1)
    overlap = grid.side // 4
    for row in rows[:2]:  # wider than an overlap: no view shows them whole
        add(row + overlap // 2, columns[0] + overlap * 2, 0.75 * overlap)
    for row in rows:
        for column in columns:
            add(row + 0.3, column - 0.4, radius)
    for row in rows:
        for x in range(40, shape[1] - 40, 75):
            add(row - 3.2, x, radius)
    for column in columns:
        for y in range(40, shape[0] - 40, 75):
            add(y, column + 4.1, radius)
    return discs


def draw(shape: tuple[int, int], discs: list[Disc], seed: int = 0) -> np.ndarray:
    """uint8 [y, x, 3]: soft-edged bright discs on a dark ground with a little noise."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    value = np.zeros(shape, np.float32)
    for disc in discs:
        near = Box(int(disc.y - disc.radius - 4), int(disc.x - disc.radius - 4), int(disc.y + disc.radius + 5),
                   int(disc.x + disc.radius + 5)).clip(shape).slices  # fmt: skip
        away = np.hypot(y[near] - disc.y, x[near] - disc.x)
        value[near] = np.maximum(value[near], np.clip((disc.radius - away) / 3 + 0.5, 0, 1))
    noise = np.random.default_rng(seed).normal(0, 4, (*shape, 3))
    rgb = 50 + 200 * value[..., None] * np.array([1.0, 0.8, 0.6]) + noise
    return np.clip(rgb, 0, 255).astype(np.uint8)

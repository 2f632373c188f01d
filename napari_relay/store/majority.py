"""The label pyramid's rule: a pixel of level k is the non-zero id that covers most level-0 pixels of its block, ties
to the higher id.

A level is told by its shape alone. Level-0 pixel j belongs to the level pixel in which its centre lies, so the blocks
of a level cut the image without gap or overlap whatever the two shapes are, and napari, which also goes by the
shapes, draws them in the right place.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from napari_relay.geometry import Box
from napari_relay.store.schema import TILE
from napari_relay.store.tiles import tile_box
from napari_relay.store.values import Labels

Edges = npt.NDArray[np.int64]
ReadLabels = Callable[[Box], Labels]
OccupiedTiles = Callable[[Box], Sequence[tuple[int, int]]]

LARGEST_SOURCE_PX = (4 * TILE) ** 2
"""Level-0 pixels held at once (16 MiB of ids)."""
LARGEST_BLOCK_PX = TILE
"""Side of the blocks up to which `reduce_levels` is worth it: a piece reads so much beyond its border."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """How the pixels of a level of `shape` lie over the level-0 pixels of an image of `full` shape."""

    full: tuple[int, int]
    shape: tuple[int, int]

    def level_box(self, box: Box) -> Box:
        """The level pixels whose blocks meet a level-0 box that lies inside the image."""
        if box.empty:
            return Box(0, 0, 0, 0)
        y0, x0 = self._pixel(0, box.y0), self._pixel(1, box.x0)
        return Box(y0, x0, self._pixel(0, box.y1 - 1) + 1, self._pixel(1, box.x1 - 1) + 1)

    def source_box(self, box: Box) -> Box:
        """The level-0 pixels of the blocks of a box of level pixels."""
        y, x = self.edges(box)
        return Box(int(y[0]), int(x[0]), int(y[-1]), int(x[-1]))

    def beginning_in(self, box: Box) -> Box:
        """The level pixels whose blocks begin in a level-0 box; boxes that cut the image cut the level, too."""
        y0, x0 = self._first(0, box.y0), self._first(1, box.x0)
        return Box(y0, x0, max(y0, self._first(0, box.y1)), max(x0, self._first(1, box.x1)))

    def edges(self, box: Box) -> tuple[Edges, Edges]:
        """Where the blocks of a box of level pixels begin, by rows and by columns, and where the last ones end."""
        return self._starts(0, box.y0, box.y1), self._starts(1, box.x0, box.x1)

    @property
    def largest_px(self) -> int:
        """Longest side that a block can have."""
        return max(-(-full // size) for full, size in zip(self.full, self.shape, strict=True))

    def reduce(self, source: Labels, box: Box) -> Labels:
        """Level pixels, uint32 [y, x] over `box`, from the level-0 ids of `source_box(box)`."""
        y, x = self.edges(box)
        return majority(source, y - y[0], x - x[0])

    def _pixel(self, axis: int, index: int) -> int:
        return ((2 * index + 1) * self.shape[axis]) // (2 * self.full[axis])

    def _first(self, axis: int, index: int) -> int:
        """The first level pixel whose block begins at `index` or after it."""
        if index >= self.full[axis]:
            return self.shape[axis]
        pixel = self._pixel(axis, index)
        return pixel + int(self._starts(axis, pixel, pixel)[0] < index)

    def _starts(self, axis: int, first: int, stop: int) -> Edges:
        """First level-0 pixel of each level pixel of [first, stop], the end of the last one included."""
        full, size = self.full[axis], self.shape[axis]
        pixels = np.arange(first, stop + 1, dtype=np.int64)
        return -((size - 2 * full * pixels) // (2 * size))


def majority(source: Labels, rows: Edges, columns: Edges) -> Labels:
    """The rule for blocks cut at `rows` and `columns` (both from 0 to the source's size): uint32 [blocks y, blocks x].

    Most blocks hold one id only; only the mixed ones are counted.
    """
    if (source == source[0, 0]).all():
        return np.full((rows.size - 1, columns.size - 1), source[0, 0], np.uint32)
    y, used_y = block_indices(rows)  # [blocks y, side y]
    x, used_x = block_indices(columns)  # [blocks x, side x]
    pixels = source if used_y.all() and used_x.all() else source[np.ix_(y.ravel(), x.ravel())]
    blocks = pixels.reshape(*y.shape, *x.shape)  # [blocks y, side y, blocks x, side x]
    lowest, highest = reduce_blocks(np.minimum, blocks), reduce_blocks(np.maximum, blocks)
    mixed = lowest != highest
    if mixed.any():
        row, column = np.nonzero(mixed)
        used = used_y[row][:, :, None] & used_x[column][:, None, :]
        counted = blocks.transpose(0, 2, 1, 3)[mixed] * used  # [mixed, side y, side x]
        lowest[mixed] = _most_frequent(counted.reshape(row.size, -1))
    return lowest


def reduce_box(blocks: Blocks, box: Box, read: ReadLabels, occupied: OccupiedTiles) -> Labels:
    """Level pixels over `box`, uint32 [y, x], reading no more than `LARGEST_SOURCE_PX` level-0 pixels at once.

    Parameters
    ----------
    read : the level-0 ids of a box.
    occupied : (row, column) of the tiles that meet a level-0 box and may hold an id.
    """
    source = blocks.source_box(box)
    if source.area <= LARGEST_SOURCE_PX:
        return blocks.reduce(read(source), box)
    if box.area == 1:
        tiles = (tile_box(row, column).intersect(source) for row, column in occupied(source))
        return np.full((1, 1), majority_of_parts(read(tile) for tile in tiles), np.uint32)
    pixels = np.empty(box.shape, np.uint32)
    for half in _halves(box):
        pixels[half.relative_to(box).slices] = reduce_box(blocks, half, read, occupied)
    return pixels


def _halves(box: Box) -> tuple[Box, Box]:
    """A box of more than one pixel, cut across its longer side."""
    if box.height >= box.width:
        middle = (box.y0 + box.y1) // 2
        return Box(box.y0, box.x0, middle, box.x1), Box(middle, box.x0, box.y1, box.x1)
    middle = (box.x0 + box.x1) // 2
    return Box(box.y0, box.x0, box.y1, middle), Box(box.y0, middle, box.y1, box.x1)


def majority_of_parts(parts: Iterable[Labels]) -> int:
    """The rule for one block that is too large to be held at once, from the level-0 ids of its parts."""
    total: dict[int, int] = {}
    for part in parts:
        ids, counts = np.unique(part, return_counts=True)
        for label, count in zip(ids.tolist(), counts.tolist(), strict=True):
            total[label] = total.get(label, 0) + count
    total.pop(0, None)
    return max(total, key=lambda label: (total[label], label), default=0)


def block_indices(edges: Edges) -> tuple[Edges, npt.NDArray[np.bool_]]:
    """Pixel indices of each block, [blocks, longest side]; a shorter block repeats its last pixel, marked unused."""
    indices = edges[:-1, None] + np.arange(int(np.diff(edges).max()))
    used = indices < edges[1:, None]
    return np.minimum(indices, edges[1:, None] - 1), used


def reduce_blocks(function: np.ufunc, blocks: Labels) -> Labels:
    """Minimum or maximum of each block: [blocks y, blocks x]. Along y first, where numpy is fast."""
    lines = function.reduce(blocks, axis=1)  # [blocks y, blocks x, side x]
    if lines.shape[2] > 16:
        return cast(Labels, function.reduce(lines, axis=2))
    return cast(Labels, functools.reduce(function, [lines[:, :, i] for i in range(lines.shape[2])]).copy())


def runs_of_rows(
    blocks: Labels,
) -> tuple[npt.NDArray[np.intp], Labels, npt.NDArray[np.int64]]:
    """The ids of each row of [blocks, pixels], and how often each is there: (row, id, number), by row and id."""
    ordered = np.sort(blocks, axis=1)
    new = np.ones(ordered.shape, bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    starts = np.flatnonzero(new)
    lengths = np.diff(np.append(starts, ordered.size)).astype(np.int64)
    return starts // max(1, blocks.shape[1]), ordered.ravel()[starts], lengths


def _most_frequent(blocks: Labels) -> Labels:
    """The most frequent non-zero id of each row of [blocks, pixels], the higher one of equals; 0 without any."""
    rows, labels, lengths = runs_of_rows(blocks)
    weights = np.where(labels == 0, 0, lengths).astype(np.uint64) << np.uint64(32) | labels
    best = np.maximum.reduceat(weights, np.searchsorted(rows, np.arange(blocks.shape[0])))
    return (best & np.uint64(0xFFFFFFFF)).astype(np.uint32)

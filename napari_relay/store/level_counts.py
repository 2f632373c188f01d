"""Several levels of the label pyramid from one read of level 0.

What the rule of `majority` needs of a block is how many pixels of each id it holds, and such counts add up. So the
pixels are counted once in the finest cells, and the cells put together from level to level. The cells of a level are
cut wherever a block of it or of any coarser level begins: that way they lie inside each other whatever the shapes of
the levels are, also where the blocks themselves do not (at odd sides).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_relay.geometry import Box
from napari_relay.store.majority import Blocks, Edges, ReadLabels, block_indices, reduce_blocks, runs_of_rows
from napari_relay.store.values import Labels

_SHIFT, _LABEL = np.uint64(32), np.uint64(0xFFFFFFFF)

Grid = tuple[Edges, Edges]
"""Edges of cells in level-0 pixels, by rows and by columns, the end of the last one included."""


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """How many pixels of each id lie in each cell of a grid; background is not counted.

    Attributes
    ----------
    grid : Grid
    keys : uint64 [n], ascending
        `cell << 32 | id`, the cells numbered by rows.
    pixels : int64 [n]
    """

    grid: Grid
    keys: npt.NDArray[np.uint64]
    pixels: npt.NDArray[np.int64]

    def put_together(self, grid: Grid) -> Counts:
        """The counts in the cells of a coarser grid whose edges are among the finer one's; what lies outside is left
        out."""
        if all(np.array_equal(fine, coarse) for fine, coarse in zip(self.grid, grid, strict=True)):
            return self
        row, column = np.divmod((self.keys >> _SHIFT).astype(np.int64), self.grid[1].size - 1)
        row, column = (
            _cells_of(fine, coarse)[index]
            for fine, coarse, index in zip(self.grid, grid, (row, column), strict=True)
        )  # fmt: skip
        inside = (row >= 0) & (column >= 0)
        cells = (row * (grid[1].size - 1) + column)[inside].astype(np.uint64)
        keys = cells << _SHIFT | (self.keys[inside] & _LABEL)
        order = np.argsort(keys)
        keys, pixels = keys[order], self.pixels[inside][order]
        starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])[: keys.size])
        return Counts(grid, keys[starts], np.add.reduceat(pixels, starts) if keys.size else pixels)

    def most(self) -> Labels:
        """The id with most pixels of each cell, the higher one of equals; 0 without any: uint32 [rows, columns]."""
        found = np.zeros((self.grid[0].size - 1, self.grid[1].size - 1), np.uint32)
        if self.keys.size:
            cells = self.keys >> _SHIFT
            starts = np.flatnonzero(np.append(True, cells[1:] != cells[:-1]))
            weights = self.pixels.astype(np.uint64) << _SHIFT | (self.keys & _LABEL)
            best = np.maximum.reduceat(weights, starts) & _LABEL
            found.ravel()[cells[starts].astype(np.int64)] = best.astype(np.uint32)
        return found


def reduce_levels(levels: Sequence[Blocks], piece: Box, read: ReadLabels) -> Iterator[tuple[int, Box, Labels]]:
    """The pixels of all levels whose blocks begin in a piece of level 0, from one read.

    Pieces that cut the image without gap or overlap give every pixel of every level once.

    Parameters
    ----------
    levels : Blocks
        Of each level, finest first.
    piece : Box
        Level-0 pixels.
    read : the level-0 ids of a box; it is as much larger than the piece as the largest block reaches beyond it.

    Yields
    ------
    (index of the level in `levels`, its pixels' box, uint32 [y, x])
    """
    owned = {index: blocks.beginning_in(piece) for index, blocks in enumerate(levels)}
    owned = {index: box for index, box in owned.items() if not box.empty}
    if not owned:
        return
    whole = functools.reduce(Box.hull, (levels[index].source_box(box) for index, box in owned.items()))
    counts: Counts | None = None
    for index, box in owned.items():
        cells = _cells([levels[other] for other in owned if other >= index], whole)
        counts = _count(read(whole), cells) if counts is None else counts.put_together(cells)
        yield index, box, counts.put_together(levels[index].edges(box)).most()


def _cells(levels: Sequence[Blocks], whole: Box) -> Grid:
    """The cells into which the blocks of some levels cut a level-0 box."""
    grids = [blocks.edges(blocks.level_box(whole)) for blocks in levels]
    rows, columns = (np.unique(np.concatenate(edges)) for edges in zip(*grids, strict=True))
    return _cut(rows, whole.y0, whole.y1), _cut(columns, whole.x0, whole.x1)


def _cut(edges: Edges, first: int, stop: int) -> Edges:
    return np.concatenate([[first], edges[(edges > first) & (edges < stop)], [stop]])


def _cells_of(fine: Edges, coarse: Edges) -> npt.NDArray[np.int64]:
    """Index of the coarse cell in which each fine cell lies, -1 outside all."""
    cells = np.searchsorted(coarse, fine[:-1], side="right") - 1
    return np.where(cells < coarse.size - 1, cells, -1)


def _count(source: Labels, grid: Grid) -> Counts:
    """Count the ids [y, x] of level 0 in the cells of a grid. Only cells that hold several are sorted."""
    rows, columns = grid
    y, used_y = block_indices(rows - rows[0])  # [cells y, side y]
    x, used_x = block_indices(columns - columns[0])  # [cells x, side x]
    pixels = source if used_y.all() and used_x.all() else source[np.ix_(y.ravel(), x.ravel())]
    blocks = pixels.reshape(*y.shape, *x.shape)  # [cells y, side y, cells x, side x]
    lowest, highest = reduce_blocks(np.minimum, blocks), reduce_blocks(np.maximum, blocks)

    row, column = np.nonzero((lowest == highest) & (lowest != 0))
    pure = _key(row, column, x.shape[0], lowest[row, column])
    areas = np.diff(rows)[row] * np.diff(columns)[column]

    row, column = np.nonzero(lowest != highest)
    used = used_y[row][:, :, None] & used_x[column][:, None, :]
    counted = blocks.transpose(0, 2, 1, 3)[row, column] * used  # [mixed, side y, side x]
    of, labels, lengths = runs_of_rows(counted.reshape(row.size, y.shape[1] * x.shape[1]))
    mixed = _key(row[of], column[of], x.shape[0], labels)

    keys = np.concatenate([pure, mixed[labels != 0]])
    order = np.argsort(keys)
    return Counts(grid, keys[order], np.concatenate([areas, lengths[labels != 0]])[order])


def _key(row: npt.NDArray[np.intp], column: npt.NDArray[np.intp], width: int, labels: Labels) -> npt.NDArray[np.uint64]:
    return (row * width + column).astype(np.uint64) << _SHIFT | labels

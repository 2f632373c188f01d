"""Runs: the pixels of one object as horizontal stretches, int64 [n, 3] of (row, first column, column after the last).

Sorted by row and column, and as long as can be: no run of a row touches the next. So two objects have the same pixels
exactly when their runs are equal, and the memory follows the height of an object, not its area.
"""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt

from napari_relay.geometry import Box
from napari_relay.store.values import Mask

Runs = npt.NDArray[np.int64]

EMPTY: Runs = np.zeros((0, 3), np.int64)


def from_mask(mask: Mask, y0: int = 0, x0: int = 0) -> Runs:
    """Runs of a mask, bool [y, x], whose first pixel is (y0, x0)."""
    height, width = mask.shape
    flat = np.zeros(height * (width + 1) + 1, np.bool_)  # a background pixel before each row, and one at the end
    flat[:-1].reshape(height, width + 1)[:, 1:] = mask
    change = np.flatnonzero(flat[1:] != flat[:-1])
    rows, first = np.divmod(change[0::2] + 1, width + 1)
    return np.stack([rows + y0, first - 1 + x0, change[1::2] % (width + 1) + x0], axis=1)


def to_mask(runs: Runs, box: Box) -> Mask:
    """The runs inside a box as a mask, bool [y, x] over it."""
    inside = clip(runs, box)
    steps = np.zeros((box.height, box.width + 1), np.int8)
    rows = inside[:, 0] - box.y0
    steps[rows, inside[:, 1] - box.x0] = 1
    steps[rows, inside[:, 2] - box.x0] = -1
    return np.cumsum(steps, axis=1, dtype=np.int8, out=steps)[:, :-1].astype(bool)


def clip(runs: Runs, box: Box) -> Runs:
    """The part of the runs that lies in a box."""
    rows = runs[(runs[:, 0] >= box.y0) & (runs[:, 0] < box.y1)]
    cut = np.column_stack([rows[:, 0], rows[:, 1].clip(box.x0, box.x1), rows[:, 2].clip(box.x0, box.x1)])
    return cut[cut[:, 1] < cut[:, 2]]


def box_of(runs: Runs) -> Box:
    """The smallest box round the runs; empty for none."""
    if not len(runs):
        return Box(0, 0, 0, 0)
    return Box(int(runs[0, 0]), int(runs[:, 1].min()), int(runs[-1, 0]) + 1, int(runs[:, 2].max()))


def area_of(runs: Runs) -> int:
    """Number of pixels."""
    return int((runs[:, 2] - runs[:, 1]).sum())


def shift(runs: Runs, dy: int, dx: int) -> Runs:
    """The runs moved by whole pixels."""
    moved: Runs = runs + np.array([dy, dx, dx])
    return moved


def checksum(runs: Runs) -> int:
    """CRC-32 of the runs."""
    return zlib.crc32(np.ascontiguousarray(runs, "<i8").data)


def merge(runs: Runs) -> Runs:
    """The union of runs in any order, which may overlap and touch."""
    return merge_groups(runs, np.zeros(len(runs), np.int64), 1)[0]


def merge_groups(runs: Runs, group: npt.NDArray[np.int64], n_groups: int) -> list[Runs]:
    """The union of the runs of each group, 0 to `n_groups` - 1."""
    if not len(runs):
        return [EMPTY] * n_groups
    low, high = runs.min(axis=0), runs.max(axis=0)
    width, height = int(high[2] - low[1]) + 2, int(high[0] - low[0]) + 1
    line = (group * height + runs[:, 0] - low[0]) * width
    order = np.argsort(line + runs[:, 1] - low[1], kind="stable")
    runs, group, line = runs[order], group[order], line[order]
    start = line + runs[:, 1] - low[1]
    reach = np.maximum.accumulate(line + runs[:, 2] - low[1])
    new = np.concatenate([[True], start[1:] > reach[:-1]])
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(runs)) - 1
    merged = np.column_stack([runs[first, 0], runs[first, 1], reach[last] - line[first] + low[1]])
    return np.split(merged, np.searchsorted(group[first], np.arange(1, n_groups)))


def iou(first: Runs, second: Runs) -> float:
    """Pixels in both over pixels in either; 1 for two empty ones."""
    union = area_of(merge(np.concatenate([first, second])))
    both = area_of(first) + area_of(second) - union
    return both / union if union else 1.0

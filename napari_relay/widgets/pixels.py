"""The overlay's pixels: one fixed array that is written in place, whatever is shown in it.

Making or replacing a napari layer costs a tenth of a second of GUI time, writing into the array of one that is
there costs two milliseconds. So there is one array of at most 1024 x 1024 bytes; it is laid over the part of the
image that matters now, its pixels as coarse as they must be to cover it. It is no larger than the image and stays
inside it, so that napari's "reset view" still shows the image alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_relay.geometry import Box

SIDE = 1024
"""Longest side of the array."""
MARGIN = 64
"""Pixels kept free around what is shown when the window is placed, so that it need not move for every click."""

Mask = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]
NOTHING = Box(0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Window:
    """Where the array lies: `rows` x `columns` pixels of `step` level-0 pixels; the first one starts at `origin`."""

    rows: int
    columns: int
    origin: tuple[int, int] = (0, 0)
    step: int = 1

    @property
    def box(self) -> Box:
        y0, x0 = self.origin
        return Box(y0, x0, y0 + self.rows * self.step, x0 + self.columns * self.step)


@dataclass(frozen=True, eq=False, slots=True)
class Stamp:
    """A mask to be shown: bool over `box` in level-0 pixels; `fill` and `rim` are the values it is drawn with."""

    box: Box
    mask: Mask
    fill: int
    rim: int


def step_for(box: Box, window: Window) -> int:
    """Smallest power of two at which `box` fits into the array, with a margin where the array is a full one."""
    margin = 2 * MARGIN if min(window.rows, window.columns) == SIDE else 0
    step = 1
    while box.height > (window.rows - margin) * step or box.width > (window.columns - margin) * step:
        step *= 2
    return step


def window_for(box: Box, current: Window, shape: tuple[int, int]) -> Window:
    """The present window if it will do for `box`, else one around it, inside the image where it can be."""
    if box.empty:
        return current
    step = step_for(box, current)
    if current.step == step and current.box.covers(box):
        return current
    cy, cx = box.centre
    origin = (
        _placed(cy, current.rows * step, shape[0]),
        _placed(cx, current.columns * step, shape[1]),
    )
    return Window(current.rows, current.columns, origin, step)


def _placed(centre: float, extent: int, size: int) -> int:
    """First pixel of an interval of `extent` pixels around `centre`, kept in [0, size) if it fits there."""
    return max(0, min(round(centre - extent / 2), size - extent))


class Canvas:
    """The array and where it lies. `show` draws; only what was drawn last is wiped."""

    def __init__(self) -> None:
        self._shape = (1, 1)
        self.array: Bytes = np.zeros((1, 1), np.uint8)  # [y, x]
        self.window = Window(1, 1)
        self._drawn = NOTHING

    def fit(self, shape: tuple[int, int]) -> bool:
        """Make the canvas for an image of `shape`; empty afterwards. True if the array is another one now."""
        self._shape = shape
        size = (min(SIDE, shape[0]), min(SIDE, shape[1]))
        self.window = Window(*size)
        self._drawn = NOTHING
        if self.array.shape == size:
            self.array[...] = 0
            return False
        self.array = np.zeros(size, np.uint8)
        return True

    def show(self, stamps: Sequence[Stamp]) -> bool:
        """Draw the stamps, later ones on top, and nothing else. True if the window had to move."""
        hull = NOTHING
        for stamp in stamps:
            hull = hull.hull(stamp.box)
        self.array[self._drawn.slices] = 0
        self._drawn = NOTHING
        window = window_for(hull, self.window, self._shape)
        moved = window != self.window
        self.window = window
        for stamp in stamps:
            self._draw(stamp)
        return moved

    def _draw(self, stamp: Stamp) -> None:
        part, mask = sampled(stamp, self.window)
        if part.empty:
            return
        target = self.array[part.slices]
        target[mask] = stamp.fill
        target[rim_of(mask)] = stamp.rim
        self._drawn = self._drawn.hull(part)


def sampled(stamp: Stamp, window: Window) -> tuple[Box, Mask]:
    """(box in window pixels, mask there): the level-0 pixel in the middle of each window pixel decides."""
    s, middle = window.step, window.step // 2
    starts, stops, firsts = [], [], []
    for low, high, origin, count in (
        (stamp.box.y0, stamp.box.y1, window.origin[0], window.rows),
        (stamp.box.x0, stamp.box.x1, window.origin[1], window.columns),
    ):
        start = max(0, -(-(low - origin - middle) // s))
        starts.append(start)
        stops.append(max(start, min(count, -(-(high - origin - middle) // s))))
        firsts.append(origin + start * s + middle - low)
    part = Box(starts[0], starts[1], stops[0], stops[1])
    if part.empty:
        return NOTHING, np.zeros((0, 0), np.bool_)
    return part, stamp.mask[firsts[0] :: s, firsts[1] :: s][: part.height, : part.width]


def rim_of(mask: Mask) -> Mask:
    """Pixels of the mask with a neighbour (4 sides) outside it or outside the array."""
    inner = np.zeros_like(mask)
    inner[1:-1, 1:-1] = mask[1:-1, 1:-1] & mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    rim: Mask = mask & ~inner
    return rim

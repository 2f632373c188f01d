"""The tile plan: which local views cover an image or a region, where they overlap, and who answers for which pixels.

The grid stands still: views of side a start at multiples of 3/4 a, whatever the region, so the same place is seen the
same way in every run. Neighbouring views share a quarter of their side. Pure functions of shapes and boxes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_relay.errors import UsageError
from napari_relay.geometry import Box
from napari_relay.views.policy import MIN_STEP, step_side
from napari_relay.views.values import VIEW_SIDE, Float32, View

OVERLAP = 0.25
"""Share of its side that a view has in common with the next one."""
OBJECT_SIDE = 56.0
"""View pixels that an object of the usual size should measure: 1/8 of the view, 3.5 tokens of the encoder."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A view of the grid at half-octave `step`, by row and column."""

    step: int
    row: int
    column: int


@dataclass(frozen=True, slots=True)
class Grid:
    """All views of one scale over an image of `shape`; those whose own pixels meet `region` are looked at."""

    shape: tuple[int, int]
    step: int
    region: Box

    @property
    def side(self) -> int:
        """Side of a view in level-0 pixels; a multiple of 4."""
        return step_side(self.step)

    @property
    def stride(self) -> int:
        """Distance of neighbouring views; the side of a cell."""
        return self.side * 3 // 4

    @property
    def scale(self) -> float:
        """Level-0 pixels per view pixel."""
        return self.side / VIEW_SIDE

    @property
    def counts(self) -> tuple[int, int]:
        """Rows and columns of views over the whole image."""
        rows, columns = (
            1 if extent <= self.side else math.ceil((extent - self.side) / self.stride) + 1 for extent in self.shape
        )
        return rows, columns

    def places(self) -> Iterator[Place]:
        """The views to look at, row by row."""
        rows, columns = (self._range(axis) for axis in (0, 1))
        for row in rows:
            for column in columns:
                yield Place(self.step, row, column)

    def __len__(self) -> int:
        rows, columns = (self._range(axis) for axis in (0, 1))
        return len(rows) * len(columns)

    def view(self, place: Place) -> View:
        """What is seen there; the last ones may hang over the image."""
        y0, x0 = place.row * self.stride, place.column * self.stride
        return View(Box(y0, x0, y0 + self.side, x0 + self.side))

    def core(self, place: Place) -> Box:
        """The pixels that a view answers for: up to the middle of each overlap. Cores cover the image once."""
        (y0, y1), (x0, x1) = self._core(0, place.row), self._core(1, place.column)
        return Box(y0, x0, y1, x1)

    def cells(self) -> Iterator[tuple[int, int]]:
        """(row, column) of the squares of side `stride` that meet the region: the chunks of a blended result."""
        yield from self.region.tiles(self.stride)

    def contributors(self, row: int, column: int) -> list[Place]:
        """The views that a cell is blended from: its own and those before, as far as they exist."""
        rows, columns = (self._of_cell(axis, index) for axis, index in ((0, row), (1, column)))
        return [Place(self.step, r, c) for r in rows for c in columns]

    def _of_cell(self, axis: int, index: int) -> list[int]:
        last = self.counts[axis] - 1
        # View i - 1 reaches a third into cell i.
        return [i for i in (index - 1, index) if 0 <= i <= last]

    def _range(self, axis: int) -> range:
        start, stop = ((self.region.y0, self.region.y1), (self.region.x0, self.region.x1))[axis]
        cores = [self._core(axis, index) for index in range(self.counts[axis])]
        wanted = [index for index, (first, last) in enumerate(cores) if first < stop and last > start]
        return range(wanted[0], wanted[-1] + 1) if wanted else range(0)

    def _core(self, axis: int, index: int) -> tuple[int, int]:
        eighth = self.side // 8
        start = 0 if index == 0 else index * self.stride + eighth
        last = index == self.counts[axis] - 1
        return start, self.shape[axis] if last else (index + 1) * self.stride + eighth


def place_of(grid: Grid, box: Box) -> Place:
    """The view that answers for the middle of a box."""
    places = []
    for axis, middle in enumerate(box.centre):
        count = grid.counts[axis]
        index = int((middle - grid.side / 8) // grid.stride)
        places.append(min(max(index, 0), count - 1))
    return Place(grid.step, *places)


def checked_region(shape: tuple[int, int], region: Box | None) -> Box:
    """The part of the image that is asked for; None is all of it.

    Raises
    ------
    UsageError
        It lies outside the image.
    """
    if region is None:
        return Box(0, 0, *shape)
    inside = region.clip(shape)
    if inside.empty:
        raise UsageError(
            f"The region {region} has no pixel in the image of {shape[0]} x {shape[1]} pixels.",
            "Give y0,x0,y1,x1 in pixels of the full image.",
        )
    return inside


def step_for(diameters: Sequence[float], shape: tuple[int, int]) -> int:
    """Half-octave step at which objects of these diameters (level-0 px) have `OBJECT_SIDE` view pixels; 0 without any.

    No coarser than a view of the whole image.
    """
    if len(diameters) == 0:
        return 0
    wanted = round(2 * math.log2(float(np.median(diameters)) / OBJECT_SIDE))
    coarsest = math.ceil(2 * math.log2(max(*shape, 1) / VIEW_SIDE))
    return max(MIN_STEP, min(wanted, max(coarsest, 0)))


def ramp(count: int, *, rising: bool, falling: bool) -> Float32:
    """Raised-cosine weights of `count` samples over one view [count]: they rise over the first quarter and fall over
    the last, so that those of neighbouring views sum to 1 in their overlap; flat where there is no neighbour."""
    quarter = count * OVERLAP
    at = (np.arange(count, dtype=np.float64) + 0.5) / quarter
    weight: npt.NDArray[np.float64] = np.ones(count)
    if rising:
        weight *= np.sin(np.clip(at, 0, 1) * np.pi / 2) ** 2
    if falling:
        weight *= np.sin(np.clip(count / quarter - at, 0, 1) * np.pi / 2) ** 2
    return weight.astype(np.float32)

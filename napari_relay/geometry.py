"""The one coordinate system: level-0 pixels (y, x), floats, pixel centres at whole numbers.

Boxes are half-open whole-pixel rectangles. Pixel i covers [i - 0.5, i + 0.5), so the box [0, 4) covers the
real interval [-0.5, 3.5). Every change of scale goes through `to_scaled` / `from_scaled`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Click:
    """One click of the user in level-0 pixels; `positive` means inside the object."""

    y: float
    x: float
    positive: bool = True


def _to_int(value: object, *names: str) -> None:
    """Make Python's own whole numbers of numpy's: SQLite would keep those as bytes, and compare them as bytes."""
    for name in names:
        number = getattr(value, name)
        if type(number) is not int and hasattr(number, "__index__"):
            object.__setattr__(value, name, operator.index(number))


@dataclass(frozen=True, slots=True)
class Plane:
    """Index of the (t, z) plane that a session works on."""

    t: int = 0
    z: int = 0

    def __post_init__(self) -> None:
        _to_int(self, "t", "z")


@dataclass(frozen=True, slots=True)
class Box:
    """Half-open whole-pixel rectangle [y0, y1) x [x0, x1)."""

    y0: int
    x0: int
    y1: int
    x1: int

    def __post_init__(self) -> None:
        if not type(self.y0) is type(self.x0) is type(self.y1) is type(self.x1) is int:
            _to_int(self, "y0", "x0", "y1", "x1")

    @property
    def height(self) -> int:
        return max(0, self.y1 - self.y0)

    @property
    def width(self) -> int:
        return max(0, self.x1 - self.x0)

    @property
    def shape(self) -> tuple[int, int]:
        return (self.height, self.width)

    @property
    def area(self) -> int:
        return self.height * self.width

    @property
    def empty(self) -> bool:
        return self.area == 0

    @property
    def centre(self) -> tuple[float, float]:
        """Centre in pixel-centre coordinates."""
        return ((self.y0 + self.y1 - 1) / 2, (self.x0 + self.x1 - 1) / 2)

    @property
    def slices(self) -> tuple[slice, slice]:
        return (slice(self.y0, self.y1), slice(self.x0, self.x1))

    def contains(self, y: float, x: float) -> bool:
        """Whether the pixel under (y, x) lies in the box."""
        py, px = math.floor(y + 0.5), math.floor(x + 0.5)
        return self.y0 <= py < self.y1 and self.x0 <= px < self.x1

    def covers(self, other: Box) -> bool:
        """Whether `other` lies wholly inside this box (an empty box always does)."""
        return other.empty or (
            self.y0 <= other.y0 and self.x0 <= other.x0 and other.y1 <= self.y1 and other.x1 <= self.x1
        )

    def intersect(self, other: Box) -> Box:
        """Common part; `Box(0, 0, 0, 0)` when there is none."""
        box = Box(
            max(self.y0, other.y0), max(self.x0, other.x0), min(self.y1, other.y1), min(self.x1, other.x1)
        )
        return Box(0, 0, 0, 0) if box.empty else box

    def hull(self, other: Box) -> Box:
        """Smallest box that covers both; empty boxes do not count."""
        if self.empty:
            return other
        if other.empty:
            return self
        return Box(
            min(self.y0, other.y0), min(self.x0, other.x0), max(self.y1, other.y1), max(self.x1, other.x1)
        )

    def shift(self, dy: int, dx: int) -> Box:
        return Box(self.y0 + dy, self.x0 + dx, self.y1 + dy, self.x1 + dx)

    def grow(self, pixels: int) -> Box:
        return Box(self.y0 - pixels, self.x0 - pixels, self.y1 + pixels, self.x1 + pixels)

    def clip(self, shape: tuple[int, int]) -> Box:
        """Part inside an image of `shape` (height, width)."""
        return self.intersect(Box(0, 0, shape[0], shape[1]))

    def relative_to(self, outer: Box) -> Box:
        """The same rectangle in the pixel frame of `outer`."""
        return self.shift(-outer.y0, -outer.x0)

    def tiles(self, size: int) -> Iterator[tuple[int, int]]:
        """(row, column) of every tile of a `size` x `size` grid, anchored at 0, that meets the box."""
        if self.empty:
            return
        for row in range(self.y0 // size, (self.y1 - 1) // size + 1):
            for column in range(self.x0 // size, (self.x1 - 1) // size + 1):
                yield row, column


@dataclass(frozen=True, slots=True)
class Level:
    """One pyramid level: its index, shape (height, width) and size of its pixels in level-0 pixels."""

    index: int
    shape: tuple[int, int]
    scale: tuple[float, float]


def to_scaled(value: float, scale: float, origin: float = 0.0) -> float:
    """Pixel-centre coordinate in a frame whose pixels are `scale` level-0 pixels wide and whose first pixel
    starts at the level-0 pixel `origin`."""
    return (value - origin + 0.5) / scale - 0.5


def from_scaled(value: float, scale: float, origin: float = 0.0) -> float:
    """Inverse of `to_scaled`."""
    return (value + 0.5) * scale - 0.5 + origin


def level_box(box: Box, level: Level) -> Box:
    """Smallest box of whole pixels of `level` that covers the level-0 `box`, inside the level."""
    sy, sx = level.scale
    return Box(
        math.floor(box.y0 / sy), math.floor(box.x0 / sx), math.ceil(box.y1 / sy), math.ceil(box.x1 / sx)
    ).clip(level.shape)


def coarsest_level_for(levels: tuple[Level, ...], scale: float) -> Level:
    """Coarsest level whose pixels are not larger than `scale` level-0 pixels (level 0 if none)."""
    fitting = [level for level in levels if max(level.scale) <= scale * 1.001]
    return max(fitting, key=lambda level: max(level.scale)) if fitting else levels[0]

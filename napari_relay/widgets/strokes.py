"""What the mouse draws in one go: points come in, pixels, clicks or a box come out. No Qt here."""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from napari_relay.geometry import Box, Click
from napari_relay.widgets.drawing import Drawn, Mask, area_mask, stroke_mask

CLICKS_OF_A_SCRIBBLE = 6
"""Most clicks that a scribble becomes, spread evenly along it."""


class Tool(StrEnum):
    """What a drag of the left button does, beside clicking."""

    BRUSH = "brush"
    ERASER = "eraser"
    LASSO = "lasso"
    SCRIBBLE = "scribble"
    BOX = "box"
    DELETE = "delete"


PAINTS = (Tool.BRUSH, Tool.ERASER)


class Stroke:
    """One drag of a drawing tool over an image.

    Parameters
    ----------
    tool : what draws.
    width : of brush and eraser, level-0 pixels.
    shape : (height, width) of the image.
    inverted : Shift was held: brush and lasso take away, the eraser adds, a scribble says "not this".
    """

    def __init__(self, tool: Tool, width: float, shape: tuple[int, int], *, inverted: bool) -> None:
        self.tool, self.width, self.shape = tool, width, shape
        self.adds = (tool is not Tool.ERASER) != inverted and tool is not Tool.DELETE
        self.points: list[tuple[float, float]] = []
        self._box = Box(0, 0, 0, 0)
        self._held = Box(0, 0, 0, 0)
        self._mask: Mask = np.zeros((0, 0), bool)

    def add(self, y: float, x: float) -> None:
        """The mouse is at a level-0 place; also outside the image."""
        before = self.points[-1] if self.points else (y, x)
        self.points.append((y, x))
        if self.tool in PAINTS:
            self._put(*stroke_mask(np.array([before, (y, x)]), self.width))

    @property
    def box(self) -> Box:
        """The rectangle between where the drag began and where it is, in whole pixels."""
        (y0, x0), (y1, x1) = self.points[0], self.points[-1]
        low, high = np.floor([min(y0, y1) + 0.5, min(x0, x1) + 0.5]), np.floor([max(y0, y1) + 0.5, max(x0, x1) + 0.5])
        return Box(int(low[0]), int(low[1]), int(high[0]) + 1, int(high[1]) + 1)

    def drawn(self) -> Drawn | None:
        """The pixels of brush, eraser or lasso inside the image; None without any."""
        box, mask = (self._box, self._own()) if self.tool in PAINTS else area_mask(np.array(self.points))
        return _clipped(box, mask, self.shape)

    def preview(self) -> Drawn | None:
        """What to show while it is being drawn."""
        if self.tool in PAINTS:
            return _clipped(self._box, self._own(), self.shape)
        if self.tool in (Tool.BOX, Tool.DELETE):
            return _clipped(self.box, np.ones(self.box.shape, bool), self.shape)
        if self.tool is Tool.LASSO and len(self.points) > 2:
            return _clipped(*area_mask(np.array(self.points)), self.shape)
        return _clipped(*stroke_mask(np.array(self.points), self.width), self.shape)

    def clicks(self) -> list[Click]:
        """The clicks of a scribble: places spread evenly along it, those outside the image left out."""
        points = np.array(self.points)
        steps = np.hypot(*np.diff(points, axis=0).T) if len(points) > 1 else np.zeros(0)
        length = np.concatenate([[0.0], np.cumsum(steps)])
        count = max(1, min(CLICKS_OF_A_SCRIBBLE, len(points)))
        # The middle of equal parts: ends of a scribble often lie on a border.
        wanted = (np.arange(count) + 0.5) / count * length[-1]
        places = zip(np.interp(wanted, length, points[:, 0]), np.interp(wanted, length, points[:, 1]), strict=True)
        inside = Box(0, 0, *self.shape)
        return [Click(float(y), float(x), self.adds) for y, x in places if inside.contains(y, x)]

    def _put(self, box: Box, mask: Mask) -> None:
        """Add pixels; the array that holds them grows by more than is needed, so that a long stroke is cheap."""
        self._box = self._box.hull(box)
        if not self._held.covers(self._box):
            grown = self._held.hull(self._box.grow(max(64, max(self._box.shape) // 2)))
            larger = np.zeros(grown.shape, bool)
            if not self._held.empty:
                larger[self._held.relative_to(grown).slices] = self._mask
            self._held, self._mask = grown, larger
        self._mask[box.relative_to(self._held).slices] |= mask

    def _own(self) -> Mask:
        return self._mask[self._box.relative_to(self._held).slices]


def _clipped(box: Box, mask: Mask, shape: tuple[int, int]) -> Drawn | None:
    inside = box.clip(shape)
    if inside.empty:
        return None
    # A view of its own each time: what is shown is told from what was by the array.
    part = mask[inside.relative_to(box).slices]
    return (inside, part) if part.any() else None

"""Logits of a view as a field over level-0 pixels: sampled bilinearly wherever they are needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_relay.geometry import Box, from_scaled
from napari_relay.views.values import Float32, View

Mask = npt.NDArray[np.bool_]
AnyArray = npt.NDArray[Any]

STRIP_PIXELS = 1 << 17
"""Pixels of a large box that are computed in float at a time; as many as stay in the processor's cache."""


@dataclass(frozen=True, eq=False, slots=True)
class Field:
    """A square grid of logits over a view: float32 [n, n]; n = 112 for the decoder's, 448 for view pixels."""

    view: View
    logits: Float32

    @property
    def cell(self) -> float:
        """Side of a cell in level-0 pixels."""
        return self.view.box.height / len(self.logits)

    def sample(self, rows: AnyArray, columns: AnyArray) -> Float32:
        """Bilinear samples at the level-0 positions `rows` x `columns`; beyond the outermost cells the border's."""
        top, bottom, down = self._neighbours(rows, self.view.box.y0)
        left, right, across = self._neighbours(columns, self.view.box.x0)
        if len(rows) == 0 or len(columns) == 0:
            return np.zeros((len(rows), len(columns)), np.float32)
        # Columns first: few rows are interpolated along the long axis, then whole rows are added.
        first = int(top.min())
        used = self.logits[first : int(bottom.max()) + 1]
        wide = used.take(left, axis=1)
        step = used.take(right, axis=1)
        step -= wide
        step *= across
        wide += step  # [used rows, columns]
        out: Float32 = wide.take(top - first, axis=0)
        rise = wide.take(bottom - first, axis=0)
        rise -= out
        rise *= down[:, None]
        out += rise
        return out

    def at(self, box: Box) -> Float32:
        """Samples at the pixels of a level-0 box: float32 of its shape."""
        return self.sample(np.arange(box.y0, box.y1), np.arange(box.x0, box.x1))

    def strips(self, box: Box) -> Iterator[tuple[Box, Float32]]:
        """`at` for a box of any size, in strips of bounded size."""
        rows = max(1, STRIP_PIXELS // max(1, box.width))
        for y0 in range(box.y0, box.y1, rows):
            strip = Box(y0, box.x0, min(y0 + rows, box.y1), box.x1)
            yield strip, self.at(strip)

    def centres(self) -> tuple[AnyArray, AnyArray]:
        """Level-0 positions of the rows and of the columns of cells."""
        index = np.arange(self.logits.shape[0])
        box = self.view.box
        return from_scaled_array(index, self.cell, box.y0), from_scaled_array(index, self.cell, box.x0)

    def positive_box(self) -> Box:
        """Box that holds every level-0 pixel with a positive sample, inside the view."""
        rows = np.flatnonzero((self.logits > 0).any(axis=1))
        if rows.size == 0:
            return Box(0, 0, 0, 0)
        columns = np.flatnonzero((self.logits > 0).any(axis=0))
        # A positive cell reaches at most to the centres of its neighbours.
        y0, y1 = rows[0] - 1, rows[-1] + 1
        x0, x1 = columns[0] - 1, columns[-1] + 1
        box = self.view.box
        return Box(
            int(np.floor(from_scaled(float(y0), self.cell, box.y0))),
            int(np.floor(from_scaled(float(x0), self.cell, box.x0))),
            int(np.ceil(from_scaled(float(y1), self.cell, box.y0))) + 1,
            int(np.ceil(from_scaled(float(x1), self.cell, box.x0))) + 1,
        ).intersect(box)

    def _neighbours(self, positions: AnyArray, origin: int) -> tuple[AnyArray, AnyArray, Float32]:
        """Cells before and after each position, and the share of the second."""
        last = self.logits.shape[0] - 1
        place = np.clip((positions - origin + 0.5) / self.cell - 0.5, 0, last)
        before = np.minimum(place.astype(np.intp), max(0, last - 1))
        return before, np.minimum(before + 1, last), (place - before).astype(np.float32)


def from_scaled_array(values: AnyArray, scale: float, origin: float) -> AnyArray:
    """`geometry.from_scaled` for arrays."""
    result: AnyArray = (values + 0.5) * scale - 0.5 + origin
    return result


def span_inside(positions: AnyArray, start: int, stop: int) -> slice:
    """Slice of the (rising) pixel-centre positions whose pixels lie in [start, stop)."""
    return slice(*np.searchsorted(positions, (start - 0.5, stop - 0.5)).tolist())

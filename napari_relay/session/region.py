"""Masks in their own boxes, so that a large image never costs an image-sized array."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from napari_relay.geometry import Box
from napari_relay.session.fields import AnyArray, Mask

NOWHERE = Box(0, 0, 0, 0)


@dataclass(frozen=True, eq=False, slots=True)
class Region:
    """Pixels of an object: a level-0 box and a bool mask of its shape."""

    box: Box
    mask: Mask

    @classmethod
    def nothing(cls) -> Region:
        return cls(NOWHERE, np.zeros((0, 0), bool))

    def cropped(self) -> Region:
        """The same pixels in the smallest box."""
        rows = np.flatnonzero(self.mask.any(axis=1))
        if rows.size == 0:
            return Region.nothing()
        columns = np.flatnonzero(self.mask.any(axis=0))
        own = Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
        if own.shape == self.mask.shape:
            return self
        return Region(own.shift(self.box.y0, self.box.x0), self.mask[own.slices].copy())

    def within(self, box: Box) -> Mask:
        """The mask in any box, False where the region does not reach: bool of the box's shape."""
        out = np.zeros(box.shape, bool)
        common = self.box.intersect(box)
        if not common.empty:
            out[common.relative_to(box).slices] = self.mask[common.relative_to(self.box).slices]
        return out

    def at(self, rows: AnyArray, columns: AnyArray) -> Mask:
        """The mask at the pixels nearest to the rising level-0 positions `rows` x `columns`."""
        out = np.zeros((len(rows), len(columns)), bool)
        y, x = np.floor(rows + 0.5).astype(int), np.floor(columns + 0.5).astype(int)
        in_y = (y >= self.box.y0) & (y < self.box.y1)
        in_x = (x >= self.box.x0) & (x < self.box.x1)
        if in_y.any() and in_x.any():
            # The positions rise, so what lies inside is one block.
            block = self.mask.take(y[in_y] - self.box.y0, axis=0).take(x[in_x] - self.box.x0, axis=1)
            y0, x0 = int(in_y.argmax()), int(in_x.argmax())
            out[y0 : y0 + block.shape[0], x0 : x0 + block.shape[1]] = block
        return out


@dataclass(frozen=True, eq=False, slots=True)
class PackedMask:
    """A mask as compressed bits, for undo steps of large objects."""

    shape: tuple[int, int]
    bits: bytes

    @classmethod
    def pack(cls, mask: Mask) -> PackedMask:
        height, width = mask.shape
        return cls((height, width), zlib.compress(np.packbits(mask).tobytes(), 1))

    def unpack(self) -> Mask:
        height, width = self.shape
        bits = np.frombuffer(zlib.decompress(self.bits), np.uint8)
        return np.unpackbits(bits, count=height * width).reshape(self.shape).astype(bool)

"""Chunks of a label image that are filled piece by piece: each is written when it is complete or room is needed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import zarr

from napari_relay.formats.job import TILE, ExportJob, IdTile
from napari_relay.geometry import Box, Plane
from napari_relay.store.chunks import plane_index

_KEPT = 96
"""Chunks in memory, 1 MiB each at most: the unfinished ones of pieces that follow each other in a row of the image."""

_Key = tuple[int, Plane, int, int]


class ChunkBuffer:
    """Writes pixels of several levels; a chunk that had to make room and gets more pixels is read again.

    Whoever fills it calls `flush` at the end.
    """

    def __init__(self, job: ExportJob, arrays: Sequence[zarr.Array]) -> None:
        self._job = job
        self._arrays = arrays
        self._kept: OrderedDict[_Key, IdTile] = OrderedDict()
        self._written: set[_Key] = set()

    def put(self, level: int, plane: Plane, box: Box, labels: IdTile) -> None:
        """Set the ids [y, x] of a box of a level's pixels, which were background before."""
        if not labels.any():
            return
        for row, column in box.tiles(TILE):
            chunk = self._chunk_box(level, row, column)
            part = box.intersect(chunk)
            pixels = labels[part.relative_to(box).slices]
            if pixels.any():
                self._take((level, plane, row, column))[part.relative_to(chunk).slices] = pixels

    def flush(self) -> None:
        """Write what is still in memory."""
        while self._kept:
            self._write_oldest()

    def _take(self, key: _Key) -> IdTile:
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if len(self._kept) >= _KEPT:
            self._write_oldest()
        level, _, row, column = key
        chunk = (
            np.array(self._arrays[level][self._at(key)])
            if key in self._written
            else np.zeros(self._chunk_box(level, row, column).shape, self._job.dtype)
        )
        self._kept[key] = chunk
        return chunk

    def _write_oldest(self) -> None:
        key, chunk = self._kept.popitem(last=False)
        self._arrays[key[0]][self._at(key)] = chunk
        self._written.add(key)

    def _at(self, key: _Key) -> tuple[int | slice, ...]:
        level, plane, row, column = key
        return (*plane_index(plane, self._job.sizes), *self._chunk_box(level, row, column).slices)

    def _chunk_box(self, level: int, row: int, column: int) -> Box:
        chunk = Box(row * TILE, column * TILE, (row + 1) * TILE, (column + 1) * TILE)
        return chunk.clip(self._job.shapes[level])

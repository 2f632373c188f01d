"""The witness of an export: notes what was handed to a format and compares it with what is read back."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

import numpy as np

from napari_relay.errors import ExportError
from napari_relay.formats.job import ExportJob, IdTile
from napari_relay.geometry import Box, Plane

Place = tuple[Plane, Box]

_FLAGS = 1 << 26
"""Ids up to this are ticked off in an array of flags, higher ones in a set."""


class Witness:
    """Keeps a checksum a tile and the ids that were seen; a few bytes a tile and one an id."""

    def __init__(self, job: ExportJob) -> None:
        self._job = job
        self._checksums: dict[Place, int] = {}
        self._flags = np.zeros(min(max(job.ids, default=0), _FLAGS) + 1, bool)
        self._high: set[int] = set()

    def watch(self) -> Iterator[IdTile]:
        """The job's tiles, in order, each noted as it passes."""
        for plane, box in self._job.places():
            tile = self._job.read(plane, box)
            self._checksums[plane, box] = _checksum(tile)
            self._note(tile)
            yield tile

    def compare(self, found: Iterable[tuple[Place, IdTile]], name: str) -> Iterator[int]:
        """Check what was read back, yielding the number of tiles that agree so far.

        Raises
        ------
        ExportError
            A tile differs from what was written, or is missing.
        """
        left = dict(self._checksums)
        for count, (place, tile) in enumerate(found, start=1):
            if left.pop(place, None) != _checksum(tile):
                raise _differs(name, place)
            yield count
        if left:
            raise _differs(name, next(iter(left)))

    def ids(self) -> set[int]:
        """Ids that have a pixel in the export."""
        seen = set(np.flatnonzero(self._flags).tolist()) | self._high
        seen.discard(0)
        return seen

    def _note(self, tile: IdTile) -> None:
        if tile.size and int(tile.max()) < self._flags.size:
            self._flags[tile] = True
        else:
            self._high.update(np.unique(tile).tolist())


def _checksum(tile: IdTile) -> int:
    return zlib.crc32(np.ascontiguousarray(tile).data, zlib.crc32(repr((tile.shape, tile.dtype.name)).encode()))


def _differs(name: str, place: Place) -> ExportError:
    plane, box = place
    return ExportError(
        f"{name} was not written correctly: read back, the tile at {box} of t={plane.t}, z={plane.z} differs.",
        "Check the disk, then export again.",
    )

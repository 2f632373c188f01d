"""What is exported: a part of a project, streamed as tiles of object ids."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_relay.formats.measuring import Measure
from napari_relay.geometry import Box, Plane
from napari_relay.store import ProjectReader

TILE = 512

Affine = tuple[float, float, float, float, float, float]
IdTile = npt.NDArray[np.unsignedinteger]


@dataclass(frozen=True, slots=True)
class Georeference:
    """Where an image lies: its coordinate reference system (EPSG code or WKT) and the affine of its level 0.

    The affine (a, b, c, d, e, f) maps corners of pixels: x = a * column + b * row + c, y = d * column + e * row + f.
    """

    crs: str
    affine: Affine

    def at(self, y0: int, x0: int) -> Georeference:
        """Of the part of the image whose first pixel is (y0, x0)."""
        a, b, c, d, e, f = self.affine
        return Georeference(self.crs, (a, b, c + a * x0 + b * y0, d, e, f + d * x0 + e * y0))


@dataclass(frozen=True, slots=True)
class ExportJob:
    """One export.

    Attributes
    ----------
    region : Box
        The part of the image, in level-0 pixels; pixel (0, 0) of the export is its first one.
    planes : (tuple of t, tuple of z)
        The planes that are exported.
    shapes : tuple of (int, int)
        Level shapes, finest first, for formats that have levels.
    pixel_size_um : (float, float) or None
        (y, x) size of a level-0 pixel.
    dtype : numpy dtype
        The smallest unsigned one that holds every id.
    ids : tuple of int
        Objects of the planes whose box meets the region.
    tile : int or None
        Side of the pieces that the region is cut into, for formats that cannot hold all of it in one.
    georeference : Georeference or None
        Where the image lies on the Earth.
    measure : Measure or None
        What measures the objects, for formats that hold measurements.
    """

    project: ProjectReader
    region: Box
    planes: tuple[tuple[int, ...], tuple[int, ...]]
    shapes: tuple[tuple[int, int], ...]
    pixel_size_um: tuple[float, float] | None
    dtype: np.dtype[np.unsignedinteger]
    ids: tuple[int, ...]
    tile: int | None = None
    georeference: Georeference | None = None
    measure: Measure | None = None

    @property
    def sizes(self) -> tuple[int, int]:
        """Number of exported t and z planes."""
        return (len(self.planes[0]), len(self.planes[1]))

    @property
    def n_tiles(self) -> int:
        rows, columns = (-(-side // TILE) for side in self.region.shape)
        return rows * columns * self.sizes[0] * self.sizes[1]

    def places(self) -> Iterator[tuple[Plane, Box]]:
        """Plane and box of every tile, by t, z, row and column, both counted from the export's own first pixel."""
        for t in range(self.sizes[0]):
            for z in range(self.sizes[1]):
                for row, column in Box(0, 0, *self.region.shape).tiles(TILE):
                    tile = Box(row * TILE, column * TILE, (row + 1) * TILE, (column + 1) * TILE)
                    yield Plane(t, z), tile.clip(self.region.shape)

    def read(self, plane: Plane, box: Box) -> IdTile:
        """Object ids [y, x] of a place of the export, in its dtype."""
        source = Plane(self.planes[0][plane.t], self.planes[1][plane.z])
        return self.project.labels(box.shift(self.region.y0, self.region.x0), source).astype(self.dtype)

    def occupied(self, plane: Plane, box: Box) -> list[tuple[int, int]]:
        """(row, column) of the export's tiles that meet `box` and may hold an id."""
        source = Plane(self.planes[0][plane.t], self.planes[1][plane.z])
        dy, dx = self.region.y0, self.region.x0
        found: set[tuple[int, int]] = set()
        for row, column in self.project.occupied_tiles(box.shift(dy, dx), source):
            tile = Box(row * TILE, column * TILE, (row + 1) * TILE, (column + 1) * TILE).shift(-dy, -dx)
            found.update(tile.intersect(box).tiles(TILE))
        return sorted(found)

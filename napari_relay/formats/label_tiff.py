"""Label TIFF: one tiled BigTIFF of object ids, a page a plane.

Deflate, which everything reads; tiles of 512; the smallest dtype that holds the highest id, so no id is ever cut off.
A name ending in `.ome.tif(f)` gets OME-XML, any other tifffile's own JSON with the region's place in the image; the
pixel size is in both. Not thread-safe.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from napari_relay.formats.feed import Feed
from napari_relay.formats.job import TILE, ExportJob, IdTile
from napari_relay.formats.witness import Place
from napari_relay.geometry import Box, Plane
from napari_relay.store.ome_metadata import axis_names

_LEVEL = 6


def write(job: ExportJob, path: Path, tiles: Iterator[IdTile]) -> Iterator[int]:
    """Write the file; yields the number of tiles written."""
    shape = (*(size for size in job.sizes if size > 1), *job.region.shape)

    def pull(segments: Iterator[bytes]) -> None:
        with tifffile.TiffWriter(path, bigtiff=True, ome=_is_ome(path)) as tiff:
            tiff.write(
                segments,
                shape=shape,
                dtype=job.dtype,
                tile=(TILE, TILE),
                compression="zlib",
                photometric="minisblack",
                metadata=_metadata(job, ome=_is_ome(path)),
                **_resolution(job),
            )

    with Feed(pull) as feed:
        for count, tile in enumerate(tiles, start=1):
            feed.put(_encode(tile))
            yield count


def read_back(job: ExportJob, path: Path) -> Iterator[tuple[Place, IdTile]]:
    """Every tile of the file with the place where it stands."""
    with tifffile.TiffFile(path) as tiff:
        for index, page in enumerate(tiff.pages):
            plane = Plane(*divmod(index, job.sizes[1]))
            for data, position, shape in page.segments():
                y, x = position[-3], position[-2]
                box = Box(y, x, y + shape[-3], x + shape[-2]).clip((page.imagelength, page.imagewidth))
                height, width = box.shape
                pixels = np.zeros(box.shape, page.dtype) if data is None else data[0, :height, :width, 0]
                yield (plane, box), pixels


def _encode(tile: IdTile) -> bytes:
    """A tile as it stands in the file: filled up with background, little-endian, deflated."""
    whole = np.zeros((TILE, TILE), tile.dtype.newbyteorder("<"))
    whole[: tile.shape[0], : tile.shape[1]] = tile
    return zlib.compress(whole.tobytes(), _LEVEL)


def _is_ome(path: Path) -> bool:
    return ".ome.tif" in path.name.lower()


def _metadata(job: ExportJob, *, ome: bool) -> dict[str, Any]:
    axes = "".join(axis_names(job.sizes)).upper()
    if not ome:
        box = job.region
        return {"axes": axes, "region": [box.y0, box.x0, box.y1, box.x1], "image": job.project.image_name}
    metadata: dict[str, Any] = {"axes": axes, "Name": f"labels of {job.project.image_name}"}
    if job.pixel_size_um is not None:
        y, x = job.pixel_size_um
        metadata |= {"PhysicalSizeY": y, "PhysicalSizeYUnit": "µm", "PhysicalSizeX": x, "PhysicalSizeXUnit": "µm"}
    return metadata


def _resolution(job: ExportJob) -> dict[str, Any]:
    if job.pixel_size_um is None:
        return {}
    y, x = job.pixel_size_um  # TIFF wants pixels per centimetre, x before y
    return {"resolution": (1e4 / x, 1e4 / y), "resolutionunit": "CENTIMETER"}

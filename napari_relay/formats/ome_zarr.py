"""OME-Zarr 0.5 label image with the levels, colours and class names of the project; the pyramid's own layout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import zarr

from napari_relay.formats.chunk_buffer import ChunkBuffer
from napari_relay.formats.facts import Facts
from napari_relay.formats.job import TILE, ExportJob, IdTile
from napari_relay.formats.witness import Place
from napari_relay.geometry import Box, Plane
from napari_relay.store import ome_metadata
from napari_relay.store.chunks import create_levels, plane_index
from napari_relay.store.level_counts import reduce_levels
from napari_relay.store.majority import LARGEST_BLOCK_PX, Blocks, reduce_box
from napari_relay.store.values import Labels

_PIECE = 4 * TILE
"""Side of the pieces of level 0 that are read at once."""


def write(job: ExportJob, path: Path, tiles: Iterator[IdTile]) -> Iterator[int]:
    """Write level 0 from the tiles, the coarser levels from level 0; yields the number of level-0 tiles done."""
    group = zarr.create_group(path, zarr_format=3)
    arrays = create_levels(group, job.shapes, job.sizes, job.dtype.name)
    count = 0
    for (plane, box), tile in zip(job.places(), tiles, strict=True):
        if tile.any():
            arrays[0][(*plane_index(plane, job.sizes), *box.slices)] = tile
        count += 1
        yield count
    for _ in _write_coarser(job, arrays):
        yield count
    group.attrs["ome"] = _metadata(job)


def read_back(job: ExportJob, path: Path) -> Iterator[tuple[Place, IdTile]]:
    """Every tile of level 0 with the place where it stands."""
    array = zarr.open_group(path, mode="r")["0"]
    for plane, box in job.places():
        yield (plane, box), np.asarray(array[(*plane_index(plane, job.sizes), *box.slices)])


def read_facts(path: Path) -> dict[int, Facts]:
    """Class and colour of each id as they stand in the file."""
    entry = dict(zarr.open_group(path, mode="r").attrs["ome"])["image-label"]
    colors = {row["label-value"]: "#" + "".join(f"{part:02x}" for part in row["rgba"][:3])
              for row in entry.get("colors", ())}  # fmt: skip
    return {
        row["label-value"]: Facts(row["label-value"], row["class"], colors.get(row["label-value"]))
        for row in entry.get("properties", ())
    }


def _write_coarser(job: ExportJob, arrays: list[zarr.Array]) -> Iterator[None]:
    """Write the levels above 0. One read of level 0 serves all whose blocks are not too large for that."""
    levels = [Blocks(job.region.shape, shape) for shape in job.shapes[1:]]
    together = [blocks for blocks in levels if blocks.largest_px <= LARGEST_BLOCK_PX]
    for t, z in np.ndindex(job.sizes):
        yield from _write_together(job, arrays, Plane(t, z), together)
    for index in range(1 + len(together), len(arrays)):
        yield from _write_level(job, arrays, index)


def _write_together(job: ExportJob, arrays: list[zarr.Array], plane: Plane, levels: list[Blocks]) -> Iterator[None]:
    """Write the first levels above 0 of a plane, piece by piece of level 0."""
    if not levels:
        return
    buffer = ChunkBuffer(job, arrays)
    for row, column in Box(0, 0, *job.region.shape).tiles(_PIECE):
        piece = Box(row * _PIECE, column * _PIECE, (row + 1) * _PIECE, (column + 1) * _PIECE).clip(job.region.shape)
        beyond = piece.grow(max(blocks.largest_px for blocks in levels)).clip(job.region.shape)
        if job.occupied(plane, beyond):
            for index, box, labels in reduce_levels(levels, piece, lambda source: _read(job, arrays[0], plane, source)):
                buffer.put(index + 1, plane, box, labels.astype(job.dtype))
        yield
    buffer.flush()


def _write_level(job: ExportJob, arrays: list[zarr.Array], index: int) -> Iterator[None]:
    """Write the chunks of one level that may hold an id."""
    blocks = Blocks(job.region.shape, job.shapes[index])
    for t, z in np.ndindex(job.sizes):
        plane = Plane(t, z)
        for row, column in Box(0, 0, *blocks.shape).tiles(TILE):
            box = Box(row * TILE, column * TILE, (row + 1) * TILE, (column + 1) * TILE).clip(blocks.shape)
            if job.occupied(plane, blocks.source_box(box)):
                arrays[index][(*plane_index(plane, job.sizes), *box.slices)] = _reduce(
                    job, arrays[0], plane, blocks, box
                )
            yield


def _reduce(job: ExportJob, full: zarr.Array, plane: Plane, blocks: Blocks, box: Box) -> IdTile:
    return reduce_box(
        blocks,
        box,
        lambda source: _read(job, full, plane, source),
        lambda source: job.occupied(plane, source),
    ).astype(job.dtype)


def _read(job: ExportJob, full: zarr.Array, plane: Plane, box: Box) -> Labels:
    return np.asarray(full[(*plane_index(plane, job.sizes), *box.slices)]).astype(np.uint32)


def _metadata(job: ExportJob) -> ome_metadata.Json:
    shown = set(job.ids)
    colors = (row for row in job.project.object_colors() if row[0] in shown)
    origin = (job.region.y0, job.region.x0)
    return {
        "version": "0.5",
        "multiscales": [ome_metadata.multiscales("labels", job.shapes, job.sizes, job.pixel_size_um, origin)],
        "image-label": ome_metadata.image_label(colors),
    }

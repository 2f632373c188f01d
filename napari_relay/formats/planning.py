"""What is to be exported, checked before anything is written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from napari_relay.errors import ExportError, UsageError
from napari_relay.formats.frames import boxes_of
from napari_relay.formats.job import ExportJob, Georeference
from napari_relay.formats.measuring import Measure
from napari_relay.formats.registry import Format
from napari_relay.geometry import Box, Plane
from napari_relay.sources.pyramid import pyramid_shapes
from napari_relay.store import ProjectReader

_MIN_TILE = 64


def make_job(
    project: ProjectReader,
    region: Box | None,
    plane: Plane | None,
    tile: int | None,
    level_shapes: Sequence[tuple[int, int]] | None,
    pixel_size_um: tuple[float, float] | None,
    georeference: Georeference | None,
    measure: Measure | None = None,
) -> ExportJob:
    """The job of an export; the arguments are those of `export`.

    Raises
    ------
    UsageError, ExportError
    """
    box = _checked_region(project, region)
    ids = tuple(project.shown_ids(box, plane))
    return ExportJob(
        project,
        box,
        _planes(project, plane),
        _shapes(project, box, level_shapes),
        pixel_size_um or stored_pixel_size(project),
        dtype_for(max(ids, default=0)),
        ids,
        _checked_tile(tile),
        georeference,
        measure,
    )


def dtype_for(highest_id: int) -> np.dtype[np.unsignedinteger]:
    """The smallest unsigned dtype that holds every id.

    Raises
    ------
    ExportError
        Not even 32 bits do.
    """
    for dtype in (np.uint8, np.uint16, np.uint32):
        if highest_id <= np.iinfo(dtype).max:
            return np.dtype(dtype)
    raise ExportError(
        f"Object {highest_id} has an id above {np.iinfo(np.uint32).max}, which no label image holds.",
        "Import the objects into a new project, which numbers them anew.",
    )


def check_holds(job: ExportJob, chosen: Format) -> None:
    """Refuse what the format cannot hold; a picture that is too large with the advice to cut it.

    Raises
    ------
    ExportError
    """
    largest = max(boxes_of(job), key=lambda box: box.area)
    size = f"{largest.height} x {largest.width} pixels"
    advice = "Cut it into tiles (--tile 4096), export a region, or choose a label image (ome-zarr, label-tiff)."
    if chosen.max_side is not None and max(largest.shape) > chosen.max_side:
        raise ExportError(f"A picture of {size} is too large for {chosen.name}: {chosen.max_side} a side.", advice)
    if chosen.max_pixels is not None and largest.area > chosen.max_pixels:
        raise ExportError(f"A picture of {size} is too large for {chosen.name}: {chosen.max_pixels} pixels.", advice)
    if chosen.check is not None:
        chosen.check(job)


def _checked_region(project: ProjectReader, region: Box | None) -> Box:
    image = Box(0, 0, *project.shape)
    if region is None:
        return image
    if region.empty or not image.covers(region):
        raise UsageError(f"The region {region} does not lie in the image of {project.shape} pixels.", "Choose another.")
    return region


def _checked_tile(tile: int | None) -> int | None:
    if tile is not None and tile < _MIN_TILE:
        raise UsageError(f"Tiles of {tile} pixels are too small.", f"Take at least {_MIN_TILE}.")
    return tile


def _planes(project: ProjectReader, plane: Plane | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if plane is None:
        return tuple(range(project.sizes[0])), tuple(range(project.sizes[1]))
    if not (0 <= plane.t < project.sizes[0] and 0 <= plane.z < project.sizes[1]):
        raise UsageError(f"{plane} is not one of the image's {project.sizes} planes (t, z).", "Choose another.")
    return (plane.t,), (plane.z,)


def _shapes(project: ProjectReader, box: Box, given: Sequence[tuple[int, int]] | None) -> tuple[tuple[int, int], ...]:
    whole = box == Box(0, 0, *project.shape)
    shapes = given or (_stored(project, "level_shapes") if whole else None) or pyramid_shapes(box.shape)
    shapes = tuple((int(height), int(width)) for height, width in shapes)
    if shapes[0] != box.shape:
        raise UsageError(f"The first level has {shapes[0]} pixels, the region {box.shape}.", "Pass fitting levels.")
    return shapes


def stored_pixel_size(project: ProjectReader) -> tuple[float, float] | None:
    """(y, x) size of a level-0 pixel in micrometres, as the project remembers it."""
    stored = _stored(project, "pixel_size_um")
    return (float(stored[0]), float(stored[1])) if stored else None


def _stored(project: ProjectReader, key: str) -> Any:
    text = project.value(key)
    return json.loads(text) if text else None

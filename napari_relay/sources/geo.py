"""Where a GeoTIFF lies: coordinate reference system and affine, from its own tags.

tifffile reads the tags, so the extra `geo` is not needed. rasterio, when it is installed, is only asked for the
full text of a system that has no EPSG code.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from napari_relay.sources.base import Affine

USER_DEFINED = 32767
MAX_GCP_ERROR_PX = 0.5
"""Ground control points that no affine meets this closely are not turned into one."""


def georeference(tags: Mapping[str, Any] | None, path: Path | None) -> tuple[str | None, Affine | None]:
    """CRS ("EPSG:32618", or its full text) and affine of a GeoTIFF's tags; None for what they do not say."""
    if not tags:
        return None, None
    return _crs(tags, path), affine_from_tags(tags)


def affine_from_tags(tags: Mapping[str, Any]) -> Affine | None:
    """(a, b, c, d, e, f), mapping the outer corners of pixels as GDAL does: see `Traits.affine`."""
    matrix = tags.get("ModelTransformation")
    if matrix is not None:
        m = np.asarray(matrix, float).reshape(4, 4)
        affine = (m[0, 0], m[0, 1], m[0, 3], m[1, 0], m[1, 1], m[1, 3])
    elif (fitted := _affine_from_tiepoints(tags)) is not None:
        affine = fitted
    else:
        return None
    if int(tags.get("GTRasterTypeGeoKey", 1)) == 2:  # PixelIsPoint: the tags speak of pixel centres
        a, b, c, d, e, f = affine
        affine = (a, b, c - (a + b) / 2, d, e, f - (d + e) / 2)
    a, b, c, d, e, f = (float(value) for value in affine)
    return (a, b, c, d, e, f)


def _affine_from_tiepoints(tags: Mapping[str, Any]) -> Affine | None:
    """From one tie point and the pixel scale, or fitted to three and more."""
    if tags.get("ModelTiepoint") is None:
        return None
    points = np.atleast_2d(np.asarray(tags["ModelTiepoint"], float))  # rows: column, row, -, x, y, -
    scale = tags.get("ModelPixelScale")
    if scale is not None and len(points) == 1:
        column, row, _, x, y, _ = points[0]
        return (scale[0], 0.0, x - column * scale[0], 0.0, -scale[1], y + row * scale[1])
    if len(points) < 3:
        return None
    pixels, world = points[:, :2], points[:, 3:5]
    design = np.column_stack([pixels - pixels.mean(0), np.ones(len(points))])  # centred: world numbers are huge
    solution, _, rank, _ = np.linalg.lstsq(design, world - world.mean(0), rcond=None)
    if rank < 3:
        return None
    slope = solution[:2].T  # [world axis, (column, row)]
    pixel = np.hypot(*slope).max()
    slope[np.abs(slope) < 1e-9 * pixel] = 0.0
    offset = world.mean(0) - slope @ pixels.mean(0)
    if np.abs(pixels @ slope.T + offset - world).max() > MAX_GCP_ERROR_PX * pixel:
        return None
    (a, b), (d, e) = slope
    c, f = offset
    return (a, b, c, d, e, f)


def _crs(tags: Mapping[str, Any], path: Path | None) -> str | None:
    projected = int(tags.get("ProjectedCSTypeGeoKey", 0))
    geographic = int(tags.get("GeographicTypeGeoKey", 0))
    for code in (projected, geographic if not projected else 0):
        if 0 < code < USER_DEFINED:
            return f"EPSG:{code}"
    if not (projected or geographic or "GTModelTypeGeoKey" in tags):
        return None
    citation = tags.get("PCSCitationGeoKey") or tags.get("GTCitationGeoKey") or tags.get("GeogCitationGeoKey")
    full = _full_crs(path) if path is not None else None
    return full or (str(citation) if citation else None)


def _full_crs(path: Path) -> str | None:
    """The CRS as rasterio writes it (EPSG code or WKT), where rasterio is installed."""
    try:
        import rasterio
        from rasterio.errors import RasterioError
    except ImportError:
        return None
    try:
        with rasterio.open(path) as dataset:
            return str(dataset.crs.to_string()) if dataset.crs else None
    except RasterioError:
        return None

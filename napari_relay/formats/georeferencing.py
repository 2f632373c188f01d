"""What the formats with a place on the Earth share: the extra `geo`, systems compared, pixels to world and back."""

from __future__ import annotations

import functools
import math
from types import ModuleType

import numpy as np
import numpy.typing as npt

from napari_relay.errors import ExportError, MissingExtraError
from napari_relay.formats.job import ExportJob, Georeference
from napari_relay.formats.outlines import Ring


def need_rasterio() -> ModuleType:
    """The module `rasterio`.

    Raises
    ------
    MissingExtraError
    """
    try:
        import rasterio
    except ImportError as error:
        raise MissingExtraError("GeoTIFF needs rasterio.", 'Install it: pip install "napari-relay[geo]".') from error
    module: ModuleType = rasterio
    return module


def check(job: ExportJob) -> None:
    """Refuse an image of which nobody knows where it lies, and a system that is none.

    Raises
    ------
    ExportError, MissingExtraError
    """
    rasterio = need_rasterio()
    if job.georeference is None:
        raise ExportError(
            f"Where {job.project.image_name} lies on the Earth is not known.",
            "Choose label-tiff or geojson, or name the georeferenced image (--image).",
        )
    try:
        system = rasterio.crs.CRS.from_user_input(job.georeference.crs)
    except rasterio.errors.CRSError as error:
        raise ExportError(
            f"The CRS {job.georeference.crs!r} of the image is not known here.", "Give the image an EPSG code."
        ) from error
    a, b, _, d, e, _ = job.georeference.affine
    if not system or a * e - b * d == 0:
        raise ExportError("The image's affine or CRS is empty.", "Choose label-tiff or geojson.")


def same_crs(one: str, other: str) -> bool:
    """Whether two texts (EPSG code, URN or WKT) name one system; CRS84 is EPSG:4326 with x first, as GDAL has it."""
    rasterio = need_rasterio()
    texts = ("EPSG:4326" if text.endswith("CRS84") else text for text in (one, other))
    try:
        first, second = (rasterio.crs.CRS.from_user_input(text) for text in texts)
    except rasterio.errors.CRSError:
        return False
    return bool(first == second)


def to_world(ring: Ring, georeference: Georeference) -> npt.NDArray[np.float64]:
    """Corners (y, x) of pixels as (world x, world y), to a ten thousandth of a pixel."""
    a, b, c, d, e, f = georeference.affine
    y, x = ring.T.astype(np.float64)
    world = np.column_stack([a * x + b * y + c, d * x + e * y + f])
    return np.round(world, _decimals(georeference))


def to_pixels(points: npt.NDArray[np.float64], georeference: Georeference) -> Ring:
    """(world x, world y) as corners (y, x) of pixels."""
    _, _, c, _, _, f = georeference.affine
    x, y = _inverse(georeference) @ (points - np.array([c, f])).T  # the offset first: world numbers are huge
    return np.column_stack([y, x])


@functools.lru_cache(maxsize=16)
def _inverse(georeference: Georeference) -> npt.NDArray[np.float64]:
    """World steps to (column, row)."""
    a, b, _, d, e, _ = georeference.affine
    inverse: npt.NDArray[np.float64] = np.linalg.inv(np.array([[a, b], [d, e]]))
    return inverse


@functools.lru_cache(maxsize=16)
def _decimals(georeference: Georeference) -> int:
    """Decimals that hold a ten thousandth of a pixel's shorter side."""
    a, b, _, d, e, _ = georeference.affine
    return max(0, math.ceil(-math.log10(min(math.hypot(a, d), math.hypot(b, e)) * 1e-4)))


def turns_over(georeference: Georeference) -> bool:
    """Whether what runs clockwise in pixels runs anticlockwise in the world, as where north is up."""
    a, b, _, d, e, _ = georeference.affine
    return a * e - b * d < 0

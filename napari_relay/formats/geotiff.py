"""GeoTIFF of object ids with CRS and affine, tiled BigTIFF, written and read back by GDAL (rasterio, extra `geo`).

0 is background and declared as no data, so that GIS programs show it transparent. One plane.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from napari_relay.formats import label_reading
from napari_relay.formats.checking import Place as FilePlace
from napari_relay.formats.georeferencing import need_rasterio, same_crs
from napari_relay.formats.job import TILE, ExportJob, Georeference, IdTile
from napari_relay.formats.records import Found
from napari_relay.formats.target import Target
from napari_relay.formats.witness import Place
from napari_relay.geometry import Box, Plane


def write(job: ExportJob, path: Path, tiles: Iterator[IdTile]) -> Iterator[int]:
    """Write the file; yields the number of tiles written."""
    rasterio = need_rasterio()
    assert job.georeference is not None
    height, width = job.region.shape
    placed = job.georeference.at(job.region.y0, job.region.x0)
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=1, dtype=job.dtype.name,
        crs=placed.crs, transform=rasterio.Affine(*placed.affine), nodata=0, tiled=True, blockxsize=TILE,
        blockysize=TILE, compress="deflate", bigtiff="YES",
    ) as dataset:  # fmt: skip
        dataset.update_tags(image=job.project.image_name)
        for count, ((_, box), tile) in enumerate(zip(job.places(), tiles, strict=True), start=1):
            dataset.write(tile, 1, window=_window(rasterio, box))
            yield count


def read_back(job: ExportJob, path: Path) -> Iterator[tuple[Place, IdTile]]:
    """Every tile of the file with the place where it stands."""
    rasterio = need_rasterio()
    with rasterio.open(path) as dataset:
        for _, box in job.places():
            yield (Plane(), box), dataset.read(1, window=_window(rasterio, box))


def read_georeference(path: Path) -> Georeference:
    """CRS and affine as GDAL finds them."""
    rasterio = need_rasterio()
    with rasterio.open(path) as dataset:
        a, b, c, d, e, f = (float(number) for number in tuple(dataset.transform)[:6])
        return Georeference(str(dataset.crs.to_string()) if dataset.crs else "", (a, b, c, d, e, f))


def read(path: Path, target: Target) -> Iterator[Found]:
    """The objects of a label GeoTIFF, where its affine says that they lie in the image.

    Raises
    ------
    ImportFileError, ImageError, MissingExtraError
    """
    return label_reading.read_placed(path, target, lambda file, place: _region(file, place, target))


def _region(path: Path, place: FilePlace, target: Target) -> tuple[int, int]:
    """The first pixel (y, x) in the image."""
    rasterio = need_rasterio()
    if target.georeference is None:
        raise place.bad("it lies on the Earth, but where the image lies is not known")
    try:
        found = read_georeference(path)
    except rasterio.errors.RasterioError as error:
        raise place.bad(f"GDAL cannot read it ({error})") from error
    if not same_crs(found.crs, target.georeference.crs):
        raise place.bad(f"its CRS is {found.crs or 'missing'}, the image's {target.georeference.crs}")
    here, there = (_matrix(georeference) for georeference in (target.georeference, found))
    between = np.linalg.inv(here) @ there  # pixels of the file to pixels of the image
    x0, y0 = between[:2, 2]
    pixels = np.abs(between - [[1, 0, round(x0)], [0, 1, round(y0)], [0, 0, 1]])
    if (pixels[:2, 2] > 0.01).any() or (pixels[:2, :2] * max(target.shape) > 0.01).any():
        raise place.bad("its pixels are not those of the image: they are shifted, turned or of another size")
    if min(round(x0), round(y0)) < 0:
        raise place.bad("it begins outside the image")
    return round(y0), round(x0)


def _matrix(georeference: Georeference) -> Any:
    a, b, c, d, e, f = georeference.affine
    return np.array([[a, b, c], [d, e, f], [0, 0, 1]], np.float64)


def _window(rasterio: Any, box: Box) -> Any:
    return rasterio.windows.Window(box.x0, box.y0, box.width, box.height)

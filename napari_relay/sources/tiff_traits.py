"""What the tags of a TIFF say beside the pixels: colour, names, pixel size, place on earth."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tifffile
from tifffile import PHOTOMETRIC

from napari_relay.sources.axes import AxisPlan
from napari_relay.sources.base import Traits
from napari_relay.sources.geo import georeference
from napari_relay.sources.remote import url_name
from napari_relay.sources.units import as_number, in_micrometres

ALPHA = (1, 2)
MAX_PLAIN_UM = 20.0
"""A resolution in dots per centimetre is a microscope's below this pixel size, a printer's above it."""


def tiff_traits(
    tif: tifffile.TiffFile,
    series: Any,
    index: int,
    location: Path | str,
    plan: AxisPlan,
    channel_names: Sequence[str] | None,
) -> Traits:
    """Traits of one series."""
    page = series.keyframe
    path = location if isinstance(location, Path) else None
    crs, affine = georeference(page.geotiff_tags if page.is_geotiff else None, path)
    image = _ome_image(tif, index)
    return Traits(
        name=location.name if isinstance(location, Path) else url_name(location),
        format=_format(tif, series),
        path=path,
        channel_names=tuple(channel_names or _channel_names(tif, page, image, plan)),
        is_rgb=_is_rgb(page, plan),
        pixel_size_um=_pixel_size(tif, page, image),
        crs=crs,
        affine=affine,
        file_bytes=tif.filehandle.size,
        details=_details(tif, series, index) | ({"url": location} if path is None else {}),
    )


def _format(tif: tifffile.TiffFile, series: Any) -> str:
    name = {"svs": "svs", "ome": "ome-tiff", "imagej": "imagej tiff", "lsm": "lsm", "stk": "stk"}.get(series.kind)
    if name is None:
        name = "geotiff" if series.keyframe.is_geotiff else "tiff"
    return f"{name} (BigTIFF)" if tif.is_bigtiff else name


def _is_rgb(page: Any, plan: AxisPlan) -> bool:
    """Whether the channels are red, green, blue (and alpha)."""
    if page.photometric == PHOTOMETRIC.PALETTE and page.colormap is not None and plan.channels == 1:
        return True
    if page.photometric not in (PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR) or plan.channels != page.samplesperpixel:
        return False
    if page.samplesperpixel == 3:
        return True
    return page.samplesperpixel == 4 and bool(page.extrasamples) and int(page.extrasamples[0]) in ALPHA


def _channel_names(tif: tifffile.TiffFile, page: Any, image: dict[str, Any], plan: AxisPlan) -> list[str]:
    """From OME-XML or GDAL's metadata, else by photometric interpretation; [] when unknown."""
    names = [str(channel.get("Name") or "") for channel in _listed(_pixels(image).get("Channel"))]
    if not any(names):
        names = _gdal_band_names(page)
    if len(names) == plan.channels and any(names):
        return [name or f"channel {at}" for at, name in enumerate(names)]
    base = {
        PHOTOMETRIC.RGB: ("red", "green", "blue"),
        PHOTOMETRIC.YCBCR: ("red", "green", "blue"),
        PHOTOMETRIC.SEPARATED: ("cyan", "magenta", "yellow", "black"),
    }.get(page.photometric, ())
    if not base or plan.channels != page.samplesperpixel or plan.channels < len(base):
        return []
    extra = [int(kind) for kind in page.extrasamples]
    rest = range(len(base), plan.channels)
    return [*base, *("alpha" if at - len(base) < len(extra) and extra[at - len(base)] in ALPHA else f"band {at + 1}"
                     for at in rest)]  # fmt: skip


def _gdal_band_names(page: Any) -> list[str]:
    text = page.tags.valueof("GDAL_METADATA")
    if not isinstance(text, str):
        return []
    try:
        items = ElementTree.fromstring(text.strip("\0 \n")).iter("Item")
        named = {int(i.get("sample", -1)): i.text or "" for i in items if i.get("name") == "DESCRIPTION"}
    except (ElementTree.ParseError, ValueError):
        return []
    return [named.get(at, "") for at in range(max(named, default=-1) + 1)]


def _pixel_size(tif: tifffile.TiffFile, page: Any, image: dict[str, Any]) -> tuple[float, float] | None:
    """(y, x) in micrometres, or None. Printing resolutions (dots per inch) are not believed."""
    pixels = _pixels(image)
    if "PhysicalSizeX" in pixels and "PhysicalSizeY" in pixels:
        units = {str(pixels.get(f"PhysicalSize{axis}Unit", "µm")) for axis in "YX"}
        size = [as_number(pixels[f"PhysicalSize{axis}"]) for axis in "YX"]
        return in_micrometres(size, units.pop()) if len(units) == 1 else None
    if page.is_svs:
        found = re.search(r"\bMPP\s*=\s*([0-9.eE+-]+)", page.description)
        return in_micrometres([as_number(found.group(1))] * 2, "um") if found else None
    per_unit = [page.tags.valueof(name) for name in ("YResolution", "XResolution")]
    if not all(isinstance(value, tuple) and all(value) for value in per_unit):
        return None
    size = [denominator / numerator for numerator, denominator in per_unit]
    if tif.is_imagej:
        return in_micrometres(size, str((tif.imagej_metadata or {}).get("unit", "")))
    if int(page.tags.valueof("ResolutionUnit", 2)) != 3 or page.is_geotiff:
        return None
    plain = in_micrometres(size, "cm")
    return plain if plain is not None and max(plain) <= MAX_PLAIN_UM else None


def _ome_image(tif: tifffile.TiffFile, index: int) -> dict[str, Any]:
    """The `Image` element of OME-XML that belongs to a series; {} without one."""
    if not tif.is_ome or not tif.ome_metadata:
        return {}
    try:
        ome = tifffile.xml2dict(tif.ome_metadata).get("OME", {})
    except (ElementTree.ParseError, ValueError):
        return {}
    images = _listed(ome.get("Image"))
    return images[index] if index < len(images) else {}


def _pixels(image: dict[str, Any]) -> dict[str, Any]:
    pixels = image.get("Pixels")
    return pixels if isinstance(pixels, dict) else {}


def _listed(value: Any) -> list[dict[str, Any]]:
    """xml2dict gives a lone element as itself."""
    found = value if isinstance(value, list) else [value]
    return [item for item in found if isinstance(item, dict)]


def _details(tif: tifffile.TiffFile, series: Any, index: int) -> dict[str, object]:
    page = series.keyframe
    tile = [page.tilelength, page.tilewidth] if page.is_tiled else None
    details: dict[str, object] = {
        "stored_axes": series.axes.lower(),
        "compression": page.compression.name.lower(),
        "tile": tile,
        "photometric": page.photometric.name.lower(),
    }
    if tile is None:
        details["rows_per_strip"] = min(page.rowsperstrip, page.imagelength)
    if len(tif.series) > 1:
        details["scene"] = index
        details["scenes"] = [other.name or str(at) for at, other in enumerate(tif.series)]
    if "GDAL_NODATA" in page.tags:
        details["nodata"] = str(page.tags.valueof("GDAL_NODATA"))
    orientation = int(page.tags.valueof("Orientation", 1))
    if orientation != 1:
        details["orientation_not_applied"] = orientation
    return details

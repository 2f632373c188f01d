"""TIFF in all its forms: plain, tiled, BigTIFF, pyramids (SubIFDs and reduced pages), OME-TIFF, ImageJ, Aperio
SVS (JPEG and JPEG 2000), GeoTIFF and COG.

tifffile sorts the pages into series and levels and decodes. Contiguous uncompressed data is memory-mapped;
everything else is read segment by segment (`segments.py`). What real files get wrong, and what is done about it:

- pyramids whose smaller pages are not marked as reduced come as one series a level: joined here;
- a copy that stopped early still opens in tifffile: refused, because the missing part would be noticed late;
- one compressed strip holds the whole image: decoded once and kept, refused beyond `MAX_SEGMENT_BYTES`;
- the orientation tag is not applied, as in napari, QuPath and GDAL, so that coordinates agree with theirs.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import tifffile

from napari_relay.errors import DamagedImageError, ImageError, UnsupportedImageError, UsageError
from napari_relay.sources.axes import CANONICAL, AxisPlan, PlannedArray, plan_axes
from napari_relay.sources.base import PixelArray, Source, Traits
from napari_relay.sources.checks import READ_ERRORS, reason
from napari_relay.sources.fingerprint import file_fingerprint, stream_fingerprint
from napari_relay.sources.remote import open_remote
from napari_relay.sources.segments import MAX_CACHE_BYTES, PaletteArray, SegmentArray, SegmentCache
from napari_relay.sources.tiff_complaints import Complaints
from napari_relay.sources.tiff_traits import tiff_traits

MAX_SEGMENT_BYTES = 4 << 30
CHECKED_PAGES = 64
"""Pages of a level whose offsets are compared with the file's size on opening."""
_OPEN_ERRORS: tuple[type[Exception], ...] = (*READ_ERRORS, AttributeError, AssertionError)
"""On a corrupt header tifffile also stumbles over its own expectations."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the levels of one open file share. `stream` is the open URL; tifffile does not close it."""

    location: Path | str
    scene: int
    stream: IO[bytes] | None
    cache: SegmentCache = field(default_factory=SegmentCache)
    lock: threading.Lock = field(default_factory=threading.Lock)


class TiffSource(Source):
    """One series of a TIFF file with its levels."""

    def __init__(self, tif: tifffile.TiffFile, traits: Traits, arrays: Sequence[PixelArray], reading: Reading) -> None:
        self._tif, self._reading = tif, reading
        super().__init__(traits, arrays, CANONICAL)

    @property
    def stored_rows(self) -> int:
        first = self._arrays[0]
        return first.stored_rows if isinstance(first, SegmentArray) else 1

    def _make_fingerprint(self) -> str:
        reading = self._reading
        parts = [f"scene {reading.scene}"] if reading.scene else []
        if self.path is not None:
            return file_fingerprint(self.path, *parts)
        with reading.lock:
            return stream_fingerprint(self._tif.filehandle, self._tif.filehandle.size, *parts)

    def _close(self) -> None:
        _close(self._tif, self._reading.stream)
        self._reading.cache.clear()


def open_tiff(
    location: Path | str, scene: int | str | None = None, channel_names: Sequence[str] | None = None
) -> TiffSource:
    """Open one series (`scene`: its index or name) of a TIFF file or URL."""
    stream = open_remote(location) if isinstance(location, str) else None
    tif: tifffile.TiffFile | None = None
    try:
        with Complaints() as complaints:
            tif = tifffile.TiffFile(location if stream is None else stream)
            found = len(tif.series)  # sorts the pages, and so finds what is wrong with them
        if not found or complaints.of_missing_pages:
            raise DamagedImageError(
                f"{location} is cut off or damaged: {complaints.of_missing_pages or 'it holds no image'}.",
                "Copy the file again.",
            )
        reading = Reading(location, _pick_scene(tif, location, scene), stream)
        return _open_series(tif, reading, channel_names)
    except (ImageError, UsageError):
        _close(tif, stream)
        raise
    except _OPEN_ERRORS as error:
        _close(tif, stream)
        raise DamagedImageError(
            f"{location} cannot be read as a TIFF file: {reason(error)}.",
            "Copy it again, or convert it to a tiled TIFF or OME-Zarr.",
        ) from error


def _close(*opened: tifffile.TiffFile | IO[bytes] | None) -> None:
    for thing in opened:
        if thing is not None:
            thing.close()


def _open_series(tif: tifffile.TiffFile, reading: Reading, channel_names: Sequence[str] | None) -> TiffSource:
    series = tif.series[reading.scene]
    levels = list(series.levels) if len(series.levels) > 1 else _join_plain_pyramid(tif, reading.scene)
    try:
        plan = plan_axes(series.axes, series.shape)
    except ValueError as error:
        raise UnsupportedImageError(
            f"{reading.location} cannot be shown as an image: {error}.", "Write each image to a file of its own."
        ) from error
    _refuse_truncated(reading.location, levels)
    arrays = [_level_array(level, at, plan, reading) for at, level in enumerate(levels)]
    traits = tiff_traits(tif, series, reading.scene, reading.location, plan, channel_names)
    return TiffSource(tif, traits, arrays, reading)


def _pick_scene(tif: tifffile.TiffFile, location: Path | str, scene: int | str | None) -> int:
    names = [series.name for series in tif.series]
    if scene is None:
        return 0
    if isinstance(scene, str) and scene in names:
        return names.index(scene)
    if isinstance(scene, str) and scene.isdecimal():
        scene = int(scene)
    if isinstance(scene, int) and 0 <= scene < len(names):
        return scene
    listed = ", ".join(f"{i} ({name})" if name else str(i) for i, name in enumerate(names[:20]))
    raise UsageError(f"{location} has no image {scene!r}.", f"It has: {listed}.")


def _join_plain_pyramid(tif: tifffile.TiffFile, index: int) -> list[Any]:
    """Following single-level series that look like smaller copies of this one."""
    levels = [tif.series[index]]
    if levels[0].kind not in ("generic", "uniform"):
        return levels
    for series in tif.series[index + 1 :]:
        last = levels[-1]
        if series.axes != last.axes or series.dtype != last.dtype or len(series.levels) > 1:
            break
        at_y, at_x = series.axes.index("Y"), series.axes.index("X")
        ratios = [last.shape[at] / series.shape[at] for at in (at_y, at_x)]
        others = [size for at, size in enumerate(series.shape) if at not in (at_y, at_x)]
        slack = 1.5 / min(series.shape[at_y], series.shape[at_x])
        if (
            others != [size for at, size in enumerate(last.shape) if at not in (at_y, at_x)]
            or min(ratios) < 1.5
            or abs(ratios[0] / ratios[1] - 1) > slack
        ):
            break
        levels.append(series)
    return levels


def _level_array(series: Any, level: int, plan: AxisPlan, reading: Reading) -> PixelArray:
    """The level as t, z, y, x, c."""
    level_plan = plan if level == 0 else plan_axes(series.axes, series.shape)
    array: PixelArray | None = _memory_map(reading.location, series, level_plan)
    if array is None:
        segments = SegmentArray(series, level_plan, level, reading.cache, reading.lock)
        if segments.segment_bytes > MAX_SEGMENT_BYTES:
            raise UnsupportedImageError(
                f"{reading.location} stores its pixels as compressed pieces of "
                f"{segments.segment_bytes / 2**30:.0f} GB, and one piece must be read whole.",
                "Convert it, for example with `vips tiffsave IN OUT.tif --tile --pyramid --compression deflate "
                "--bigtiff`.",
            )
        band = min(segments.band_bytes, MAX_CACHE_BYTES)
        reading.cache.limit_bytes = max(reading.cache.limit_bytes, band)
        array = segments
    page = series.keyframe
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE and page.colormap is not None and plan.channels == 1:
        return PaletteArray(array, np.asarray(page.colormap))
    return array


def _memory_map(location: Path | str, series: Any, plan: AxisPlan) -> PixelArray | None:
    """Uncompressed pixels in one run of this very file, or None."""
    dtype, offset = series.dtype, series.dataoffset
    if offset is None or series.transform is not None or dtype.kind == "b" or series.keyframe.fillorder == 2:
        return None
    file = series.keyframe.parent
    if isinstance(location, str) or Path(file.filehandle.path).resolve() != location.resolve():
        return None
    mapped = np.memmap(location, dtype.newbyteorder(file.byteorder), "r", offset, tuple(series.shape))
    return PlannedArray(mapped, series.axes, plan)


def _refuse_truncated(location: Path | str, levels: Sequence[Any]) -> None:
    """Compare where the pixels should lie with the file's size."""
    for series in levels:
        for page in series.pages[:CHECKED_PAGES]:
            if page is None or not len(page.dataoffsets):
                continue
            end = int((np.asarray(page.dataoffsets, np.int64) + np.asarray(page.databytecounts, np.int64)).max())
            if end > page.parent.filehandle.size:
                raise DamagedImageError(
                    f"{location} is cut off: its pixels reach to byte {end}, but it has only "
                    f"{page.parent.filehandle.size}.",
                    "Copy the file again.",
                )

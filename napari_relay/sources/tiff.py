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
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from napari_relay.errors import DamagedImageError, ImageError, UnsupportedImageError, UsageError
from napari_relay.sources.axes import CANONICAL, AxisPlan, PlannedArray, plan_axes
from napari_relay.sources.base import READ_ERRORS, PixelArray, Source, Traits, reason
from napari_relay.sources.fingerprint import file_fingerprint
from napari_relay.sources.segments import PaletteArray, SegmentArray, SegmentCache
from napari_relay.sources.tiff_complaints import Complaints
from napari_relay.sources.tiff_traits import tiff_traits

MAX_SEGMENT_BYTES = 4 << 30
CHECKED_PAGES = 64
"""Pages of a level whose offsets are compared with the file's size on opening."""
_OPEN_ERRORS: tuple[type[Exception], ...] = (*READ_ERRORS, AttributeError, AssertionError)
"""On a corrupt header tifffile also stumbles over its own expectations."""


class TiffSource(Source):
    """One series of a TIFF file with its levels."""

    def __init__(
        self, tif: tifffile.TiffFile, traits: Traits, arrays: Sequence[PixelArray], cache: SegmentCache, scene: int
    ) -> None:
        self._tif, self._cache, self._scene = tif, cache, scene
        super().__init__(traits, arrays, CANONICAL)

    def _make_fingerprint(self) -> str:
        assert self.path is not None
        return file_fingerprint(self.path, *([f"scene {self._scene}"] if self._scene else []))

    def _close(self) -> None:
        self._tif.close()
        self._cache.clear()


def open_tiff(path: Path, scene: int | str | None = None, channel_names: Sequence[str] | None = None) -> TiffSource:
    """Open one series (`scene`: its index or name) of a TIFF file."""
    tif: tifffile.TiffFile | None = None
    try:
        with Complaints() as complaints:
            tif = tifffile.TiffFile(path)
            found = len(tif.series)  # sorts the pages, and so finds what is wrong with them
        if not found or complaints.of_missing_pages:
            raise DamagedImageError(
                f"{path} is cut off or damaged: {complaints.of_missing_pages or 'it holds no image'}.",
                "Copy the file again.",
            )
        return _open_series(tif, path, scene, channel_names)
    except (ImageError, UsageError):
        _close_quietly(tif)
        raise
    except _OPEN_ERRORS as error:
        _close_quietly(tif)
        raise DamagedImageError(
            f"{path} begins like a TIFF file, but cannot be read: {reason(error)}.",
            "Copy it again, or convert it to a tiled TIFF or OME-Zarr.",
        ) from error


def _close_quietly(tif: tifffile.TiffFile | None) -> None:
    if tif is not None:
        tif.close()


def _open_series(
    tif: tifffile.TiffFile, path: Path, scene: int | str | None, channel_names: Sequence[str] | None
) -> TiffSource:
    index = _pick_scene(tif, path, scene)
    series = tif.series[index]
    levels = list(series.levels) if len(series.levels) > 1 else _join_plain_pyramid(tif, index)
    try:
        plan = plan_axes(series.axes, series.shape)
    except ValueError as error:
        raise UnsupportedImageError(
            f"{path} cannot be shown as an image: {error}.", "Write each image to a file of its own."
        ) from error
    _refuse_truncated(path, levels)
    cache, lock = SegmentCache(), threading.Lock()
    arrays = [_level_array(path, level, at, plan, cache, lock) for at, level in enumerate(levels)]
    traits = tiff_traits(tif, series, index, path, plan, channel_names)
    return TiffSource(tif, traits, arrays, cache, index)


def _pick_scene(tif: tifffile.TiffFile, path: Path, scene: int | str | None) -> int:
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
    raise UsageError(f"{path} has no image {scene!r}.", f"It has: {listed}.")


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


def _level_array(
    path: Path, series: Any, level: int, plan: AxisPlan, cache: SegmentCache, lock: threading.Lock
) -> PixelArray:
    """The level as t, z, y, x, c."""
    level_plan = plan if level == 0 else plan_axes(series.axes, series.shape)
    mapped = _memory_map(path, series, level_plan)
    array: PixelArray
    if mapped is not None:
        array = mapped
    else:
        segments = SegmentArray(series, level_plan, level, cache, lock)
        if segments.segment_bytes > MAX_SEGMENT_BYTES:
            raise UnsupportedImageError(
                f"{path} stores its pixels as compressed pieces of {segments.segment_bytes / 2**30:.0f} GB, and one "
                "piece must be read whole.",
                "Convert it, for example with `vips tiffsave IN OUT.tif --tile --pyramid --compression deflate "
                "--bigtiff`.",
            )
        array = segments
    page = series.keyframe
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE and page.colormap is not None and plan.channels == 1:
        return PaletteArray(array, np.asarray(page.colormap))
    return array


def _memory_map(path: Path, series: Any, plan: AxisPlan) -> PixelArray | None:
    """Uncompressed pixels in one run, or None."""
    dtype, offset = series.dtype, series.dataoffset
    if offset is None or series.transform is not None or dtype.kind == "b" or series.keyframe.fillorder == 2:
        return None
    if series.keyframe.parent.filehandle.path != str(path.resolve()) and not _same_file(series, path):
        return None
    order = series.keyframe.parent.byteorder
    mapped = np.memmap(path, dtype.newbyteorder(order), "r", offset, tuple(series.shape))
    return PlannedArray(mapped, series.axes, plan)


def _same_file(series: Any, path: Path) -> bool:
    return Path(series.keyframe.parent.filehandle.path).resolve() == path.resolve()


def _refuse_truncated(path: Path, levels: Sequence[Any]) -> None:
    """Compare where the pixels should lie with the file's size."""
    for series in levels:
        for page in series.pages[:CHECKED_PAGES]:
            if page is None or not len(page.dataoffsets):
                continue
            end = int((np.asarray(page.dataoffsets, np.int64) + np.asarray(page.databytecounts, np.int64)).max())
            if end > page.parent.filehandle.size:
                raise DamagedImageError(
                    f"{path} is cut off: its pixels reach to byte {end}, but it has only "
                    f"{page.parent.filehandle.size}.",
                    "Copy the file again.",
                )

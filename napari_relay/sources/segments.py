"""Pages of a TIFF as a lazy array: only the tiles or strips that a box touches are read and decoded.

tifffile decodes each segment (`TiffPage.decode`); its own zarr store would do it inside zarr's single event loop,
one tile after the other for the whole process. Decoded segments are kept for a while (`SegmentCache`), because a
wide strip serves many boxes; segments that the file leaves out are its nodata value, as the format says.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

from napari_relay.sources.axes import AxisPlan

CACHE_BYTES = 64 << 20
MAX_CACHE_BYTES = 512 << 20
BAND_ROWS = 512
"""Strips are as wide as the image: the cache holds what a row of boxes of this height needs (up to the maximum)."""
APERIO_YCBCR = 33003
LOSSLESS = (1, 5, 8, 32773, 32946, 50000)
"""Compressions that know nothing of colour."""
Array = npt.NDArray[Any]
Key = tuple[int, int, int]


class SegmentCache:
    """Decoded segments, the least recently used dropped first; the newest is kept even when it alone is too big.

    Two threads that want the same segment decode it once.
    """

    def __init__(self, limit_bytes: int = CACHE_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self._held = 0
        self._lock = threading.Lock()
        self._segments: OrderedDict[Key, Array] = OrderedDict()
        self._being_made: dict[Key, threading.Lock] = {}

    def get(self, key: Key, make: Callable[[], Array]) -> Array:
        """The segment `key`, made by `make` if it is not held."""
        with self._lock:
            if key in self._segments:
                self._segments.move_to_end(key)
                return self._segments[key]
            making = self._being_made.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self._segments:
                    return self._segments[key]
            try:
                segment = make()
            finally:
                with self._lock:
                    self._being_made.pop(key, None)
            with self._lock:
                self._segments[key] = segment
                self._held += segment.nbytes
                while self._held > self.limit_bytes and len(self._segments) > 1:
                    self._held -= self._segments.popitem(last=False)[1].nbytes
            return segment

    def clear(self) -> None:
        """Give the memory back."""
        with self._lock:
            self._segments.clear()
            self._held = 0


class SegmentArray:
    """One level of a TIFF series, seen as t, z, y, x, c.

    Parameters
    ----------
    series : one level; its leading axes count its pages.
    plan : parts of the axes of the series.
    level : index of the level, for the cache.
    lock : guards seek and read of the file; shared by all levels.
    """

    def __init__(self, series: Any, plan: AxisPlan, level: int, cache: SegmentCache, lock: threading.Lock) -> None:
        frame = series.keyframe
        self._lead = series.axes[: len(series.shape) - len(frame.shape)]
        if tuple(series.shape[len(self._lead) :]) != tuple(frame.shape):
            raise ValueError(f"pages of {frame.shape} do not make up {series.shape}")
        self._series, self._plan, self._level, self._frame = series, plan, level, frame
        self._cache, self._lock = cache, lock
        self.shape, self.dtype = plan.shape, np.dtype(frame.dtype)
        self._planar = frame.planarconfig == 2 and frame.samplesperpixel > 1
        self._samples = frame.samplesperpixel if "S" in frame.axes else 1
        self._side = (frame.tilelength, frame.tilewidth) if frame.is_tiled else (frame.rowsperstrip, frame.imagewidth)
        self._thick = max(1, frame.tiledepth) if frame.is_tiled else 1
        self._grid = tuple(-(-size // side) for size, side in zip(self.shape[2:4], self._side, strict=True))
        frame.decode  # noqa: B018 - built once here, not by several threads at once

    @property
    def stored_rows(self) -> int:
        """Rows of one segment."""
        return int(min(self._side[0], self.shape[2]))

    @property
    def band_bytes(self) -> int:
        """Size of the decoded segments under `BAND_ROWS` rows as wide as the image, when they are strips; else 0."""
        if self._frame.is_tiled:
            return 0
        rows = max(BAND_ROWS, self.stored_rows) + self.stored_rows
        return int(rows * self.shape[3] * self._samples * self.dtype.itemsize)

    @property
    def segment_bytes(self) -> int:
        """Size of one decoded segment."""
        rows = min(self._side[0], self.shape[2])
        samples = 1 if self._planar else self._samples
        return int(self._thick * rows * min(self._side[1], self.shape[3]) * samples * self.dtype.itemsize)

    def __getitem__(self, index: Any) -> Array:
        """`index` as `Source.read` gives it: whole t and z, slices of y, x and c. Returns [y, x, c]."""
        t, z, ys, xs, cs = index
        channels = range(self.shape[4])[cs]
        out = np.empty((ys.stop - ys.start, xs.stop - xs.start, len(channels)), self.dtype)  # [y, x, c]
        done = 0
        while done < len(channels):
            page, first = divmod(channels[done], self._samples)
            count = 1 if self._planar else min(self._samples - first, len(channels) - done)
            page_index, depth = self._page_index(t, z, page)
            self._fill(out[..., done : done + count], page_index, depth, first, ys, xs)
            done += count
        return out

    def _page_index(self, t: int, z: int, channel: int) -> tuple[int, int]:
        """Index of the page, and depth in a volumetric page."""
        plan = self._plan
        value = {plan.t: t, plan.z: z}
        lead_channels = [letter for letter in plan.c if letter in self._lead]
        for letter in reversed(lead_channels):
            channel, value[letter] = divmod(channel, plan.sizes[letter])
        index = 0
        for letter in self._lead:
            index = index * plan.sizes[letter] + value.get(letter, 0)
        inside = plan.z is not None and plan.z not in self._lead
        return index, z if inside else 0

    def _fill(self, out: Array, page: int, depth: int, first: int, ys: slice, xs: slice) -> None:
        """Copy the samples `first` ... of one page into `out` [y, x, c]."""
        (height, width), (rows, columns) = self._side, self._grid
        at = (first if self._planar else 0) * -(-self._frame.imagedepth // self._thick) + depth // self._thick
        sample = 0 if self._planar else first
        for row in range(ys.start // height, -(-ys.stop // height)):
            for column in range(xs.start // width, -(-xs.stop // width)):
                segment = self._segment(page, (at * rows + row) * columns + column)[depth % self._thick]
                y, x = row * height, column * width
                y0, y1 = max(ys.start, y), min(ys.stop, y + height)
                x0, x1 = max(xs.start, x), min(xs.stop, x + width)
                part = segment[y0 - y : y1 - y, x0 - x : x1 - x, sample : sample + out.shape[2]]
                out[y0 - ys.start : y1 - ys.start, x0 - xs.start : x1 - xs.start] = part

    def _segment(self, page: int, index: int) -> Array:
        return self._cache.get((self._level, page, index), lambda: self._decode(page, index))

    def _decode(self, page_index: int, index: int) -> Array:
        """One decoded segment [depth, y, x, c]."""
        with self._lock:
            page = self._series[page_index]
            offset, count = (0, 0) if page is None else (page.dataoffsets[index], page.databytecounts[index])
            data = self._read_bytes(page.parent.filehandle, offset, count) if offset and count else None
        tables = {}
        if page is not None and page.jpegtables is not None:
            tables["jpegtables"] = page.jpegtables
        if self._frame.jpegheader is not None:
            tables["jpegheader"] = self._frame.jpegheader
        segment, _, shape = self._frame.decode(data, index, **tables)
        if segment is None:
            return np.full(shape, self._frame.nodata, self.dtype)
        if self._series.transform is not None:
            segment = self._series.transform(segment)
        if data is not None and self._holds_ycbcr(data):
            segment = _ycbcr_to_rgb(segment)
        return np.asarray(segment, self.dtype)

    def _holds_ycbcr(self, data: bytes) -> bool:
        """Whether a decoded segment still is YCbCr.

        JPEG comes out as RGB. Aperio's JPEG 2000 of kind 33003 is YCbCr without saying so: OpenJPEG guesses it,
        and converts, only where the chroma is subsampled (the second component's step in the SIZ marker).
        """
        if self._frame.compression == APERIO_YCBCR:
            return data[46:47] == b"\x01"
        return self._frame.photometric == tifffile.PHOTOMETRIC.YCBCR and self._frame.compression in LOSSLESS

    @staticmethod
    def _read_bytes(handle: Any, offset: int, count: int) -> bytes:
        if handle.closed:  # a further file of a multi-file OME-TIFF
            handle.open()
        handle.seek(offset)
        data: bytes = handle.read(count)
        if len(data) < count:
            raise tifffile.TiffFileError(f"the file ends {count - len(data)} bytes too early")
        return data


def _ycbcr_to_rgb(segment: Array) -> Array:
    """[depth, y, x, 3] of bytes."""
    planes = [Image.fromarray(plane, "YCbCr").convert("RGB") for plane in np.ascontiguousarray(segment)]
    return np.stack([np.asarray(plane) for plane in planes])


class PaletteArray:
    """Indices with a colour table, seen as t, z, y, x and three channels of uint8."""

    def __init__(self, indices: SegmentArray | Any, colormap: Array) -> None:
        self._indices = indices
        self._table = (colormap.T >> 8).astype(np.uint8)  # [index, rgb]; TIFF tables have 16 bits
        self.shape, self.dtype = (*indices.shape[:4], 3), np.dtype(np.uint8)

    def __getitem__(self, index: Any) -> Array:
        *planes, channels = index
        found: Array = np.asarray(self._indices[(*planes, slice(0, 1))])[..., 0]
        return self._table[np.minimum(found, len(self._table) - 1)][..., channels]

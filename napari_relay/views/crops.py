"""Pixels of a view pair, ready for the encoder, and the keys of their encodings."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from napari_relay.errors import UsageError
from napari_relay.geometry import Box, Level, Plane, coarsest_level_for
from napari_relay.views.mix import ChannelMix
from napari_relay.views.stretch import Stretch
from napari_relay.views.values import Crops, Float32, View, ViewPair

if TYPE_CHECKING:
    from napari_relay.sources import Source

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
"""ImageNet mean of RGB in 0..1; what lies outside the image looks like it after normalising."""
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
BAND_VALUES = 1 << 24
"""Most values (pixels x channels) that are held at a time; wider crops are read and reduced in bands."""
REDUCING_GAP = 2.0
"""Crops are first averaged in whole blocks down to this multiple of their size, then filtered exactly."""


def read_crops(source: Source, pair: ViewPair, plane: Plane, mix: ChannelMix, stretch: Stretch) -> Crops:
    """Read both views of a pair.

    Pixels come from the coarsest pyramid level that is still as fine as the view, are stretched, mixed to three
    channels, resized by area with sub-pixel positions and ImageNet-normalised; 0 outside the image.

    Raises
    ------
    ImageError
        The source cannot be read.
    UsageError
        The mix or the stretch is for another number of channels.
    """
    global_ = None if pair.global_ is None else read_view(source, pair.global_, plane, mix, stretch)
    return Crops(
        key=crop_key(source, pair, plane, mix, stretch),
        pair=pair,
        local=read_view(source, pair.local, plane, mix, stretch),
        global_=global_,
        global_key=global_key(source, pair, plane, mix, stretch),
    )


def read_view(source: Source, view: View, plane: Plane, mix: ChannelMix, stretch: Stretch) -> Float32:
    """Pixels of one view: float32 [3, side, side], ImageNet-normalised, 0 outside the image."""
    _check_channels(source, mix, stretch)
    out = np.zeros((3, view.side, view.side), np.float32)
    level = coarsest_level_for(source.levels, view.scale)
    rows, columns = (_span(view, source.shape, level, axis) for axis in (0, 1))
    if rows.empty or columns.empty:
        return out
    planes, factor = _read_planes(source, level, plane, mix, stretch, (rows, columns))
    resized = [_resized(array, rows.reduced(factor), columns.reduced(factor)) for array in planes]
    target = out[:, rows.first : rows.last, columns.first : columns.last]
    if resized[0].ndim == 3:
        target[:] = resized[0].transpose(2, 0, 1)
        target *= np.float32(1 / 255)
    else:
        target[:] = np.stack(resized)  # one plane is broadcast to three
    target -= MEAN[:, None, None]
    target /= DEVIATION[:, None, None]
    return out


def crop_key(source: Source, pair: ViewPair, plane: Plane, mix: ChannelMix, stretch: Stretch) -> str:
    """Names the encoding of a view pair: equal keys mean equal pixels (the weights are added by the predictor)."""
    views = (pair.local,) if pair.global_ is None else (pair.local, pair.global_)
    return _key(source, views, plane, mix, stretch)


def global_key(source: Source, pair: ViewPair, plane: Plane, mix: ChannelMix, stretch: Stretch) -> str | None:
    """Names the encoding of the global view alone, which many pairs share."""
    return None if pair.global_ is None else _key(source, (pair.global_,), plane, mix, stretch)


def _key(source: Source, views: tuple[View, ...], plane: Plane, mix: ChannelMix, stretch: Stretch) -> str:
    parts: list[object] = [source.fingerprint, plane.t, plane.z, mix.hash, stretch.hash]
    for view in views:
        box = view.box
        level = coarsest_level_for(source.levels, view.scale)
        parts.append((level.index, box.y0, box.x0, box.y1, box.x1, view.side))
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()


def _check_channels(source: Source, mix: ChannelMix, stretch: Stretch) -> None:
    if not source.channels == mix.channels == len(stretch.lo):
        raise UsageError(
            f"{source.name} has {source.channels} channels, the channel mix {mix.channels} and the contrast range "
            f"{len(stretch.lo)}.",
            "Use default_mix(source) and measure_stretch(source) of the same image.",
        )


@dataclass(frozen=True, slots=True)
class _Span:
    """One axis of a crop.

    View pixels [first, last) have their centre in the image. Pixels [read0, read1) of the level are read; in
    what was read the view pixels lie in [start, stop), which at the image's border may reach a little beyond.
    """

    first: int
    last: int
    read0: int = 0
    read1: int = 0
    start: float = 0.0
    stop: float = 0.0

    @property
    def empty(self) -> bool:
        return self.first >= self.last

    @property
    def count(self) -> int:
        return self.last - self.first

    @property
    def ratio(self) -> float:
        """Pixels of what was read per view pixel."""
        return (self.stop - self.start) / self.count

    def reduced(self, factor: int) -> _Span:
        """The same after averaging blocks of `factor` pixels."""
        return replace(self, start=self.start / factor, stop=self.stop / factor)

    def pad(self, length: int) -> tuple[int, int]:
        """Pixels that are missing before and after an array of `length` pixels."""
        return max(0, math.ceil(-self.start)), max(0, math.ceil(self.stop - length))


def _span(view: View, shape: tuple[int, int], level: Level, axis: int) -> _Span:
    origin = (view.box.y0, view.box.x0)[axis]
    scale, level_scale, extent = view.scale, level.scale[axis], level.shape[axis]
    first = max(0, math.ceil(-origin / scale - 0.5))
    last = min(view.side, math.ceil((shape[axis] - origin) / scale - 0.5))
    if first >= last:
        return _Span(first, last)
    start = (origin + first * scale) / level_scale
    stop = (origin + last * scale) / level_scale
    # The filter looks one view pixel past a pixel's centre; the border of a view must not change its pixels.
    margin = scale / level_scale + 1
    read0 = min(max(0, math.floor(start - margin)), extent - 1)
    read1 = max(min(extent, math.ceil(stop + margin)), read0 + 1)
    return _Span(first, last, read0, read1, start - read0, stop - read0)


def _read_planes(
    source: Source,
    level: Level,
    plane: Plane,
    mix: ChannelMix,
    stretch: Stretch,
    spans: tuple[_Span, _Span],
) -> tuple[list[npt.NDArray[Any]], int]:
    """One RGB array or one to three float planes; a large crop comes reduced by the returned factor."""
    rows, columns = spans
    box = Box(rows.read0, columns.read0, rows.read1, columns.read1)
    shrink = min(span.ratio for span in spans)
    fits = box.area * source.channels <= BAND_VALUES
    factor = 1 if fits else max(1, int(shrink / REDUCING_GAP))
    bands: list[list[npt.NDArray[Any]]] = []
    for band in _bands(box, source.channels, factor):
        planes = _to_planes(source.read(band, level.index, plane), mix, stretch)
        if factor > 1:
            planes = [np.asarray(Image.fromarray(array).reduce(factor)) for array in planes]
        bands.append(planes)
    if len(bands) == 1:
        return bands[0], factor
    return [np.concatenate(parts) for parts in zip(*bands, strict=True)], factor


def _bands(box: Box, channels: int, factor: int) -> Iterator[Box]:
    rows = max(1, BAND_VALUES // (box.width * channels * factor)) * factor
    for y0 in range(box.y0, box.y1, rows):
        yield Box(y0, box.x0, min(y0 + rows, box.y1), box.x1)


def _to_planes(pixels: npt.NDArray[Any], mix: ChannelMix, stretch: Stretch) -> list[npt.NDArray[Any]]:
    """Pixels as Pillow takes them: uint8 [y, x, 3] where nothing has to be computed, else float32 planes [y, x]."""
    if pixels.dtype == np.uint8 and stretch.is_none and mix.picks is not None and not mix.grey:
        if mix.picks == (0, 1, 2):
            return [np.ascontiguousarray(pixels[..., :3])]
        return [np.ascontiguousarray(pixels[..., list(mix.picks)])]
    return list(mix.apply(stretch.apply(pixels, mix.used)))


def _resized(array: npt.NDArray[Any], rows: _Span, columns: _Span) -> npt.NDArray[Any]:
    """The part [start, stop) of both axes, resized to their view pixels."""
    (top, bottom), (left, right) = rows.pad(array.shape[0]), columns.pad(array.shape[1])
    if top or bottom or left or right:
        pads = [(top, bottom), (left, right), (0, 0)][: array.ndim]
        array = np.pad(array, pads, mode="edge")
    box = (columns.start + left, rows.start + top, columns.stop + left, rows.stop + top)
    # Between 1 and 2 pixels a view pixel the filter's few taps are off centre by up to 0.07 view pixels. Plain
    # interpolation to twice the size, then averaging, is exact.
    fine = 2 if any(1 < span.ratio < 2 for span in (rows, columns)) else 1
    size = (columns.count * fine, rows.count * fine)
    image = Image.fromarray(array)
    image = image.resize(size, Image.Resampling.BILINEAR, box=box, reducing_gap=REDUCING_GAP)
    return np.asarray(image.reduce(fine) if fine > 1 else image)

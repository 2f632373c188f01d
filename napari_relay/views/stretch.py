"""Contrast: the range of each channel that is shown to the model as 0..1, measured once per image.

Never measured on a crop: the same place must look the same in every view.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_relay.errors import UsageError
from napari_relay.geometry import Box, Level, Plane
from napari_relay.views.values import Float32

if TYPE_CHECKING:
    from napari_relay.sources import Source

PERCENTILES = (0.1, 99.9)
WHOLE_PIXELS = 2048 * 2048
"""A coarsest level up to this area is measured whole, a larger one on tiles."""
TILES = 8
"""The tiles stand on a fixed grid of 8 x 8."""
TILE_SIDE = 256
LARGEST, SMALLEST = 1e150, 1e-150
"""Values and ranges beyond these would overflow where they are subtracted and divided."""
SAMPLES = 1_000_000
"""Most values of a channel that enter its percentiles."""

AnyArray = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Stretch:
    """`lo[c]` is shown as 0 and `hi[c]` as 1; hi is above lo in every channel.

    Raises
    ------
    UsageError
        A range is empty, turned round or not finite.
    """

    lo: tuple[float, ...]
    hi: tuple[float, ...]

    def __post_init__(self) -> None:
        good = len(self.lo) == len(self.hi) > 0 and bool(np.isfinite((*self.lo, *self.hi)).all())
        if not good or not all(lo < hi for lo, hi in zip(self.lo, self.hi, strict=True)):
            raise UsageError(
                f"The contrast range {self.lo} to {self.hi} is empty in a channel.",
                "Give a finite lower and a larger upper value for each channel.",
            )

    @classmethod
    def none(cls, channels: int) -> Stretch:
        """8-bit values as they are."""
        return cls((0.0,) * channels, (255.0,) * channels)

    @property
    def is_none(self) -> bool:
        return set(self.lo) == {0.0} and set(self.hi) == {255.0}

    @property
    def hash(self) -> str:
        """Names the stretch in cache keys."""
        return hashlib.blake2b(repr((self.lo, self.hi)).encode(), digest_size=8).hexdigest()

    def apply(self, pixels: AnyArray, channels: tuple[int, ...]) -> Float32:
        """Pixels of any dtype -> float32 in 0..1; NaN and infinite pixels become 0.

        Parameters
        ----------
        pixels : [y, x, c], all channels of the image.
        channels : which of them are wanted.

        Returns
        -------
        float32 [y, x, len(channels)]
        """
        dtype = self._working_dtype(pixels.dtype, channels)
        values: AnyArray = pixels[..., list(channels)].astype(dtype)
        lo = np.array([self.lo[c] for c in channels], dtype)
        factor = np.array([1 / (self.hi[c] - self.lo[c]) for c in channels], dtype)
        finite = np.isfinite(values) if pixels.dtype.kind == "f" else None
        with np.errstate(invalid="ignore", over="ignore"):
            np.subtract(values, lo, out=values)
            np.multiply(values, factor, out=values)
            np.clip(values, 0, 1, out=values)
        if finite is not None:
            values[~finite] = 0
        return values.astype(np.float32, copy=False)

    def _working_dtype(self, dtype: np.dtype[Any], channels: tuple[int, ...]) -> np.dtype[Any]:
        """float32, unless whole numbers of 32 bits or an extreme range would lose their differences in it."""
        spans = [self.hi[c] - self.lo[c] for c in channels]
        exact = dtype.itemsize <= 2 or dtype == np.float32
        moderate = min(spans) > 1e-30 and max(spans) < 1e30
        return np.dtype(np.float32 if exact and moderate else np.float64)


def measure_stretch(source: Source) -> Stretch:
    """Contrast range of every channel, from percentiles 0.1 and 99.9 of finite values.

    Measured on the whole coarsest level, or on 64 tiles of it where it is large (an image without a pyramid), in
    the middle plane. 8-bit RGB is not stretched. A constant channel is shown as 0, never divided by 0.
    """
    if source.is_rgb and source.dtype == np.uint8:
        return Stretch.none(source.channels)
    ranges = [_range(values) for values in _samples(source)]
    return Stretch(tuple(lo for lo, _ in ranges), tuple(hi for _, hi in ranges))


def _samples(source: Source) -> list[AnyArray]:
    """Some values of each channel, flat."""
    level = source.levels[-1]
    plane = Plane(source.sizes_t // 2, source.sizes_z // 2)
    boxes = _measured_boxes(level)
    keep = max(1, sum(box.area for box in boxes) // SAMPLES)
    # Whole rows are skipped, not single values: read once, thinned at once.
    parts = [source.read(box, level.index, plane)[::keep] for box in boxes]
    return [np.concatenate([part[..., c].ravel() for part in parts]) for c in range(source.channels)]


def _measured_boxes(level: Level) -> list[Box]:
    height, width = level.shape
    if height * width <= WHOLE_PIXELS:
        return [Box(0, 0, height, width)]
    boxes = []
    for row in range(TILES):
        for column in range(TILES):
            y = (2 * row + 1) * height // (2 * TILES) - TILE_SIDE // 2
            x = (2 * column + 1) * width // (2 * TILES) - TILE_SIDE // 2
            boxes.append(Box(y, x, y + TILE_SIDE, x + TILE_SIDE).clip(level.shape))
    return [box for box in boxes if not box.empty]


def _range(values: AnyArray) -> tuple[float, float]:
    numbers = values.astype(np.float64)
    numbers = np.clip(numbers[np.isfinite(numbers)], -LARGEST, LARGEST)
    if numbers.size == 0:
        return 0.0, 1.0
    lo, hi = (float(value) for value in np.percentile(numbers, PERCENTILES))
    if not hi - lo > SMALLEST:
        # Few bright pixels on a constant ground: the percentiles see only the ground.
        lo, hi = float(numbers.min()), float(numbers.max())
    return (lo, hi) if hi - lo > SMALLEST else (lo, lo + max(1.0, abs(lo)))

"""Size, shape and intensities of objects, by scikit-image's `regionprops`, in the units of the world.

Named as QuPath names them, so that its tables and scripts know them: `Area µm^2`, `Length µm` (the perimeter),
`Circularity`, `Solidity`, `Max diameter µm`, `Min diameter µm`, `Eccentricity`, `Holes`, and for each channel
`NAME: Mean`, `Std.Dev.`, `Min`, `Max`, `Median`.

Objects of more than 16 million pixels are measured on a coarser grid of theirs; their area is exact.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_relay.geometry import Box
from napari_relay.sources import Source
from napari_relay.store.values import Mask, StoredObject

MAX_PIXELS = 1 << 24
"""Pixels of a box that is measured pixel by pixel."""
ISOTROPIC = 0.01
"""Pixels whose sides differ by no more than this part count as square; of others scikit-image knows no perimeter."""
_STATISTICS = ("Mean", "Std.Dev.", "Min", "Max", "Median")


@dataclass(frozen=True, slots=True)
class PixelScale:
    """(height, width) of a level-0 pixel and the unit of both."""

    size: tuple[float, float] = (1.0, 1.0)
    unit: str = "px"


@dataclass(frozen=True, slots=True, eq=False)
class Measure:
    """Measures objects of one image.

    Attributes
    ----------
    scale : PixelScale
    source : the image, for intensities; None measures shapes alone.
    """

    scale: PixelScale
    source: Source | None = None

    def names(self) -> list[str]:
        """The names of all measurements, in order."""
        unit = self.scale.unit
        shape = [f"Area {unit}^2", f"Length {unit}", "Circularity", "Solidity", f"Max diameter {unit}",
                 f"Min diameter {unit}", "Eccentricity", "Holes"]  # fmt: skip
        channels = self.source.channel_names if self.source is not None else ()
        return [*shape, *(f"{name}: {what}" for name in channels for what in _STATISTICS)]

    def of(self, stored: StoredObject) -> dict[str, float]:
        """The measurements of an object; those that cannot be told (a perimeter in pixels that are not square) are
        left out.

        Raises
        ------
        ImageError
            The image cannot be read there.
        """
        step = max(1, math.ceil(math.sqrt(stored.box.area / MAX_PIXELS)))
        mask = stored.mask if step == 1 else _coarse(stored, step)
        found = dict(self._shape(mask, stored.area, step))
        if self.source is not None:
            found |= self._intensities(stored, mask, step)
        return found

    def _shape(self, mask: Mask, area: int, step: int) -> Iterator[tuple[str, float]]:
        from skimage.measure import regionprops  # half a second that only this needs

        unit, (height, width) = self.scale.unit, self.scale.size
        square = abs(height - width) <= ISOTROPIC * max(height, width)
        side = math.sqrt(height * width)
        spacing = (side * step, side * step) if square else (height * step, width * step)
        padded = np.pad(mask, 1).view(np.uint8)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a hull of fewer than three points is no hull; its object is solid
            (region,) = regionprops(padded, spacing=spacing)
            yield f"Area {unit}^2", area * height * width
            if square:
                length = float(region.perimeter)
                yield f"Length {unit}", length
                if length:
                    yield "Circularity", min(1.0, 4 * math.pi * float(region.area) / length**2)
            yield "Solidity", float(region.solidity)
            yield f"Max diameter {unit}", float(region.axis_major_length)
            yield f"Min diameter {unit}", float(region.axis_minor_length)
            yield "Eccentricity", float(region.eccentricity)
            yield "Holes", float(_holes(mask))

    def _intensities(self, stored: StoredObject, mask: Mask, step: int) -> Iterator[tuple[str, float]]:
        assert self.source is not None
        values = _pixels(self.source, stored, mask, step)  # [n, c]
        for channel, name in enumerate(self.source.channel_names):
            own = values[:, channel].astype(np.float64)
            own = own[np.isfinite(own)]
            if own.size:
                numbers = (own.mean(), own.std(), own.min(), own.max(), np.median(own))
                yield from zip(
                    (f"{name}: {what}" for what in _STATISTICS), (float(n) for n in numbers), strict=True
                )


def scale_of(
    source: Source | None, pixel_size_um: tuple[float, float] | None, affine: tuple[float, ...] | None = None
) -> PixelScale:
    """The units of an image: those of its CRS where it lies in one, else micrometres, else pixels.

    Parameters
    ----------
    pixel_size_um : of a level-0 pixel, where the image does not say it itself.
    affine : (a, b, c, d, e, f) of the CRS, where the image does not say it itself.
    """
    if source is not None:
        pixel_size_um = source.pixel_size_um or pixel_size_um
        affine = source.affine if source.crs is not None else affine
    if affine is not None:
        a, b, _, d, e, _ = affine
        return PixelScale((math.hypot(b, e), math.hypot(a, d)), "CRS unit")
    return PixelScale() if pixel_size_um is None else PixelScale(pixel_size_um, "µm")


def _coarse(stored: StoredObject, step: int) -> Mask:
    """Every `step`-th pixel of a mask in both directions, read in bands; the middle pixel of each square decides."""
    down, right = (min(step // 2, side - 1) for side in stored.box.shape)
    rows = range(stored.box.y0 + down, stored.box.y1, step)
    band = max(1, MAX_PIXELS // (stored.box.width * step))
    parts = []
    for first in range(0, len(rows), band):
        chosen = rows[first : first + band]
        box = Box(chosen[0], stored.box.x0, chosen[-1] + 1, stored.box.x1)
        parts.append(stored.mask_in(box)[::step, right::step])
    coarse: Mask = np.concatenate(parts)
    if not coarse.any():  # a very thin object
        coarse[coarse.shape[0] // 2, coarse.shape[1] // 2] = True
    return coarse


def _holes(mask: Mask) -> int:
    """Number of holes: pieces of background, by the sides of its pixels, that do not reach the outside."""
    from skimage.measure import label

    _, count = label(~np.pad(mask, 1), connectivity=1, return_num=True)
    return int(count) - 1


def _pixels(source: Source, stored: StoredObject, mask: Mask, step: int) -> npt.NDArray[Any]:
    """The image's values under an object, [n, channels]; of a coarse mask from the level that fits it."""
    level = max((lv for lv in source.levels if max(lv.scale) <= step), key=lambda lv: lv.index)
    if step == 1:
        return source.read(stored.box, 0, stored.plane)[mask]
    rows, columns = np.nonzero(mask)
    y = ((stored.box.y0 + rows * step + step // 2) / level.scale[0]).astype(int).clip(0, level.shape[0] - 1)
    x = ((stored.box.x0 + columns * step + step // 2) / level.scale[1]).astype(int).clip(0, level.shape[1] - 1)
    values = []
    for first in range(int(y.min()), int(y.max()) + 1, 512):
        chosen = (y >= first) & (y < first + 512)
        if chosen.any():
            box = Box(first, int(x[chosen].min()), int(y[chosen].max()) + 1, int(x[chosen].max()) + 1)
            values.append(source.read(box, level.index, stored.plane)[y[chosen] - box.y0, x[chosen] - box.x0])
    return np.concatenate(values)

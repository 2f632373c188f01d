"""What cleaning does to one mask: holes filled, islands dropped, the outline smoothed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from napari_relay.errors import UsageError
from napari_relay.geometry import Box
from napari_relay.store import tiles
from napari_relay.store.values import Mask

MAX_PIXELS = 1 << 26
"""Masks whose box has more pixels are left as they are: cleaning holds a mask as a whole, several times."""
_LIMITS = {"holes_px": 1e9, "islands_px": 1e9, "smooth_px": 100.0}


@dataclass(frozen=True, slots=True)
class CleaningRules:
    """What is done to a mask when it is accepted; 0 leaves out a step.

    Attributes
    ----------
    holes_px : holes of up to so many pixels are filled.
    islands_px : pieces of up to so many pixels are dropped, but never the largest.
    smooth_px : radius of the smoothing of the outline (sigma of a Gaussian).
    """

    holes_px: float = 0
    islands_px: float = 0
    smooth_px: float = 0

    def __post_init__(self) -> None:
        for name, most in _LIMITS.items():
            value = getattr(self, name)
            if not (isinstance(value, int | float) and 0 <= value <= most):
                raise UsageError(f"{name} = {value!r} is no setting.", f"Give a number from 0 to {most:g}.")

    @property
    def none(self) -> bool:
        return self == CleaningRules()


def cleaned(box: Box, mask: Mask, rules: CleaningRules) -> tuple[Box, Mask]:
    """A mask (bool [y, x] over its box) after cleaning, in its smallest box; itself where nothing is to be done, or
    where nothing would be left."""
    if rules.none or box.area > MAX_PIXELS:
        return box, mask
    result = mask
    if rules.islands_px:
        result = _without_islands(result, rules.islands_px)
    if rules.holes_px:
        result = _without_holes(result, rules.holes_px)
    if rules.smooth_px:
        result = _smooth(result, rules.smooth_px)
    if not result.any() or np.array_equal(result, mask):
        return box, mask
    tight = tiles.tight_box(box, result)
    return tight, result[tight.relative_to(box).slices]


def _without_islands(mask: Mask, most_px: float) -> Mask:
    from scipy import ndimage  # half a second that only this needs

    labels, count = ndimage.label(mask, np.ones((3, 3), bool))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    keep = sizes > most_px
    keep[int(sizes.argmax())] = True
    keep[0] = False
    kept: Mask = keep[labels]
    return kept


def _without_holes(mask: Mask, most_px: float) -> Mask:
    from scipy import ndimage

    labels, count = ndimage.label(~np.pad(mask, 1))
    small = np.bincount(labels.ravel(), minlength=count + 1) <= most_px
    small[[0, int(labels[0, 0])]] = False
    filled: Mask = mask | small[labels][1:-1, 1:-1]
    return filled


def _smooth(mask: Mask, sigma_px: float) -> Mask:
    from scipy import ndimage

    pad = math.ceil(4 * sigma_px) + 1
    soft = ndimage.gaussian_filter(np.pad(mask, pad).astype(np.float32), sigma_px)
    # Above a half: outside the mask's own box less than half of the weight can be inside it.
    smooth: Mask = soft[pad:-pad, pad:-pad] > 0.5
    return smooth if smooth.any() else mask

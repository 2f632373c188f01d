"""Scales of pyramid levels from their shapes.

Levels meet at the outer edge: pixel i of a level with scale s covers level-0 pixels i*s .. (i+1)*s - 1. Writers
round the shape of a level down, up or to the nearest whole pixel, so the ratio of two shapes is only nearly the
scale; where a whole scale explains both sides it is taken, else the ratio itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from napari_relay.geometry import Level


def make_levels(
    shapes: Sequence[tuple[int, int]], scales: Sequence[tuple[float, float] | None] | None = None
) -> tuple[Level, ...]:
    """Levels of an image, finest first.

    Parameters
    ----------
    shapes : (height, width) of each level, finest first.
    scales : (y, x) size of each level's pixels in level-0 pixels as the file states it; None where it does not.
        A stated scale that contradicts the shapes by more than a pixel is not believed.
    """
    full = shapes[0]
    levels = [Level(0, full, (1.0, 1.0))]
    for index, shape in enumerate(shapes[1:], start=1):
        stated = scales[index] if scales is not None else None
        if stated is None or not all(_explains(stated[axis], full[axis], shape[axis]) for axis in (0, 1)):
            stated = level_scale(full, shape)
        levels.append(Level(index, shape, stated))
    return tuple(levels)


def level_scale(full: tuple[int, int], reduced: tuple[int, int]) -> tuple[float, float]:
    """Scale (y, x) of a level of shape `reduced` in an image of shape `full`."""
    whole = _common_whole_scale(full, reduced)
    if whole is not None:
        return (float(whole), float(whole))
    return (full[0] / reduced[0], full[1] / reduced[1])


def _common_whole_scale(full: tuple[int, int], reduced: tuple[int, int]) -> int | None:
    """The whole number that explains both sides: a power of two if one does, else the nearest to the ratio."""
    ratio = max(full[0] / reduced[0], full[1] / reduced[1])
    power = 2 ** max(0, round(math.log2(ratio))) if ratio > 0 else 1
    for scale in (power, round(ratio), math.floor(ratio), math.ceil(ratio)):
        if scale >= 1 and all(_explains(scale, f, r) for f, r in zip(full, reduced, strict=True)):
            return scale
    return None


def _explains(scale: float, full: int, reduced: int) -> bool:
    """Whether cutting `full` pixels by `scale` may have given `reduced` (rounded down, up or never below 1)."""
    if not (math.isfinite(scale) and scale > 0):
        return False
    exact = full / scale
    return math.floor(exact + 1e-6) <= reduced <= math.ceil(exact - 1e-6) or (exact < 1 and reduced == 1)

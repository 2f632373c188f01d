"""Colours on the canvas. The dock has none of its own: it inherits the theme."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

RGBA = tuple[float, float, float, float]

PROPOSAL: RGBA = (0.10, 0.85, 1.00, 1.0)
"""Cyan: rare in stained tissue, photos from the air and greyscale alike, and told from green and red by everybody."""
POSITIVE: RGBA = (0.20, 0.80, 0.35, 1.0)
NEGATIVE: RGBA = (0.93, 0.23, 0.23, 1.0)
CLICK_BORDER = "white"
FRAME_COLORS: tuple[RGBA, RGBA] = ((1.0, 0.85, 0.25, 1.0), (1.0, 0.85, 0.25, 0.55))
"""Local view, global view."""

FILL_ALPHA = 0.27
ACCEPTED_ALPHA = 0.45
STROKE_ALPHA = 0.5
SHADES = 3
"""Shades of a class colour, so that objects of one class that touch can be told apart."""
MAX_CLASSES = 80
"""Classes that have a colour of their own on the canvas; further ones share the last."""

INSTANCES = 240
"""Colours of objects that each have one of their own; then they come again."""

_FIRST_CLASS_SLOT = 7
_GOLDEN = (5**0.5 - 1) / 2


def rgb_of(color: str) -> tuple[float, float, float]:
    """"#rrggbb" as numbers 0..1."""
    return (int(color[1:3], 16) / 255, int(color[3:5], 16) / 255, int(color[5:7], 16) / 255)


def slot_of(class_name: str | None, names: Sequence[str]) -> tuple[int, int]:
    """(fill, rim) values of the overlay for a class; None is the proposal."""
    if class_name is None:
        return 1, 2
    index = min(names.index(class_name) if class_name in names else 0, MAX_CLASSES - 1)
    return _FIRST_CLASS_SLOT + 2 * index, _FIRST_CLASS_SLOT + 2 * index + 1


def stroke_slot(*, adds: bool) -> tuple[int, int]:
    """(fill, rim) values of the overlay for what is being drawn."""
    return (3, 4) if adds else (5, 6)


def overlay_colors(class_colors: Sequence[str]) -> dict[int | None, RGBA | str]:
    """Colours of the overlay's values."""
    colors: dict[int | None, RGBA | str] = {None: "transparent", 0: "transparent"}
    colors[1], colors[2] = (*PROPOSAL[:3], FILL_ALPHA), PROPOSAL
    colors[3], colors[4] = (*PROPOSAL[:3], STROKE_ALPHA), (*PROPOSAL[:3], STROKE_ALPHA)
    colors[5], colors[6] = (*NEGATIVE[:3], STROKE_ALPHA), (*NEGATIVE[:3], STROKE_ALPHA)
    for index, color in enumerate([*class_colors[:MAX_CLASSES]] or ["#ffffff"]):
        rgb = rgb_of(color)
        colors[_FIRST_CLASS_SLOT + 2 * index] = (*rgb, ACCEPTED_ALPHA)
        colors[_FIRST_CLASS_SLOT + 2 * index + 1] = (*rgb, 0.9)
    return colors


def object_colors(class_colors: Sequence[str]) -> dict[int | None, RGBA | str]:
    """Colours of the objects layer: value 1 + class * SHADES + shade."""
    colors: dict[int | None, RGBA | str] = {None: "transparent", 0: "transparent"}
    for index, color in enumerate(class_colors[:MAX_CLASSES]):
        for shade in range(SHADES):
            colors[1 + index * SHADES + shade] = (*shaded(color, shade), ACCEPTED_ALPHA)
    return colors


def class_colors(class_colors: Sequence[str]) -> dict[int | None, RGBA | str]:
    """Colours of the same values where all objects of a class look alike."""
    colors = object_colors(class_colors)
    return {value: colors[value - (value - 1) % SHADES] if value else color for value, color in colors.items()}


def instance_colors() -> dict[int | None, RGBA | str]:
    """Colours of the values 1 to `INSTANCES`: hues that follow each other lie far apart."""
    colors: dict[int | None, RGBA | str] = {None: "transparent", 0: "transparent"}
    for value in range(1, INSTANCES + 1):
        rgb = colorsys.hsv_to_rgb(value * _GOLDEN % 1, 0.55 + 0.15 * (value % 3), 1 - 0.15 * (value % 2))
        colors[value] = (*rgb, ACCEPTED_ALPHA)
    return colors


def shaded(color: str, shade: int) -> tuple[float, float, float]:
    """The colour itself (shade 0), lighter (1), darker (2)."""
    rgb: npt.NDArray[np.float64] = np.array(rgb_of(color))
    rgb = (rgb, rgb + (1 - rgb) * 0.35, rgb * 0.72)[shade % SHADES]
    return (float(rgb[0]), float(rgb[1]), float(rgb[2]))

"""Areas in the units of the world: micrometres, or those of a coordinate reference system."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class PixelArea:
    """The area of a level-0 pixel, and its unit."""

    size: float
    unit: str


def pixel_area(source: Any) -> PixelArea | None:
    """Area of a pixel of a Source: in the units of its CRS where it lies in one, else in square micrometres; None
    where the image says neither."""
    if source.crs is not None and source.affine is not None:
        a, b, _, d, e, _ = source.affine
        return PixelArea(abs(a * e - b * d), "CRS units²")
    if source.pixel_size_um is not None:
        height, width = source.pixel_size_um
        return PixelArea(height * width, "µm²")
    return None

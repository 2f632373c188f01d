"""Lengths in micrometres, in the spellings of OME-XML, OME-Zarr, ImageJ and writers who guessed."""

from __future__ import annotations

import math
from collections.abc import Sequence

MICROMETRES = {
    "m": 1e6, "cm": 1e4, "mm": 1e3, "µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3, "pm": 1e-6, "Å": 1e-4, "in": 25400.0,
    "meter": 1e6, "centimeter": 1e4, "millimeter": 1e3, "micrometer": 1.0, "nanometer": 1e-3, "picometer": 1e-6,
    "angstrom": 1e-4, "micron": 1.0, "microns": 1.0, "\\u00B5m": 1.0, "inch": 25400.0,
}  # fmt: skip
"""Length of one unit in micrometres."""


def in_micrometres(size: Sequence[float], unit: str | None) -> tuple[float, float] | None:
    """(y, x) pixel size in micrometres; None when the unit is unknown or a number makes no sense."""
    factor = MICROMETRES.get(unit or "", math.nan)
    y, x = (value * factor for value in size)
    return (y, x) if all(math.isfinite(value) and value > 0 for value in (y, x)) else None


def as_number(text: object) -> float:
    """A number from metadata; NaN when it is none."""
    try:
        return float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan

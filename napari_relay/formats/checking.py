"""Checks of what stands in a file that somebody else wrote: every complaint names file, record and field."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_relay.errors import ImportFileError
from napari_relay.formats.outlines import Ring

MAX_COORDINATE = 1e9
_MENDED = "Mend or export the file anew; nothing of it was imported."


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands in a file: `annotations.json: annotations[3].bbox`."""

    file: str
    record: str = ""

    def field(self, name: str) -> Place:
        return Place(self.file, f"{self.record}.{name}" if self.record else name)

    def item(self, index: int) -> Place:
        return Place(self.file, f"{self.record}[{index}]")

    def bad(self, what: str) -> ImportFileError:
        """The error for what stands here."""
        return ImportFileError(f"{self}: {what}.", _MENDED)

    def __str__(self) -> str:
        return f"{self.file}: {self.record}" if self.record else self.file


def as_object(value: Any, place: Place) -> Mapping[str, Any]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise place.bad(f"a JSON object is expected, not {_shown(value)}")
    return value


def as_list(value: Any, place: Place) -> list[Any]:
    """A JSON array."""
    if not isinstance(value, list):
        raise place.bad(f"a list is expected, not {_shown(value)}")
    return value


def as_text(value: Any, place: Place) -> str:
    if not isinstance(value, str):
        raise place.bad(f"a text is expected, not {_shown(value)}")
    return value


def as_int(value: Any, place: Place, low: int = 0, high: int = 2**53) -> int:
    """A whole number between `low` and `high`; 3.0 counts as one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise place.bad(f"a whole number is expected, not {_shown(value)}")
    if not low <= value <= high or value != int(value):
        raise place.bad(f"a whole number from {low} to {high} is expected, not {_shown(value)}")
    return int(value)


def as_float(value: Any, place: Place) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise place.bad(f"a number is expected, not {_shown(value)}")
    if not -MAX_COORDINATE <= value <= MAX_COORDINATE or math.isnan(value):
        raise place.bad(f"the number {_shown(value)} is out of range")
    return float(value)


def as_points(value: Any, place: Place, *, at_least: int = 3) -> Ring:
    """A list of (x, y) pairs as float [n, 2] of (y, x).

    A third number of a point is passed over, and the first point may be repeated at the end.
    """
    points = as_list(value, place)
    try:
        array = np.asarray(points)
    except (ValueError, OverflowError):  # lists of unlike length
        raise place.bad("its points have unlike numbers of coordinates") from None
    return _checked_ring(array, place, at_least)


def _checked_ring(array: npt.NDArray[Any], place: Place, at_least: int = 3) -> Ring:
    """(x, y) pairs as they came as a ring of (y, x)."""
    if array.ndim != 2 or array.shape[1] < 2 or array.dtype.kind not in "iuf":
        raise place.bad("a list of [x, y] pairs of numbers is expected")
    ring = array[:, 1::-1].astype(np.float64)
    if not (np.abs(ring) <= MAX_COORDINATE).all():
        raise place.bad("a coordinate is out of range")
    if len(ring) > 1 and (ring[0] == ring[-1]).all():
        ring = ring[:-1]
    if len(ring) < at_least:
        raise place.bad(f"{len(ring)} different points are no outline, {at_least} are needed")
    return ring


def as_flat_points(value: Any, place: Place) -> Ring:
    """A list x, y, x, y .. as float [n, 2] of (y, x)."""
    numbers = as_list(value, place)
    if len(numbers) % 2:
        raise place.bad(f"it has {len(numbers)} numbers, of which one has no partner")
    try:
        array = np.asarray(numbers)
    except (ValueError, OverflowError):
        raise place.bad("numbers are expected") from None
    if array.ndim != 1:
        raise place.bad("numbers are expected")
    return _checked_ring(array.reshape(-1, 2), place)


def as_rgb(value: Any, place: Place) -> str:
    """[r, g, b], an ImageJ/QuPath packed integer or #rrggbb as #rrggbb."""
    if isinstance(value, str):
        digits = value.removeprefix("#")
        if len(digits) == 6 and all(digit in "0123456789abcdefABCDEF" for digit in digits):
            return f"#{digits.lower()}"
        raise place.bad(f"{_shown(value)} is no colour")
    if isinstance(value, list):
        if len(value) not in (3, 4):
            raise place.bad("a colour needs three numbers")
        return "#" + "".join(f"{as_int(part, place, 0, 255):02x}" for part in value[:3])
    packed = as_int(value, place, -(2**31), 2**32)
    return f"#{packed & 0xFFFFFF:06x}"


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, list | dict):  # never spelled out: aliases of YAML make them endless
        return "a list" if isinstance(value, list) else "an object"
    text = repr(value[:60] if isinstance(value, str) else value)
    return text if len(text) <= 40 else text[:37] + "..."

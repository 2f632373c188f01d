"""From the letters of tifffile (T, Z, C, Y, X, S and unknown ones) to our t, z, y, x, c.

Samples (S) and channels (C) become one axis c. An unknown axis is taken for z, else for t, else, when it is short
and has no competitor, for channels; two unknown ones for t and z in their order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_relay.sources.array import MAX_GUESSED_CHANNELS
from napari_relay.sources.base import PixelArray

CANONICAL = "tzyxc"
_KNOWN = "TZCYXS"


@dataclass(frozen=True, slots=True)
class AxisPlan:
    """Which letter plays which part; `c` holds up to two letters, the slower one first."""

    sizes: Mapping[str, int]
    t: str | None
    z: str | None
    c: tuple[str, ...]

    @property
    def channels(self) -> int:
        return int(np.prod([self.sizes[letter] for letter in self.c], dtype=np.int64))

    @property
    def shape(self) -> tuple[int, ...]:
        """In the order of `CANONICAL`."""
        t = self.sizes[self.t] if self.t else 1
        z = self.sizes[self.z] if self.z else 1
        return (t, z, self.sizes["Y"], self.sizes["X"], self.channels)


def plan_axes(axes: str, shape: Sequence[int]) -> AxisPlan:
    """Give every axis its part. Raises ValueError when one is left over, or Y or X is missing."""
    if len(set(axes)) != len(axes) or not {"Y", "X"} <= set(axes):
        raise ValueError(f"its axes are {axes!r}, an image needs one Y and one X")
    sizes = dict(zip(axes, shape, strict=True))
    parts = {"t": "T" if "T" in sizes else None, "z": "Z" if "Z" in sizes else None}
    channels = [letter for letter in axes if letter in "CS"]
    unknown = [letter for letter in axes if letter not in _KNOWN and sizes[letter] > 1]
    if unknown == ["Q"] and not channels and sizes["Q"] <= MAX_GUESSED_CHANNELS:
        channels, unknown = ["Q"], []
    for letter in reversed(unknown):
        free = next((part for part in ("z", "t") if parts[part] is None or sizes[parts[part] or ""] == 1), None)
        if free is None:
            raise ValueError(f"it has more axes ({axes}) than time, depth and channels")
        parts[free] = letter
    return AxisPlan(sizes, parts["t"], parts["z"], tuple(channels))


class PlannedArray:
    """An array with tifffile's axes, seen as `CANONICAL`."""

    def __init__(self, array: PixelArray, axes: str, plan: AxisPlan) -> None:
        self._array, self._axes, self._plan = array, axes, plan
        self.shape, self.dtype = plan.shape, np.dtype(array.dtype)

    def __getitem__(self, index: Any) -> npt.NDArray[Any]:
        """`index` as `Source.read` gives it: whole t and z, slices of y, x and c."""
        t, z, ys, xs, cs = index
        plan = self._plan
        pick: dict[str, int | slice] = {"Y": ys, "X": xs}
        pick.update({letter: slice(None) for letter in plan.c})
        if plan.t:
            pick[plan.t] = t
        if plan.z:
            pick[plan.z] = z
        block = np.asarray(self._array[tuple(pick.get(letter, 0) for letter in self._axes)])
        left = [letter for letter in self._axes if isinstance(pick.get(letter, 0), slice)]
        block = block.transpose([left.index(letter) for letter in ("Y", "X", *plan.c)])  # [y, x, c...]
        return block.reshape(*block.shape[:2], plan.channels)[..., cs]

"""Arrays in memory, dask and zarr arrays, alone or as a list of levels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from napari_relay.errors import UnsupportedImageError, UsageError
from napari_relay.sources.base import PixelArray, Source, Traits
from napari_relay.sources.fingerprint import sample_boxes, source_fingerprint

MAX_GUESSED_CHANNELS = 8
"""An axis without a name that is longer than this is not taken for channels."""


class ArraySource(Source):
    """A numpy, dask or zarr array, or a pyramid of them."""

    def _make_fingerprint(self) -> str:
        # a chunk of a dask graph may be costly: nine are enough
        per_side = 8 if isinstance(self._arrays[0], np.ndarray) else 3
        return source_fingerprint(self, sample_boxes(self.shape, per_side), self._axes)


def open_array(
    data: Any,
    *,
    axes: str | None = None,
    rgb: bool | None = None,
    channel_names: Sequence[str] | None = None,
    name: str = "array",
) -> ArraySource:
    """Open an array-like, or a sequence of them as levels (finest first).

    Parameters
    ----------
    axes : order of the axes, a string of y, x and any of t, z, c; guessed from the shape when None.
    rgb : whether 3 or 4 channels are colour; guessed when None.
    """
    arrays = [_as_array(level) for level in data] if isinstance(data, (list, tuple)) else [_as_array(data)]
    if not arrays:
        raise UsageError("The list of levels is empty.", "Give at least one array.")
    if axes is None:
        axes = _guessed(arrays[0], name)
    check_axes(axes, arrays, name)
    size = dict(zip(axes, arrays[0].shape, strict=True)).get("c", 1)
    if rgb is None:
        rgb = _looks_like_colour(arrays[0], axes, size)
    nbytes = math.prod(arrays[0].shape) * np.dtype(arrays[0].dtype).itemsize
    traits = Traits(
        name=name,
        format="array",
        channel_names=tuple(channel_names or ()),
        is_rgb=rgb,
        details={"in_memory": isinstance(arrays[0], np.ndarray), "bytes": nbytes},
    )
    return ArraySource(traits, arrays, axes)


def _guessed(array: PixelArray, name: str) -> str:
    try:
        return guess_axes(array.shape)
    except ValueError as error:
        raise UnsupportedImageError(
            f"{name} has {len(array.shape)} axes.", "Give 2 to 5 axes: y, x and any of t, z, c."
        ) from error


def guess_axes(shape: Sequence[int]) -> str:
    """Axes of an array without names.

    Two axes are y, x. A short last axis (up to 8, shorter than the two before it) is channels, else a short first
    one is; what is left before y, x is z, and before that t. Five axes are those of OME: t, c, z, y, x. Any other
    number of axes raises ValueError.
    """
    count = len(shape)
    if count == 2:
        return "yx"
    if count == 3:
        if _short(shape[2], shape[:2]):
            return "yxc"
        return "cyx" if _short(shape[0], shape[1:]) else "zyx"
    if count == 4:
        if _short(shape[3], shape[1:3]):
            return "zyxc"
        if _short(shape[0], shape[2:]):
            return "czyx"
        return "zcyx" if _short(shape[1], shape[2:]) else "tzyx"
    if count == 5:
        return "tzyxc" if _short(shape[4], shape[2:4]) else "tczyx"
    raise ValueError(f"an array with {count} axes is not an image, it needs 2 to 5")


def check_axes(axes: str, arrays: Sequence[PixelArray], name: str) -> None:
    """Refuse axes that do not fit the arrays, and levels that do not fit each other."""
    first = arrays[0]
    if len(axes) != len(first.shape) or len(set(axes)) != len(axes) or not {"y", "x"} <= set(axes) <= set("tzcyx"):
        raise UsageError(
            f"The axes {axes!r} do not fit {name}, which has the shape {tuple(first.shape)}.",
            "Name each axis once: y, x and any of t, z, c.",
        )
    before = first
    for index, array in enumerate(arrays[1:], start=1):
        others = [i for i, axis in enumerate(axes) if axis not in "yx"]
        if (
            len(array.shape) != len(axes)
            or np.dtype(array.dtype) != np.dtype(first.dtype)
            or any(array.shape[i] != first.shape[i] for i in others)
            or any(array.shape[axes.index(axis)] > before.shape[axes.index(axis)] for axis in "yx")
        ):
            raise UsageError(
                f"Level {index} of {name} ({tuple(array.shape)}, {array.dtype}) does not fit level {index - 1} "
                f"({tuple(before.shape)}, {before.dtype}).",
                "Levels come finest first and differ in height and width only.",
            )
        before = array


def _as_array(data: Any) -> PixelArray:
    if hasattr(data, "shape") and hasattr(data, "dtype") and hasattr(data, "__getitem__"):
        array: PixelArray = data
        return array
    raise UnsupportedImageError(
        f"A {type(data).__name__} is not an image.", "Give a path, a URL or an array (numpy, dask, zarr)."
    )


def _short(size: int, beside: Sequence[int]) -> bool:
    return 1 <= size <= MAX_GUESSED_CHANNELS and all(size < other for other in beside)


def _looks_like_colour(array: PixelArray, axes: str, channels: int) -> bool:
    """uint8 and uint16 with 3 or 4 channels; floats in memory when the channels are last and between 0 and 1."""
    if channels not in (3, 4):
        return False
    dtype = np.dtype(array.dtype)
    if dtype in (np.uint8, np.uint16):
        return True
    if dtype.kind != "f" or not axes.endswith("c") or not isinstance(array, np.ndarray):
        return False
    shape = (array.shape[axes.index("y")], array.shape[axes.index("x")])
    for box in sample_boxes(shape, per_side=4):
        pick = {"y": box.slices[0], "x": box.slices[1]}
        block = array[tuple(pick.get(axis, slice(None)) for axis in axes)]
        if block.size and not (np.nanmin(block) >= 0 and np.nanmax(block) <= 1):
            return False
    return True

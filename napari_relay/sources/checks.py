"""What is refused at the door, and how a library's error becomes part of a sentence."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from napari_relay.errors import DamagedImageError, UnsupportedImageError

READ_ERRORS: tuple[type[Exception], ...] = (
    OSError, ValueError, RuntimeError, LookupError, TypeError, EOFError, ArithmeticError, SyntaxError, MemoryError,
    struct.error, zlib.error,
)  # fmt: skip
"""What image libraries raise on damaged data: each codec has its own class below one of these."""


def check_pixels(where: str, dtype: Any, axes: str, sizes: Mapping[str, int]) -> None:
    """Refuse what cannot be annotated: axes that make no image, no pixels, pixels that are no real numbers."""
    if len(set(axes)) != len(axes) or not {"y", "x"} <= set(axes) <= set("tzcyx"):
        raise UnsupportedImageError(
            f"{where} has the axes {axes!r}.", "An image needs y and x, and may have t, z and c, each once."
        )
    if 0 in sizes.values():
        shape = " x ".join(f"{axis}={size}" for axis, size in sizes.items())
        raise DamagedImageError(f"{where} holds no pixels ({shape}).", "Write the image again.")
    if np.dtype(dtype).kind not in "buif":
        raise UnsupportedImageError(
            f"The pixels of {where} are of type {dtype}.", "Convert them to whole numbers or floats first."
        )


def channel_names(known: Sequence[str], channels: int, *, is_rgb: bool) -> tuple[str, ...]:
    """The known names if there is one for each channel, else made-up ones."""
    if len(known) == channels:
        return tuple(known)
    if is_rgb and channels in (3, 4):
        return ("red", "green", "blue", "alpha")[:channels]
    return tuple(f"channel {index}" for index in range(channels))


def reason(error: BaseException) -> str:
    """A library's own words as part of a sentence; where it only stumbled, what that means."""
    text = " ".join(str(error).split()).rstrip(".")
    if isinstance(error, MemoryError):
        return f"there is not enough memory{f' ({text[:120]})' if text else ''}"
    if not text or isinstance(error, (AttributeError, AssertionError, TypeError, LookupError)):
        return f"its structure is damaged ({type(error).__name__}{f': {text[:80]}' if text else ''})"
    return text[:200]

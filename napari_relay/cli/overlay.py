"""A picture of what was annotated: the image as the model sees it, with the objects in their class colours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageColor

from napari_relay.errors import StorageError
from napari_relay.geometry import Box, Plane, from_scaled, to_scaled
from napari_relay.sources import Source
from napari_relay.store import StoredObject
from napari_relay.views import View, default_mix, measure_stretch, read_view
from napari_relay.views.crops import DEVIATION, MEAN

LONGEST_SIDE = 2048
"""Larger images are drawn smaller."""
SMALLEST_SIDE = 640
"""Smaller images are drawn larger, so that an outline is thin beside its object."""
FILL = 0.35
"""Share of the class colour inside an object."""

Rgb = npt.NDArray[np.uint8]


def draw_overlay(
    source: Source, objects: Iterable[StoredObject], colors: Mapping[str, str], plane: Plane | None = None
) -> Rgb:
    """The whole image with its objects.

    Parameters
    ----------
    source : the image. objects : those to draw, in the order in which they lie on each other.
    colors : class name -> "#rrggbb".
    plane : the plane to draw; objects of other planes are left out.

    Returns
    -------
    uint8 [y, x, 3], at most 2048 pixels on its longer side.
    """
    plane = plane or Plane()
    picture, scale = _picture(source, plane)
    for stored in objects:
        if stored.plane == plane:
            _draw(picture, stored, scale, np.array(ImageColor.getrgb(colors[stored.class_name]), np.float32))
    return picture


def save_overlay(path: Path, picture: Rgb) -> None:
    """Write the picture as PNG, whole or not at all.

    Raises
    ------
    StorageError
        It cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(partial, format="PNG", optimize=True)
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise StorageError(f"Cannot write {path}: {error.strerror or error}.", "Choose another place.") from error


def _picture(source: Source, plane: Plane) -> tuple[Rgb, float]:
    """The image as 8-bit RGB, and the level-0 pixels per pixel of it."""
    longest = max(source.shape)
    side = min(max(longest, SMALLEST_SIDE), LONGEST_SIDE)
    view = View(Box(0, 0, longest, longest), side)
    seen = read_view(source, view, plane, default_mix(source), measure_stretch(source))  # [3, side, side]
    rgb = (seen * DEVIATION[:, None, None] + MEAN[:, None, None]).transpose(1, 2, 0)
    height, width = (max(1, round(length / view.scale)) for length in source.shape)
    return (rgb[:height, :width].clip(0, 1) * 255).round().astype(np.uint8), view.scale


def _draw(picture: Rgb, stored: StoredObject, scale: float, color: npt.NDArray[np.float32]) -> None:
    box = stored.box
    top, left = (max(0, int(to_scaled(first, scale)) - 1) for first in (box.y0, box.x0))
    bottom, right = (int(to_scaled(last, scale)) + 3 for last in (box.y1, box.x1))
    area = picture[top:bottom, left:right]
    rows, columns = (
        np.floor(from_scaled(np.arange(first, first + length), scale) + 0.5).astype(int)  # type: ignore[arg-type]
        for first, length in ((top, area.shape[0]), (left, area.shape[1]))
    )
    grown = box.grow(int(np.ceil(4 * scale)) + 1)
    inside = stored.mask_in(grown)[
        np.ix_((rows - grown.y0).clip(0, grown.height - 1), (columns - grown.x0).clip(0, grown.width - 1))
    ]
    padded = np.pad(inside, 1)
    core = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    edge = inside & ~core
    area[inside] = ((1 - FILL) * area[inside] + FILL * color).round().astype(np.uint8)
    area[edge] = color.astype(np.uint8)

"""What the user drew with napari's shapes, as masks in level-0 pixels. No Qt here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from skimage.draw import polygon

from napari_relay.geometry import Box
from napari_relay.widgets.transforms import ImagePoint, unit_ratio

NAME = "Relay drawing"
ELLIPSE_CORNERS = 90
Mask = npt.NDArray[np.bool_]
Drawn = tuple[Box, Mask]
Points = npt.NDArray[np.float64]
"""(y, x) of each corner, level-0 pixels, float64 [n, 2]."""


def outlines(viewer: Any, layer: Any, to_image: Callable[[tuple[float, ...]], ImagePoint]) -> list[tuple[str, Points]]:
    """(kind, corners) of each shape of a Shapes layer; an ellipse is a polygon of many corners.

    Parameters
    ----------
    to_image : the place in the image under a world position of all axes of the viewer.
    """
    ratio = unit_ratio(viewer.layers.extent.units, layer.units)
    found = []
    for kind, corners in zip(layer.shape_type, layer.data, strict=True):
        shape = ellipse_corners(np.asarray(corners)) if kind == "ellipse" else np.asarray(corners)
        places = [to_image(_in_viewer(viewer, np.asarray(layer.data_to_world(corner)) / ratio)) for corner in shape]
        found.append((kind, np.array([(place.y, place.x) for place in places])))
    return found


def masks(shapes: Iterable[tuple[str, Points]], shape: tuple[int, int], width: float) -> list[Drawn]:
    """The pixels of each shape inside an image of `shape` pixels; lines and paths are `width` pixels wide. Shapes
    without a pixel are left out."""
    drawn = []
    for kind, corners in shapes:
        box, mask = stroke_mask(corners, width) if kind in ("line", "path") else area_mask(corners)
        inside = box.clip(shape)
        if inside.empty:
            continue
        part = mask[inside.relative_to(box).slices]
        if part.any():
            drawn.append((inside, part))
    return drawn


def union(drawn: Sequence[Drawn]) -> Drawn:
    """All of them together, in one box."""
    box = Box(0, 0, 0, 0)
    for one, _ in drawn:
        box = box.hull(one)
    whole = np.zeros(box.shape, bool)
    for one, mask in drawn:
        whole[one.relative_to(box).slices] |= mask
    return box, whole


def _in_viewer(viewer: Any, world: Points) -> tuple[float, ...]:
    """A layer's world position with the viewer's own place on the axes that the layer does not have."""
    point = list(viewer.dims.point)
    point[len(point) - len(world) :] = [float(value) for value in world]
    return tuple(point)


def ellipse_corners(corners: Points) -> Points:
    """Corners of a polygon for the ellipse that napari draws in the parallelogram of four corners."""
    centre, across, down = corners.mean(axis=0), (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    angles = np.linspace(0, 2 * np.pi, ELLIPSE_CORNERS, endpoint=False)
    return np.array([centre + math.cos(a) * across + math.sin(a) * down for a in angles])


def area_mask(corners: Points) -> Drawn:
    """Pixels whose centre lies in a polygon."""
    box = _around(corners, 0.0)
    mask = np.zeros(box.shape, bool)
    rows, columns = polygon(corners[:, 0] - box.y0, corners[:, 1] - box.x0, box.shape)
    mask[rows, columns] = True
    return box, mask


def stroke_mask(corners: Points, width: float) -> Drawn:
    """Pixels whose centre lies within half of `width` of the line; each part is looked for round itself only."""
    reach = max(width, 1.0) / 2
    box = _around(corners, reach)
    mask = np.zeros(box.shape, bool)
    for start, end in pairwise(corners):
        part = _around(np.array([start, end]), reach)
        y, x = np.mgrid[part.y0 : part.y1, part.x0 : part.x1]
        along = end - start
        length = float(along @ along)
        share = np.clip(((y - start[0]) * along[0] + (x - start[1]) * along[1]) / (length or 1.0), 0, 1)
        near = np.hypot(y - start[0] - share * along[0], x - start[1] - share * along[1]) <= reach
        mask[part.relative_to(box).slices] |= near
    return box, mask


def _around(corners: Points, reach: float) -> Box:
    low, high = np.floor(corners.min(axis=0) - reach).astype(int), np.ceil(corners.max(axis=0) + reach).astype(int)
    return Box(int(low[0]), int(low[1]), int(high[0]) + 1, int(high[1]) + 1)

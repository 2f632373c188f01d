"""Between napari's world and level-0 pixels: the only place of the window where coordinates change.

`world_to_data` turns a place on the canvas into a pixel of the image, `Frame` puts something of ours (a window of
pixels, points, lines) where the image lies. Both go through the layer's own whole transform, so scale, translate,
rotate, shear, affine and units need no cases here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_relay.geometry import Plane

Array = npt.NDArray[np.float64]

TURN_2D = "This is a 3D view. Click the 2D/3D button below the layer list, then click objects."
ROLL_BACK = (
    "This view does not show the image's rows and columns. Click the roll-axes button below the layer list until "
    "it does."
)


@dataclass(frozen=True, slots=True)
class ImagePoint:
    """A place in the image: level-0 pixels (centres at whole numbers) and the (t, z) plane."""

    y: float
    x: float
    plane: Plane


def world_to_data(
    layer: Any, position: Sequence[float], sizes: tuple[int, int], world_units: Sequence[Any] | None = None
) -> ImagePoint:
    """Place in the image under a world position.

    Parameters
    ----------
    layer : napari Image layer with the axes ([t, [z,]] y, x), colour not counted.
    position : world coordinates, all axes of the viewer; a layer with fewer axes takes the last ones.
    sizes : (sizes_t, sizes_z) of the image.
    world_units : the viewer's units of each axis, where layers differ in them.
    """
    world = np.asarray(position, dtype=np.float64)[-layer.ndim :]
    if world_units is not None:
        world = world * unit_ratio(world_units, layer.units)
    data = np.asarray(layer.world_to_data(world), dtype=np.float64)
    return ImagePoint(float(data[-2]), float(data[-1]), plane_of(data[:-2], sizes))


def unit_ratio(world_units: Sequence[Any], layer_units: Sequence[Any]) -> Array:
    """Factor from each axis of the viewer's world to the layer's own: 1 unless their units differ."""
    own = tuple(layer_units)
    shared = tuple(world_units)[-len(own) :]
    if len(shared) < len(own) or shared == own:
        return np.ones(len(own))
    return np.array([(1 * a).to(b).magnitude for a, b in zip(shared, own, strict=True)], dtype=np.float64)


def plane_of(leading: Sequence[float] | Array, sizes: tuple[int, int]) -> Plane:
    """The (t, z) plane named by the data coordinates of the axes before y and x, held inside the image."""
    sizes_t, sizes_z = sizes
    index = [round(float(value)) for value in leading]
    if len(index) == 1:
        index = [index[0], 0] if sizes_t > 1 and sizes_z == 1 else [0, index[0]]
    t, z = index[-2:] if index else (0, 0)
    return Plane(min(max(t, 0), sizes_t - 1), min(max(z, 0), sizes_z - 1))


def refusal(layer: Any, *, displayed: Sequence[int], ndim: int, ndisplay: int) -> str:
    """Why the click tool cannot work on what the viewer shows now; empty when it can.

    Parameters
    ----------
    displayed : the viewer's displayed axes, in the order shown.
    ndim : the viewer's number of axes.
    ndisplay : 2 or 3.
    """
    if ndisplay != 2:
        return TURN_2D
    if tuple(displayed) != (ndim - 2, ndim - 1):
        return ROLL_BACK
    if layer.ndim > 4:
        return f"'{layer.name}' has {layer.ndim} axes. Show one with time, depth, rows and columns at most."
    if couples_planes(layer):
        return f"'{layer.name}' is turned or sheared out of its plane. Reset its transform to click objects."
    return ""


def data_to_world_matrix(layer: Any) -> Array:
    """The layer's whole transform as a matrix [ndim + 1, ndim + 1] of homogeneous coordinates."""
    n = layer.ndim
    origin = np.asarray(layer.data_to_world(np.zeros(n)), dtype=np.float64)
    matrix = np.eye(n + 1)
    matrix[:n, n] = origin
    for axis in range(n):
        unit = np.zeros(n)
        unit[axis] = 1
        matrix[:n, axis] = np.asarray(layer.data_to_world(unit)) - origin
    return matrix


def couples_planes(layer: Any) -> bool:
    """Whether moving along rows or columns also moves along t or z in the world, or the other way round."""
    n = layer.ndim
    linear = data_to_world_matrix(layer)[:n, :n]
    size = np.abs(linear).max(initial=0.0)
    return bool(max(np.abs(linear[:-2, -2:]).max(initial=0), np.abs(linear[-2:, :-2]).max(initial=0)) > 1e-9 * size)


@dataclass(frozen=True, eq=False)
class Frame:
    """Where the image's rows and columns lie in the world; puts two-dimensional layers of ours beside it.

    matrix : [3, 3], homogeneous (y, x): level-0 pixels to world.
    units : of the two axes.
    """

    matrix: Array
    units: tuple[Any, ...] | None = None

    @classmethod
    def of(cls, layer: Any) -> Frame:
        """The frame of an image layer now (it does not follow later changes)."""
        n = layer.ndim
        keep = [n - 2, n - 1, n]
        return cls(data_to_world_matrix(layer)[np.ix_(keep, keep)], tuple(layer.units[-2:]))

    def same_as(self, other: Frame | None) -> bool:
        return other is not None and self.units == other.units and np.array_equal(self.matrix, other.matrix)

    def window(self, origin: tuple[int, int], step: int) -> Array:
        """Affine [3, 3] of a layer whose pixel (0, 0) starts at the level-0 pixel `origin` and whose pixels are
        `step` level-0 pixels wide: pixel centres are what a transform moves, hence the half steps."""
        shift = (step - 1) / 2
        place = np.array([[step, 0, origin[0] + shift], [0, step, origin[1] + shift], [0, 0, 1]], dtype=np.float64)
        return np.asarray(self.matrix @ place)

    @property
    def pixel_size(self) -> float:
        """World units that a level-0 pixel is wide (the geometric mean of both axes)."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix[:2, :2])))) or 1.0


def first_click_zoom(canvas_size: tuple[int, int], camera_zoom: float, pixel_size: float, view_side: int) -> float:
    """Level-0 pixels per view pixel at which a view covers the canvas's shorter side.

    Parameters
    ----------
    canvas_size : (height, width) in canvas pixels.
    camera_zoom : canvas pixels per world unit.
    pixel_size : world units per level-0 pixel.
    """
    shorter = max(1, min(canvas_size))
    return shorter / (camera_zoom * pixel_size * view_side)

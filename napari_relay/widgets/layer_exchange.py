"""From a napari Labels or Shapes layer to objects, and from objects to an ordinary Labels layer. No Qt here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_relay.errors import UsageError
from napari_relay.geometry import Box, Plane
from napari_relay.store import NewObject
from napari_relay.widgets.drawing import ellipse_corners
from napari_relay.widgets.reading import KEY

MAX_PIXELS = 8192 * 8192
"""Most pixels of an ordinary layer: it lies in memory as a whole."""
FLAT = ("line", "path")


def is_ours(layer: Any) -> bool:
    """Whether a layer shows a project already."""
    noted = layer.metadata.get(KEY)
    return isinstance(noted, dict) and "project" in noted


def objects_of_layer(layer: Any, image: Any, shape: tuple[int, int], plane: Plane) -> Iterable[NewObject]:
    """The objects of a Labels layer that lies on an image pixel by pixel, for `Project.import_objects`.

    Parameters
    ----------
    layer : napari Labels layer; of one with further axes the plane is taken that has the image's indices.
    image : the image layer.
    shape : (height, width) of the image.
    plane : whose objects they become.

    Raises
    ------
    UsageError
        Its pixels are not the image's: turned, or of another size.
    """
    from napari_relay.formats import objects_of_labels

    origin = pixel_offset(layer, image)
    array = layer.data[0] if layer.multiscale else layer.data
    leading = array.ndim - 2
    indices = (plane.t, plane.z)[2 - leading :] if leading <= 2 else ()
    if leading > 2 or any(index >= size for index, size in zip(indices, array.shape[:leading], strict=True)):
        raise UsageError(f"'{layer.name}' has other planes than the image.", "Show the plane that it has.")
    return objects_of_labels(array[indices] if leading else array, shape, origin=origin, plane=plane)


def pixel_offset(layer: Any, image: Any) -> tuple[int, int]:
    """The image's pixel (y, x) under the first one of a layer.

    Raises
    ------
    UsageError
        The pixels of both do not lie on each other.
    """
    corners = np.array([(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)])
    placed = np.array([_in_image(layer, image, corner) for corner in corners])
    steps = placed[1:] - placed[0]
    origin = np.rint(placed[0])
    if np.abs(steps - np.eye(2)).max() > 1e-6 or np.abs(placed[0] - origin).max() > 1e-3:
        raise UsageError(
            f"The pixels of '{layer.name}' are not those of '{image.name}': scaled, turned or shifted by a part.",
            "Give it the image's scale and a shift of whole pixels.",
        )
    return int(origin[0]), int(origin[1])


def labels_of_region(project: Any, box: Box, plane: Plane) -> npt.NDArray[np.uint32]:
    """Object ids over a box, for an ordinary Labels layer.

    Raises
    ------
    UsageError
        The box is too large to lie in memory.
    """
    if box.area > MAX_PIXELS:
        raise UsageError(
            f"{box.height:,} x {box.width:,} pixels are too many for an ordinary layer.", "Zoom in on a part."
        )
    labels: npt.NDArray[np.uint32] = project.labels(box, plane)
    return labels


def outlines_of_shapes(data: Sequence[Any], kinds: Sequence[str]) -> list[npt.NDArray[np.float64]]:
    """Corners (y, x) of the shapes that have an area, in the layer's own pixels; of the last two axes."""
    found = []
    for corners, kind in zip(data, kinds, strict=True):
        flat = np.asarray(corners, np.float64)[:, -2:]
        if kind not in FLAT:
            found.append(ellipse_corners(flat) if kind == "ellipse" else flat)
    return found


def _in_image(layer: Any, image: Any, corner: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    position = np.zeros(layer.ndim)
    position[-2:] = corner
    world = np.asarray(layer.data_to_world(position))
    whole = np.zeros(max(image.ndim, len(world)))
    whole[len(whole) - len(world) :] = world
    return np.asarray(image.world_to_data(whole[-image.ndim :]))[-2:]

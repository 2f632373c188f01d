"""Bringing an object into view, and finding the one under the mouse. No Qt here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from napari_relay.geometry import Box, Plane
from napari_relay.widgets.tool import SLACK_PX
from napari_relay.widgets.transforms import Frame, unit_ratio

SHARE = 0.35
"""Part of the canvas's shorter side that an object fills when it is flown to."""
MOST_ZOOM = 8.0
"""Canvas pixels a level-0 pixel at most: a tiny object is not blown up."""


def fly_to(viewer: Any, layer: Any, box: Box, plane: Plane, sizes: tuple[int, int]) -> None:
    """Centre the view on a level-0 box of an image layer, on its plane, at a scale at which it is well seen.

    Parameters
    ----------
    sizes : (sizes_t, sizes_z) of the image.
    """
    frame = Frame.of(layer)
    ratio = unit_ratio(viewer.layers.extent.units, layer.units)
    y, x = (frame.matrix @ np.array([*box.centre, 1.0]))[:2] / ratio[-2:]
    _show_plane(viewer, layer, plane, sizes, ratio)
    pixel = frame.pixel_size / float(np.sqrt(ratio[-1] * ratio[-2]))
    side = max(box.height, box.width, 1) * pixel
    camera = viewer.scene.camera
    camera.zoom = min(SHARE * max(1, min(viewer.canvas.size)) / side, MOST_ZOOM / pixel)
    camera.center = (*camera.center[:-2], float(y), float(x))


def _show_plane(viewer: Any, layer: Any, plane: Plane, sizes: tuple[int, int], ratio: Any) -> None:
    indices = [index for index, size in zip((plane.t, plane.z), sizes, strict=True) if size > 1]
    leading = layer.ndim - 2
    if not leading or not indices:
        return
    data = np.zeros(layer.ndim)
    data[leading - len(indices) : leading] = indices
    world = np.asarray(layer.data_to_world(data)) / ratio
    offset = viewer.dims.ndim - layer.ndim
    for axis in range(leading - len(indices), leading):
        viewer.dims.set_point(offset + axis, float(world[axis]))


class PickTool:
    """Ctrl + click on the canvas: which object is there? Taken from the viewer while it lives.

    Parameters
    ----------
    viewer : napari Viewer, not a proxy of it.
    on_pick : called with the world position.
    """

    def __init__(self, viewer: Any, on_pick: Callable[[tuple[float, ...]], None]) -> None:
        self.viewer, self._on_pick = viewer, on_pick
        viewer.mouse_drag_callbacks.append(self._drag)

    def close(self) -> None:
        """Give the viewer back as it was; a second call does nothing."""
        if self._drag in self.viewer.mouse_drag_callbacks:
            self.viewer.mouse_drag_callbacks.remove(self._drag)

    def _drag(self, _viewer: Any, event: Any) -> Iterator[None]:
        if event.button != 1 or event.view_direction is not None or set(event.modifiers) != {"Control"}:
            return
        start, position = tuple(event.pos), tuple(event.position)
        farthest = 0.0
        yield
        while event.type == "mouse_move":
            farthest = max(farthest, *(abs(a - b) for a, b in zip(start, event.pos, strict=True)))
            yield
        if farthest <= SLACK_PX:
            self._on_pick(position)

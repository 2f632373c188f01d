"""What the viewer shows of the image worked on: where a place on the canvas lies, which plane it is, how close it is.

Follows the viewer's axes and the layer's transform, whoever changes them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from psygnal import Signal

from napari_relay.geometry import Box, Plane
from napari_relay.views.values import VIEW_SIDE
from napari_relay.widgets.binding import LayerShape
from napari_relay.widgets.transforms import Frame, ImagePoint, first_click_zoom, refusal, world_to_data

TRANSFORM_EVENTS = ("scale", "translate", "rotate", "shear", "affine", "units")
DIMS_EVENTS = ("current_step", "ndisplay", "order", "ndim")


class Sight:
    """Who makes it closes it.

    Attributes
    ----------
    blocked : why what is shown cannot be clicked; empty when it can.
    frame : where the image's rows and columns lie; None before the first look.
    changed : other axes, another plane or another transform.
    """

    changed = Signal()

    def __init__(self, viewer: Any, later: Callable[[Callable[[], None]], None]) -> None:
        self.viewer = viewer
        self.layer: Any = None
        self.blocked = ""
        self.frame: Frame | None = None
        self.sizes_t_z: tuple[int, int] = (1, 1)
        self._later = later
        self._waits = False
        for name in DIMS_EVENTS:
            getattr(viewer.dims.events, name).connect(self._look)

    def look_at(self, layer: Any) -> None:
        """Follow this layer and no other; None follows nothing."""
        for name in TRANSFORM_EVENTS if self.layer is not None else ():
            getattr(self.layer.events, name).disconnect(self._transformed)
        self.layer = layer
        if layer is not None:
            for name in TRANSFORM_EVENTS:
                getattr(layer.events, name).connect(self._transformed)
            leading = (1, 1, *LayerShape.of(layer).leading)
            self.sizes_t_z = (leading[-2], leading[-1])
        self._look()

    def close(self) -> None:
        for name in DIMS_EVENTS:
            getattr(self.viewer.dims.events, name).disconnect(self._look)
        self.look_at(None)

    @property
    def plane(self) -> Plane:
        """The plane shown."""
        return self.point(tuple(self.viewer.dims.point)).plane

    @property
    def zoom(self) -> float:
        """Level-0 pixels per view pixel at which a view covers the canvas's shorter side."""
        size, zoom = self.viewer.canvas.size, float(self.viewer.scene.camera.zoom)
        pixel = self.frame.pixel_size if self.frame is not None else 1.0
        return first_click_zoom((int(size[0]), int(size[1])), zoom, pixel, VIEW_SIDE)

    def point(self, position: tuple[float, ...]) -> ImagePoint:
        """The place in the image under a world position."""
        return world_to_data(self.layer, position, self.sizes_t_z, self.viewer.layers.extent.units)

    def inside(self, point: ImagePoint) -> bool:
        """Whether the place lies on a pixel of the image."""
        height, width = LayerShape.of(self.layer).plane
        return math.isfinite(point.y + point.x) and Box(0, 0, height, width).contains(point.y, point.x)

    def _look(self, event: Any = None) -> None:
        dims, layer = self.viewer.dims, self.layer
        self.blocked = ""
        if layer is not None:
            self.blocked = refusal(layer, displayed=dims.displayed, ndim=dims.ndim, ndisplay=dims.ndisplay)
            if not self.blocked:
                self.frame = Frame.of(layer)
        self.changed.emit()

    def _transformed(self, event: Any = None) -> None:
        # One drag of a layer fires several of these events; they are answered once, in the next turn.
        if not self._waits:
            self._waits = True
            self._later(self._look_again)

    def _look_again(self) -> None:
        self._waits = False
        self._look()

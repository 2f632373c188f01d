"""Which image is worked on: follows the viewer's layers, so that the user never has to select one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari.layers import Image
from psygnal import Signal


class ImageChoice:
    """The viewer's Image layers and the chosen one.

    The first image is chosen by itself; when the chosen one is deleted, the next is.

    Attributes
    ----------
    changed : the list or a name changed.
    chosen : Signal(layer or None): another image is worked on now.
    """

    changed = Signal()
    chosen = Signal(object)

    def __init__(self, viewer: Any) -> None:
        self.viewer = viewer
        self.layer: Any = None
        events = viewer.layers.events
        self._connections: list[tuple[Any, Callable[..., None]]] = [
            (events.inserted, self._inserted),
            (events.removed, self._removed),
            (events.reordered, self._listed),
            (events.renamed, self._listed),
        ]
        for emitter, callback in self._connections:
            emitter.connect(callback)
        if self.images:
            self.layer = self._preferred()

    @property
    def images(self) -> list[Any]:
        """Image layers that can be clicked, the topmost first."""
        return [layer for layer in reversed(self.viewer.layers) if isinstance(layer, Image) and layer.ndim >= 2]

    def choose(self, layer: Any) -> None:
        if layer is not self.layer:
            self.layer = layer
            self.chosen.emit(layer)

    def close(self) -> None:
        for emitter, callback in self._connections:
            emitter.disconnect(callback)
        self._connections.clear()

    def _preferred(self) -> Any:
        active = self.viewer.layers.selection.active
        images = self.images
        if any(active is image for image in images):
            return active
        return images[0] if images else None

    def _inserted(self, event: Any = None) -> None:
        self.changed.emit()
        if self.layer is None and self.images:
            self.choose(self._preferred())

    def _removed(self, event: Any) -> None:
        self.changed.emit()
        if event.value is self.layer:
            self.choose(self._preferred())

    def _listed(self, event: Any = None) -> None:
        self.changed.emit()

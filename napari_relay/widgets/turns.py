"""Calls in later turns of the event loop, one a turn, so that frames and mouse events come in between."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from qtpy.QtCore import QObject, QTimer


class Turns(QObject):
    """A queue of calls; ends with its parent."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._calls: deque[Callable[[], None]] = deque()
        self._timer = QTimer(self)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._next)

    def later(self, call: Callable[[], None]) -> None:
        self._calls.append(call)
        self._timer.start()

    def stop(self) -> None:
        self._calls.clear()
        self._timer.stop()

    def _next(self) -> None:
        call = self._calls.popleft()
        if not self._calls:
            self._timer.stop()
        call()


class TakeAway(QObject):
    """Takes layers out of a viewer one by one, with a frame in between, then ends.

    Several taken away between two frames make the canvas draw with buffers that are gone, which software OpenGL
    does not survive (napari 0.9.2, vispy 0.17).
    """

    PAUSE_MS = 20

    def __init__(self, viewer: Any, layers: Iterable[Any], parent: QObject) -> None:
        super().__init__(parent)
        self._viewer, self._layers = viewer, list(layers)
        self._timer = QTimer(self)
        self._timer.setInterval(self.PAUSE_MS)
        self._timer.timeout.connect(self._next)
        self._timer.start()

    def _next(self) -> None:
        if not self._layers:
            self._timer.stop()
            self.deleteLater()
            return
        layer = self._layers.pop()
        if layer in self._viewer.layers:
            self._viewer.layers.remove(layer)

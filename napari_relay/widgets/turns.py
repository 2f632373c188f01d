"""Calls in later turns of the event loop, one a turn, so that frames and mouse events come in between."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from qtpy.QtCore import QObject, QTimer


class Turns(QObject):
    """A queue of calls; ends with its parent."""

    MOMENT_MS = 8
    """Half a frame. Qt composes a frame with the interpreter held, and a transaction of 3 ms would wait for it."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._calls: deque[Callable[[], None]] = deque()
        self._timer = QTimer(self)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._next)
        self._coming: list[Callable[[], None]] = []
        self._moment = QTimer(self)
        self._moment.setSingleShot(True)
        self._moment.setInterval(self.MOMENT_MS)
        self._moment.timeout.connect(self._arrive)

    def later(self, call: Callable[[], None]) -> None:
        self._calls.append(call)
        self._timer.start()

    def soon(self, call: Callable[[], None]) -> None:
        """As `later`, but a moment later: the threads that were just given work get the interpreter first."""
        self._coming.append(call)
        self._moment.start()

    def stop(self) -> None:
        self._calls.clear()
        self._coming.clear()
        self._timer.stop()
        self._moment.stop()

    def _arrive(self) -> None:
        coming, self._coming = self._coming, []
        for call in coming:
            self.later(call)

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

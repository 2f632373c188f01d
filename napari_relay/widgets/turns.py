"""Calls in later turns of the event loop, one a turn, so that frames and mouse events come in between."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

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

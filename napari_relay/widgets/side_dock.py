"""What the docks beside the image have in common: the dock's x ends them."""

from __future__ import annotations

from qtpy.QtCore import QEvent, Signal
from qtpy.QtWidgets import QWidget


class SideDock(QWidget):
    """A widget that lives as long as its dock. Who makes it calls `shutdown`."""

    closed = Signal()
    """The user closed the dock; the widget is of no use any more."""

    def __init__(self) -> None:
        super().__init__()
        self._docked = False

    def shutdown(self) -> None:
        """Let go of everything. A second call does nothing."""

    def event(self, event: QEvent | None) -> bool:
        if event is not None and event.type() == QEvent.Type.ParentChange:
            if self.parent() is not None:
                self._docked = True
            elif self._docked:
                # The dock's x: napari forgets the widget.
                self.shutdown()
                self.closed.emit()
                self.deleteLater()
        return bool(super().event(event))

"""The dock's column: it scrolls up and down, and is never narrower than what it holds."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject, QSize, Qt
from qtpy.QtWidgets import QFrame, QPushButton, QScrollArea, QVBoxLayout, QWidget


class Column(QScrollArea):
    """Holds one widget of any height, at least `width_px` wide.

    A plain scroll area says that it may be of any width, and what it holds is cut off at the right when the font
    grows; this one asks for the room.
    """

    def __init__(self, body: QWidget, width_px: int, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._width_px = width_px
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWidget(body)
        body.installEventFilter(self)

    def minimumSizeHint(self) -> QSize:
        body, bar = self.widget(), self.verticalScrollBar()
        width = body.minimumSizeHint().width() if body is not None else 0
        return QSize(max(self._width_px, width + (bar.sizeHint().width() if bar is not None else 0)), 120)

    def sizeHint(self) -> QSize:
        return self.minimumSizeHint().expandedTo(super().sizeHint())

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        if event is not None and event.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return bool(super().eventFilter(watched, event))


class Fold(QWidget):
    """A title that opens and closes what lies under it; closed at first."""

    def __init__(self, title: str, content: QWidget, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.title, self.content = title, content
        self.button = QPushButton()
        self.button.setCheckable(True)
        self.button.toggled.connect(self._show)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.button)
        layout.addWidget(content)
        self._show(False)

    def _show(self, opened: bool) -> None:
        mark = "\u25be" if opened else "\u25b8"
        self.button.setText(f"{mark}  {self.title}")
        self.content.setVisible(opened)

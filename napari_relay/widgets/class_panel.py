"""The classes: a row each with colour, digit and name; the current one is marked; a field makes a new one."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from napari_relay.widgets.keys import Field
from napari_relay.widgets.state import ClassChoice

SWATCH_PX = 14
MOST_ROWS = 6
"""Rows shown without scrolling."""


class ClassPanel(QWidget):
    """The list tells which class was picked; it never changes its own choice before the project has."""

    picked = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.list = QListWidget()
        self.list.setUniformItemSizes(True)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.list.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.list.itemClicked.connect(lambda item: self.picked.emit(item.data(Qt.ItemDataRole.UserRole)))
        self.field = Field()
        self.field.setPlaceholderText("New class ...")
        self.field.setMaxLength(200)
        self.field.returnPressed.connect(self._added)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.list)
        layout.addWidget(self.field)
        self._shown: tuple[object, ...] = ()

    def show_classes(self, classes: Sequence[ClassChoice], current: str) -> None:
        state = (tuple(classes), current)
        if state == self._shown:
            return
        self._shown = state
        self.list.clear()
        for choice in classes:
            item = QListWidgetItem(swatch(choice.color), _label(choice))
            item.setData(Qt.ItemDataRole.UserRole, choice.name)
            item.setToolTip(choice.name)
            self.list.addItem(item)
            if choice.name == current:
                self.list.setCurrentItem(item)
        row = max(self.list.sizeHintForRow(0), self.list.fontMetrics().height() + 4)
        rows = min(max(len(classes), 1), MOST_ROWS)
        self.list.setFixedHeight(rows * row + 2 * self.list.frameWidth() + 2)

    def _added(self) -> None:
        name = self.field.text().strip()
        self.field.clear()
        if name:
            self.picked.emit(name)


def swatch(color: str) -> QIcon:
    """A square of the colour."""
    pixmap = QPixmap(SWATCH_PX, SWATCH_PX)
    pixmap.fill(QColor(color))
    icon = QIcon(pixmap)
    # Without one of its own, a selected row's icon is tinted, and the colour is no longer the class's.
    icon.addPixmap(pixmap, QIcon.Mode.Selected)
    return icon


def _label(choice: ClassChoice) -> str:
    return f"{choice.digit}  {choice.name}" if choice.digit else choice.name

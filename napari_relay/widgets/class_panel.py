"""The classes: a row each with colour, digit and name, those below another set in; the current one is marked; a field
makes a new one, a menu edits them."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QMenu,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_relay.widgets.class_dialog import ClassDialog
from napari_relay.widgets.keys import Field
from napari_relay.widgets.state import ClassChoice

SWATCH_PX = 14
TEMPLATE_SUFFIX = ".classes.json"
MOST_ROWS = 6
"""Rows shown without scrolling."""


class ClassPanel(QWidget):
    """The list tells which class was picked; it never changes its own choice before the project has.

    Attributes
    ----------
    picked : name of a class, known or new.
    edited : (name, ClassChoice): what the class shall become.
    removed : name of a class that shall go.
    saved, loaded : path of a template file.
    """

    picked = Signal(str)
    edited = Signal(str, object)
    removed = Signal(str)
    saved = Signal(str)
    loaded = Signal(str)

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
        self.more = QToolButton()
        self.more.setText("Edit")
        self.more.setToolTip("Edit or remove the chosen class; save the classes as a template, or load one")
        self.more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.more.setMenu(self._menu())
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.list)
        row = QHBoxLayout()
        row.addWidget(self.field, 1)
        row.addWidget(self.more)
        layout.addLayout(row)
        self._choices: tuple[ClassChoice, ...] = ()
        self._shown: tuple[object, ...] = ()

    def show_classes(self, classes: Sequence[ClassChoice], current: str) -> None:
        state = (tuple(classes), current)
        if state == self._shown:
            return
        self._shown, self._choices = state, tuple(classes)
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

    def edit(self) -> None:
        """Open the dialog for the chosen class."""
        choice = self._chosen()
        if choice is not None:
            dialog = ClassDialog(choice, self._choices, self)
            dialog.edited.connect(lambda spec: self.edited.emit(choice.name, spec))
            dialog.open()

    def _menu(self) -> QMenu:
        menu = QMenu(self)
        menu.addAction("Edit class ...", self.edit)
        menu.addAction("Remove class", self._remove)
        menu.addSeparator()
        menu.addAction("Save classes as a template ...", self._save)
        menu.addAction("Load a template ...", self._load)
        return menu

    def _chosen(self) -> ClassChoice | None:
        row = self.list.currentRow()
        return self._choices[row] if 0 <= row < len(self._choices) else None

    def _remove(self) -> None:
        choice = self._chosen()
        if choice is not None:
            self.removed.emit(choice.name)

    def _save(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Save the classes", "", f"Class template (*{TEMPLATE_SUFFIX})")
        if name:
            self.saved.emit(name if name.endswith(".json") else name + TEMPLATE_SUFFIX)

    def _load(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Load classes", "", "Class template (*.json)")
        if name:
            self.loaded.emit(name)

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
    name = "    " * choice.depth + choice.name
    return name if choice.digit is None else f"{choice.digit}  {name}"

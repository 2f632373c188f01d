"""Editing one class: name, colour, key, and the class above it."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QColorDialog, QComboBox, QDialog, QDialogButtonBox, QFormLayout, QPushButton, QWidget

from napari_relay.widgets.keys import Field
from napari_relay.widgets.state import ClassChoice

DIGITS = "1234567890"
NONE = "none"


class ClassDialog(QDialog):
    """A form for a class; emits what it shall become when it is confirmed.

    Parameters
    ----------
    choice : the class.
    others : all classes, for the choice of the one above.
    """

    edited = Signal(object)
    """A ClassChoice; its depth does not count."""

    def __init__(self, choice: ClassChoice, others: Sequence[ClassChoice], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(f"Class {choice.name}")
        self.name = Field(choice.name)
        self.name.setMaxLength(200)
        self.color = QPushButton()
        self.color.clicked.connect(self._pick_color)
        self.key = QComboBox()
        self.key.addItems([NONE, *DIGITS])
        self.key.setCurrentText(NONE if choice.digit is None else str(choice.digit))
        self.parent_class = QComboBox()
        self.parent_class.addItems([NONE, *(other.name for other in others if other.name != choice.name)])
        self.parent_class.setCurrentText(choice.parent or NONE)
        self._set_color(choice.color)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel)
        buttons.accepted.connect(self._confirm)
        buttons.rejected.connect(self.reject)
        form = QFormLayout(self)
        form.addRow("Name", self.name)
        form.addRow("Colour", self.color)
        form.addRow("Key", self.key)
        form.addRow("Below", self.parent_class)
        form.addRow(buttons)

    def _pick_color(self) -> None:
        color = QColorDialog.getColor(QColor(self._color), self, "Colour of the class")
        if color.isValid():
            self._set_color(color.name())

    def _set_color(self, color: str) -> None:
        self._color = color
        self.color.setText(color)
        self.color.setStyleSheet(f"background-color: {color}; color: {_readable_on(color)}")

    def _confirm(self) -> None:
        key, parent = self.key.currentText(), self.parent_class.currentIndex()
        self.edited.emit(
            ClassChoice(
                self.name.text().strip(), self._color, None if key == NONE else int(key), 0,
                self.parent_class.currentText() if parent > 0 else "",
            )
        )  # fmt: skip
        self.accept()


def _readable_on(color: str) -> str:
    """Black or white, whichever stands out from the colour."""
    return "black" if QColor(color).lightness() > 127 else "white"

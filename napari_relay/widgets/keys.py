"""The keys of the click tool, and how they reach it.

napari asks the active layer's key map first, then the viewer's, and never sees Tab at all. So nothing is bound in
napari: an event filter on the canvas (and on the main window, where keys end up that no widget wanted) takes our
keys while the tool is armed and lets every other key through. Disarming takes the filter's answers away; there is
no binding to restore.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QAbstractSpinBox, QApplication, QComboBox, QLineEdit, QPlainTextEdit, QTextEdit, QWidget


class Command(StrEnum):
    ACCEPT = "accept"
    DROP = "drop"
    NEXT = "next"
    UNDO = "undo"
    REDO = "redo"
    CLASS = "class"
    TOOL = "tool"
    WIDTH = "width"
    FILL = "fill"
    HELP = "help"


@dataclass(frozen=True, slots=True)
class KeyCommand:
    """What a key asks for; `digit` is 0-9 for a class, `tool` names a drawing tool, `more` asks for a wider brush."""

    command: Command
    digit: int = -1
    tool: str = ""
    more: bool = False


MOUSE_TABLE: tuple[tuple[str, str], ...] = (
    ("Left click", "inside the object: add it"),
    ("Shift + left click", "outside the object: remove it"),
    ("Drag, wheel", "pan and zoom, at any time"),
    ("Rest the mouse", "prepares the place for a click"),
)
KEY_TABLE: tuple[tuple[str, str], ...] = (
    ("Enter", "accept the mask as an object"),
    ("Esc", "leave a drawing tool; else drop the mask and its clicks"),
    ("Tab", "next mask of the first click"),
    ("Ctrl + Z", "take back the last click; without clicks, the last change"),
    ("Ctrl + Shift + Z", "do it again"),
    ("0 ... 9", "class of the next object"),
    ("B E L S X D", "brush, eraser, lasso, scribble, box, delete in a rectangle; the same key or Esc: click again"),
    ("[ and ]", "narrower and wider brush"),
    ("H", "fill holes"),
    ("?", "this list"),
)
FOLDER_TABLE: tuple[tuple[str, str], ...] = (
    ("Page Down, Page Up", "next and previous image of a folder"),
    ("Ctrl + Enter", "this image is done; the next of the folder"),
)

_EDITORS = (QAbstractSpinBox, QComboBox, QLineEdit, QPlainTextEdit, QTextEdit)
_ENTER = (Qt.Key.Key_Return, Qt.Key.Key_Enter)
_TOOLS = {"b": "brush", "e": "eraser", "l": "lasso", "s": "scribble", "x": "box", "d": "delete"}
_PLAIN = {Qt.Key.Key_Escape: Command.DROP, Qt.Key.Key_Tab: Command.NEXT}


def command_of(event: QKeyEvent) -> KeyCommand | None:
    """The command of a key press, None if the key is not ours.

    Digits and the question mark are known by the character they make, so that they work on every keyboard.
    """
    modifiers = event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier
    key, text = event.key(), event.text()
    control, shift = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
    if key == Qt.Key.Key_Z and modifiers == control:
        return KeyCommand(Command.UNDO)
    if key == Qt.Key.Key_Z and modifiers == control | shift:
        return KeyCommand(Command.REDO)
    if modifiers == Qt.KeyboardModifier.NoModifier and not event.isAutoRepeat():
        if key in _ENTER:
            return KeyCommand(Command.ACCEPT)
        if key in _PLAIN:
            return KeyCommand(_PLAIN[Qt.Key(key)])
        if text.lower() in _TOOLS:
            return KeyCommand(Command.TOOL, tool=_TOOLS[text.lower()])
        if text.lower() == "h":
            return KeyCommand(Command.FILL)
    if text in ("[", "]"):  # on many keyboards with AltGr, which is no modifier here or several
        return KeyCommand(Command.WIDTH, more=text == "]")
    if modifiers in (Qt.KeyboardModifier.NoModifier, shift):
        if text == "?":
            return KeyCommand(Command.HELP)
        if len(text) == 1 and text in "0123456789":
            return KeyCommand(Command.CLASS, int(text))
    return None


def edits_text(widget: QWidget | None) -> bool:
    """Whether the widget wants letters, digits and Enter for itself."""
    return isinstance(widget, _EDITORS)


class KeyFilter(QObject):
    """Hands our keys to `on_command` while `armed`; installed on the canvas and on the main window.

    `on_command` returns whether it used the key; an unused one goes on to napari.
    """

    def __init__(self, on_command: Callable[[KeyCommand], bool], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.armed = False
        self._on_command = on_command
        self._targets: list[QObject] = []

    def install(self, *targets: QObject) -> None:
        for target in targets:
            if not any(known is target for known in self._targets):
                target.installEventFilter(self)
                self._targets.append(target)

    def uninstall(self) -> None:
        self.armed = False
        for target in self._targets:
            try:
                target.removeEventFilter(self)
            except RuntimeError:  # The window is being destroyed and the C++ object is already gone.
                continue
        self._targets.clear()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        if not self.armed or event is None or event.type() != QEvent.Type.KeyPress:
            return False
        if edits_text(QApplication.focusWidget()):
            # A key that a text field did not want ends up at the main window; it was meant for the field.
            return False
        return self.handle(event)

    def handle(self, event: Any) -> bool:
        """Take a key press if it is ours; True when it was used."""
        command = command_of(event)
        return command is not None and self._on_command(command)


class Field(QLineEdit):
    """A line edit whose Enter and Esc stay its own: Qt would pass them on, and Enter would accept the mask."""

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        super().keyPressEvent(event)
        if event is not None and event.key() in (*_ENTER, Qt.Key.Key_Escape):
            self.clearFocus()
            event.accept()


class EndsEditing(QObject):
    """Event filter for spin boxes and combo boxes made elsewhere: Enter and Esc end the editing and go no further."""

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        if (
            isinstance(event, QKeyEvent)
            and event.type() == QEvent.Type.KeyPress
            and event.key() in (*_ENTER, Qt.Key.Key_Escape)
            and isinstance(watched, QWidget)
        ):
            watched.clearFocus()
            return True
        return False

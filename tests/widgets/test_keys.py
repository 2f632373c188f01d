"""Which keys are ours."""

from __future__ import annotations

import pytest
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QLabel, QLineEdit

from napari_relay.widgets.keys import KEY_TABLE, Command, KeyCommand, KeyFilter, command_of

NONE, SHIFT = Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.ShiftModifier
CONTROL, KEYPAD = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.KeypadModifier
ALT = Qt.KeyboardModifier.AltModifier


def press(key: Qt.Key, modifiers: Qt.KeyboardModifier = NONE, text: str = "", *, repeated: bool = False) -> QKeyEvent:
    return QKeyEvent(QEvent.Type.KeyPress, key, modifiers, text, repeated)


@pytest.mark.parametrize(
    ("event", "command"),
    [
        (press(Qt.Key.Key_Return), KeyCommand(Command.ACCEPT)),
        (press(Qt.Key.Key_Enter, KEYPAD), KeyCommand(Command.ACCEPT)),
        (press(Qt.Key.Key_Escape), KeyCommand(Command.DROP)),
        (press(Qt.Key.Key_Tab), KeyCommand(Command.NEXT)),
        (press(Qt.Key.Key_Z, CONTROL), KeyCommand(Command.UNDO)),
        (press(Qt.Key.Key_Z, CONTROL | SHIFT), KeyCommand(Command.REDO)),
        (press(Qt.Key.Key_Z, CONTROL, repeated=True), KeyCommand(Command.UNDO)),
        (press(Qt.Key.Key_3, NONE, "3"), KeyCommand(Command.CLASS, 3)),
        (press(Qt.Key.Key_3, KEYPAD, "3"), KeyCommand(Command.CLASS, 3)),
        # A French keyboard: digits are with Shift, and "?" too.
        (press(Qt.Key.Key_3, SHIFT, "3"), KeyCommand(Command.CLASS, 3)),
        (press(Qt.Key.Key_Question, SHIFT, "?"), KeyCommand(Command.HELP)),
        (press(Qt.Key.Key_Return, repeated=True), None),
        (press(Qt.Key.Key_Return, SHIFT), None),
        (press(Qt.Key.Key_0, NONE, "0"), KeyCommand(Command.CLASS, 0)),
        (press(Qt.Key.Key_3, ALT, "3"), None),
        (press(Qt.Key.Key_3, SHIFT, "#"), None),
        (press(Qt.Key.Key_Z, NONE, "z"), None),
        (press(Qt.Key.Key_Space, NONE, " "), None),
    ],
)
def test_keys_and_their_commands(event: QKeyEvent, command: KeyCommand | None) -> None:
    assert command_of(event) == command


def test_every_command_stands_in_the_table() -> None:
    assert len(KEY_TABLE) == len(Command)


def test_the_filter_takes_our_keys_only_while_armed(qtbot: object) -> None:
    seen: list[KeyCommand] = []
    used = [True]

    def take(command: KeyCommand) -> bool:
        seen.append(command)
        return used[0]

    keys, target = KeyFilter(take), QObject()
    event = press(Qt.Key.Key_Return)

    assert not keys.eventFilter(target, event)
    keys.armed = True
    assert keys.eventFilter(target, event)
    assert not keys.eventFilter(target, press(Qt.Key.Key_V, NONE, "v"))
    used[0] = False
    assert not keys.eventFilter(target, press(Qt.Key.Key_Escape))
    assert [command.command for command in seen] == [Command.ACCEPT, Command.DROP]


def test_installing_twice_answers_once_and_uninstalling_ends_it(qtbot: object) -> None:
    seen: list[KeyCommand] = []
    label = QLabel()
    keys = KeyFilter(lambda command: bool(seen.append(command)) or True)
    keys.armed = True
    keys.install(label, label)

    from qtpy.QtWidgets import QApplication

    QApplication.sendEvent(label, press(Qt.Key.Key_Return))
    keys.uninstall()
    keys.armed = True
    QApplication.sendEvent(label, press(Qt.Key.Key_Return))

    assert len(seen) == 1
    label.deleteLater()


def test_a_text_field_keeps_its_keys(qtbot: object) -> None:
    field = QLineEdit()
    qtbot.addWidget(field)  # type: ignore[attr-defined]
    field.show()
    field.activateWindow()
    field.setFocus()
    qtbot.waitUntil(field.hasFocus)  # type: ignore[attr-defined]
    keys = KeyFilter(lambda command: True)
    keys.armed = True

    assert not keys.eventFilter(field, press(Qt.Key.Key_Return))

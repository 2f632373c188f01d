"""What keys and buttons ask for, done. No Qt here."""

from __future__ import annotations

from collections.abc import Callable

from napari_relay.widgets.desk import Desk
from napari_relay.widgets.draw_work import DrawWork
from napari_relay.widgets.keys import Command, KeyCommand


class Commands:
    """Called with what is asked for; True when it was used.

    Parameters
    ----------
    desk : the image worked on.
    drawing : the drawing tools.
    show_keys : shows the page with all keys.
    """

    def __init__(self, desk: Desk, drawing: DrawWork, show_keys: Callable[[], None]) -> None:
        self._desk, self._drawing, self._show_keys = desk, drawing, show_keys

    def __call__(self, asked: KeyCommand) -> bool:
        controller = self._desk.controller
        match asked.command:
            case Command.HELP:
                self._show_keys()
            case Command.TOOL:
                self._drawing.take(asked.tool)
            case Command.WIDTH:
                self._drawing.widen(more=asked.more)
            case Command.DROP if self._drawing.leave():
                pass
            case _ if controller is None:
                return False
            case Command.FILL:
                self._drawing.fill()
            case Command.ACCEPT:
                controller.accept()
            case Command.DROP:
                return controller.drop()
            case Command.NEXT:
                controller.next_mask()
            case Command.UNDO:
                controller.undo()
            case Command.REDO:
                controller.redo()
            case Command.CLASS:
                return controller.choose_class(asked.digit)
        return True

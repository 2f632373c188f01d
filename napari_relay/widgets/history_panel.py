"""The history of a project: what was done, newest first, and the way to any point of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QFont
from qtpy.QtWidgets import QHBoxLayout, QLabel, QListWidget, QListWidgetItem, QPushButton, QVBoxLayout, QWidget

from napari_relay.store import Action
from napari_relay.widgets.threads import Runner

SHOWN = 500
"""Actions listed; older ones are reached through the oldest of these."""
_ID = Qt.ItemDataRole.UserRole


class HistoryPanel(QWidget):
    """A list of actions. What was undone is grey; the point where the project stands is bold.

    Parameters
    ----------
    project : a Project.
    runner : reads it in the background.
    write : does changes of the project, and shows what went wrong.
    """

    def __init__(
        self,
        project: Any,
        runner: Runner,
        write: Callable[[Callable[[Any], object]], None],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._project, self._runner, self._write = project, runner, write
        self._waits = False
        self.list = QListWidget()
        self.list.setUniformItemSizes(True)
        self.go = QPushButton("Go there")
        self.go.setToolTip("Undo or redo until this is the newest that is done. Nothing is lost by looking back.")
        self.go.setEnabled(False)
        self.list.itemDoubleClicked.connect(lambda _: self._jump())
        self.list.currentItemChanged.connect(lambda *_: self._chosen())
        self.go.clicked.connect(lambda _=False: self._jump())
        foot = QHBoxLayout()
        foot.addWidget(QLabel("Double-click goes to that point."), 1)
        foot.addWidget(self.go)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(self.list, 1)
        layout.addLayout(foot)

    def load(self) -> None:
        """Read the history again; asked for while that waits, it is done once."""
        if self._waits:
            return
        self._waits = True

        def read() -> list[Action]:
            self._waits = False
            actions: list[Action] = self._project.history(SHOWN)
            return actions

        self._runner.submit(read, self._show)

    def _show(self, actions: list[Action]) -> None:
        here = next((action.id for action in actions if action.state == "done"), 0)
        chosen = self._current()
        self.list.clear()
        for action in actions:
            when = action.created.replace("T", " ").split(".")[0]
            words = f"{action.id}   {action.summary}   {when}  {action.author}"
            self._add(action.id, words, undone=action.state == "undone", here=action.id == here)
        if len(actions) < SHOWN:
            self._add(0, "0   the beginning", undone=False, here=here == 0)
        for row in range(self.list.count()):
            item = self.list.item(row)
            if item is not None and item.data(_ID) == chosen:
                self.list.setCurrentItem(item)
        self._chosen()

    def _add(self, action_id: int, words: str, *, undone: bool, here: bool) -> None:
        item = QListWidgetItem(words)
        item.setData(_ID, action_id)
        item.setToolTip(words)
        if undone:
            item.setForeground(self.palette().color(self.palette().ColorGroup.Disabled, self.palette().ColorRole.Text))
        if here:
            font = QFont(item.font())
            font.setBold(True)
            item.setFont(font)
        self.list.addItem(item)

    def _current(self) -> int | None:
        item = self.list.currentItem()
        return None if item is None else int(item.data(_ID))

    def _chosen(self) -> None:
        self.go.setEnabled(self._current() is not None)

    def _jump(self) -> None:
        target = self._current()
        if target is not None:
            self._write(lambda project: project.jump(target))

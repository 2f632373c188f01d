"""The folder as a list: thumbnail, name, state and count of each image; next, previous and done by key or button."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QEvent, QObject, QSize, Qt
from qtpy.QtGui import QIcon, QImage, QKeyEvent, QPixmap
from qtpy.QtWidgets import (
    QApplication,
    QHBoxLayout,
    QLabel,
    QListView,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
)

from napari_relay.widgets.folder_work import BROKEN, DONE, NEW, Entry, FolderWork
from napari_relay.widgets.keys import edits_text
from napari_relay.widgets.side_dock import SideDock
from napari_relay.widgets.wording import plural

ICON_PX = 64
ROWS = 3
"""Rows that are always in view."""


class FolderPanel(SideDock):
    """Shows a `FolderWork`, and hands over what the user does. Who makes it calls `shutdown`."""

    def __init__(self, work: FolderWork) -> None:
        super().__init__()
        self.work = work
        self.count = QLabel()
        self.list = QListWidget()
        self.list.setIconSize(QSize(ICON_PX, ICON_PX))
        self.list.setUniformItemSizes(True)
        self.list.setMinimumHeight(ROWS * ICON_PX)
        self.list.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.list.setResizeMode(QListView.ResizeMode.Adjust)
        self.list.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.list.itemClicked.connect(self._picked)
        self.list.itemActivated.connect(self._picked)
        self.previous = self._button("Previous", "Page Up", lambda: self._go(-1))
        self.next = self._button("Next", "Page Down", lambda: self._go(1))
        self.done = self._button("Done, next", "Ctrl + Enter", self.finish)
        self.undone = self._button("Not done", "Take the mark away", lambda: work.mark_done(done=False))
        self._build()
        self.keys = FolderKeys(self)
        work.listed.connect(self._listed)
        work.changed.connect(self._changed)
        work.moved.connect(self._moved)
        self._listed()

    def finish(self) -> None:
        """Mark the image as done, and go on to the next."""
        if self.work.mark_done():
            self.work.step(1)

    def shutdown(self) -> None:
        """Let go of the work. A second call does nothing."""
        self.keys.uninstall()
        self.work.close()

    def _build(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 4, 4, 4)
        column.addWidget(self.count)
        column.addWidget(self.list, 1)
        for buttons in ((self.previous, self.next), (self.done, self.undone)):
            row = QHBoxLayout()
            for button in buttons:
                row.addWidget(button)
            column.addLayout(row)

    def _button(self, text: str, tip: str, act: Callable[[], object]) -> QPushButton:
        button = QPushButton(text)
        button.setToolTip(tip)
        button.clicked.connect(lambda _=False: act())
        return button

    def _go(self, by: int) -> None:
        self.work.step(by)

    def _picked(self, item: QListWidgetItem) -> None:
        self.work.go(self.list.row(item))
        self.list.setCurrentRow(self.work.index)

    def _listed(self) -> None:
        self.list.clear()
        for index, entry in enumerate(self.work.entries):
            item = QListWidgetItem(_blank(), words(entry, self.work.title(index)))
            item.setToolTip(str(entry.path))
            self.list.addItem(item)
        self._tell()

    def _changed(self, index: int) -> None:
        entry, item = self.work.entries[index], self.list.item(index)
        item.setText(words(entry, self.work.title(index)))
        item.setToolTip(entry.problem or str(entry.path))
        picture = self.work.thumbnails.pop(index, None)
        if picture is not None:
            item.setIcon(_icon(picture))
        self._tell()

    def _moved(self, index: int) -> None:
        self.list.setCurrentRow(index)
        self._tell()

    def _tell(self) -> None:
        work = self.work
        self.count.setText(f"{work.n_done} of {plural(len(work.entries), 'image')} done")
        self.previous.setEnabled(work.index > 0)
        self.next.setEnabled(0 <= work.index < len(work.entries) - 1)
        self.done.setEnabled(work.index >= 0)
        self.undone.setEnabled(work.index >= 0 and work.entries[work.index].state == DONE)


class FolderKeys(QObject):
    """Page Up, Page Down and Ctrl + Enter over canvas and window, whether the click tool is on or off."""

    def __init__(self, panel: FolderPanel) -> None:
        super().__init__(panel)
        self._panel = panel
        self._targets: list[QObject] = []

    def install(self, *targets: QObject) -> None:
        for target in targets:
            target.installEventFilter(self)
            self._targets.append(target)

    def uninstall(self) -> None:
        for target in self._targets:
            try:
                target.removeEventFilter(self)
            except RuntimeError:  # The window is being destroyed and the C++ object is already gone.
                continue
        self._targets.clear()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        if not isinstance(event, QKeyEvent) or event.type() != QEvent.Type.KeyPress:
            return False
        if edits_text(QApplication.focusWidget()) or event.isAutoRepeat():
            return False
        control = event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier == Qt.KeyboardModifier.ControlModifier
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and control:
            self._panel.finish()
        elif event.key() == Qt.Key.Key_PageDown:
            self._panel.work.step(1)
        elif event.key() == Qt.Key.Key_PageUp:
            self._panel.work.step(-1)
        else:
            return False
        return True


def words(entry: Entry, title: str) -> str:
    """Title, state and count of an image, in two lines."""
    if entry.state == BROKEN:
        return f"{title}\ncannot be read"
    if entry.state == NEW:
        return f"{title}\nnew"
    return f"{title}\n{plural(entry.n_objects, 'object')}{' · done' if entry.state == DONE else ''}"


def _icon(picture: Any) -> QIcon:
    """uint8 [y, x, 3] as an icon; a picture that is not square keeps its form."""
    height, width = picture.shape[:2]
    image = QImage(picture.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
    return QIcon(QPixmap.fromImage(image))


def _blank() -> QIcon:
    pixmap = QPixmap(ICON_PX, ICON_PX)
    pixmap.fill(Qt.GlobalColor.transparent)
    return QIcon(pixmap)

"""The status: how it stands in a few words, what to do next, and whether something runs."""

from __future__ import annotations

import html
from collections.abc import Sequence

from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QGridLayout, QLabel, QProgressBar, QVBoxLayout, QWidget

from napari_relay.widgets.wording import Words

BAR_HEIGHT_PX = 4
HINT_LINES = 4


def wrapped(text: str = "") -> QLabel:
    """A label that breaks its text into lines instead of widening the dock."""
    label = QLabel(text)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label


class StatusPanel(QWidget):
    """Headline, hint and a thin bar that moves while something is computed."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.headline = QLabel()
        self.headline.setTextFormat(Qt.TextFormat.RichText)
        self.headline.setWordWrap(True)
        self.hint = wrapped()
        self.hint.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(BAR_HEIGHT_PX)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (self.headline, self.bar, self.hint):
            layout.addWidget(widget)
        self._set_busy(False)

    def show_words(self, words: Words) -> None:
        text = f"<b style='font-size: large'>{html.escape(words.headline)}</b>"
        if self.headline.text() != text:
            self.headline.setText(text)
        if self.hint.text() != words.hint:
            self.hint.setText(words.hint)
        self._set_busy(words.busy)

    def changeEvent(self, event: QEvent | None) -> None:
        """napari's theme and font size come as style sheets, after the panel was made and at any time."""
        super().changeEvent(event)
        if event is not None and event.type() in (QEvent.Type.StyleChange, QEvent.Type.FontChange):
            self._keep_room()

    def showEvent(self, event: QShowEvent | None) -> None:
        super().showEvent(event)
        self._keep_room()

    def _keep_room(self) -> None:
        # Room for the longest hint is kept free, so that the panels below do not jump with each state.
        self.hint.ensurePolished()
        self.hint.setMinimumHeight(HINT_LINES * self.hint.fontMetrics().lineSpacing() + 2)

    def _set_busy(self, busy: bool) -> None:
        # An empty bar keeps its place: appearing and disappearing would move everything below it.
        maximum = 0 if busy else 1
        if self.bar.maximum() != maximum:
            self.bar.setRange(0, maximum)
            self.bar.setValue(0)


class KeyHints(QWidget):
    """Two columns: what to press, what it does; each section may have a title."""

    def __init__(
        self, *sections: tuple[str, Sequence[tuple[str, str]]], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(10)
        grid.setVerticalSpacing(3)
        grid.setColumnStretch(1, 1)
        for title, rows in sections:
            if title:
                heading = QLabel(f"<b style='font-size: large'>{html.escape(title)}</b>")
                grid.addWidget(heading, grid.rowCount(), 0, 1, 2)
            for keys, meaning in rows:
                row = grid.rowCount()
                grid.addWidget(QLabel(f"<b>{html.escape(keys)}</b>"), row, 0, Qt.AlignmentFlag.AlignTop)
                label = QLabel(meaning)
                label.setWordWrap(True)
                grid.addWidget(label, row, 1)

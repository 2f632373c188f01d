"""The table of a project's objects: filter, sort, select, and change many at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from qtpy.QtCore import QItemSelection, QItemSelectionModel, Qt, QTimer, Signal
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QInputDialog,
    QLabel,
    QMenu,
    QTableView,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_relay.store import ObjectFilter, ObjectState
from napari_relay.widgets.keys import Field
from napari_relay.widgets.object_model import Ids, ObjectModel
from napari_relay.widgets.wording import plural

TYPING_MS = 250
"""The filter follows when the typing has rested that long."""
MOST_KEPT = 100_000
"""A larger selection is given up when the rows move."""
MOST_RUNS = 1000
"""So is one that the move scatters over more places than this: Qt takes 30 us for each."""
ALL = ""
STATE_WORDS = {
    ObjectState.ACCEPTED: "Accept", ObjectState.REVIEWED: "Mark as reviewed", ObjectState.LOCKED: "Lock",
    ObjectState.REJECTED: "Reject", ObjectState.PROPOSED: "Propose again",
}  # fmt: skip

Write = Callable[[Callable[[Any], object]], None]
"""Runs something with the project in the background, and shows what went wrong."""


class ObjectTable(QWidget):
    """A view of an `ObjectModel`, and what changes its objects.

    Parameters
    ----------
    model : the rows; its owner closes it.
    write : does changes of the project.
    """

    picked = Signal(int)
    """The user chose this one object in the table: show it."""
    taken_up = Signal(int)
    """The user wants to correct this object."""

    def __init__(self, model: ObjectModel, write: Write, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model, self._write = model, write
        self._following = False
        self._last: tuple[int, ...] = ()
        self._wanted_id: int | None = None
        self._classes: tuple[str, ...] = ()
        self.narrow: Callable[[ObjectFilter], ObjectFilter] = lambda wanted: wanted
        self.view = _Rows(model, self)
        self.text = Field()
        self.text.setPlaceholderText("Filter by note, author, class ...")
        self.text.setClearButtonEnabled(True)
        self.classes, self.states = QComboBox(), QComboBox()
        self.count = QLabel()
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(TYPING_MS)
        self.set_state = _menu_button("State", [(w, lambda s=s: self._set_state(s)) for s, w in STATE_WORDS.items()])
        self.set_class = _menu_button("Class", [])
        self.note = _button("Note ...", self._ask_note)
        self.correct = _button("Correct", self._take_up)
        self.merge = _button("Merge", self._merge)
        self.delete = _button("Delete", self._delete)
        self.buttons = (self.set_state, self.set_class, self.note, self.delete)
        self._build()
        self._connect()
        self.show_classes(())
        self._selection_changed()

    # -- what others tell it -----------------------------------------------------------------------------------

    def show_classes(self, names: Sequence[str]) -> None:
        """The classes that can be chosen and filtered by."""
        if tuple(names) == self._classes and self.classes.count():
            return
        self._classes = tuple(names)
        chosen = self.classes.currentData()
        self.classes.blockSignals(True)
        self.classes.clear()
        self.classes.addItem("All classes", ALL)
        for name in names:
            self.classes.addItem(name, name)
        self.classes.setCurrentIndex(max(self.classes.findData(chosen), 0))
        self.classes.blockSignals(False)
        menu = self.set_class.menu()
        assert menu is not None
        menu.clear()
        for name in names:
            menu.addAction(name, lambda name=name: self._set_class(name))

    def select(self, object_id: int) -> None:
        """Select one object and bring its row into view, as when it was clicked in the image."""
        row = self.model.row_of(object_id)
        if row is None:  # perhaps accepted just now
            self._wanted_id = object_id
            return
        self._wanted_id = None
        self._select_rows(np.array([row]))
        self.view.scrollTo(self.model.index(row, 0), QAbstractItemView.ScrollHint.PositionAtCenter)

    def selected_ids(self) -> Ids:
        """Ids of the selected objects, int64 [n], in the order of the rows."""
        selection = self.view.selectionModel().selection()
        spans = sorted({(span.top(), span.bottom()) for span in selection})
        parts = [self.model.ids[top : bottom + 1] for top, bottom in spans]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    # -- what the user does ------------------------------------------------------------------------------------

    def _set_state(self, state: ObjectState) -> None:
        self._change(lambda project, ids: project.set_state(ids, state))

    def _set_class(self, name: str) -> None:
        self._change(lambda project, ids: project.set_class(ids, name))

    def _delete(self) -> None:
        self._change(lambda project, ids: project.delete(ids))

    def _merge(self) -> None:
        self._change(lambda project, ids: project.merge(ids))

    def _ask_note(self) -> None:
        text, ok = QInputDialog.getText(self, "Note", f"Note for {plural(len(self.selected_ids()), 'object')}:")
        if ok:
            self._change(lambda project, ids: project.set_note(ids, text))

    def _take_up(self) -> None:
        ids = self.selected_ids()
        if len(ids) == 1:
            self.taken_up.emit(int(ids[0]))

    def _change(self, change: Callable[[Any, list[int]], object]) -> None:
        ids = self.selected_ids().tolist()
        if ids:
            self._write(lambda project: change(project, ids))

    def _edited(self, what: str, object_id: int, text: str) -> None:
        if what == "note":
            self._write(lambda project: project.set_note(object_id, text))
        elif text:
            self._write(lambda project: project.set_class(object_id, text))

    def _filter(self) -> None:
        name, state = self.classes.currentData(), self.states.currentData()
        plain = ObjectFilter((name,) if name else (), (state,) if state else (), text=self.text.text())
        self.model.set_filter(self.narrow(plain))

    def set_narrow(self, narrow: Callable[[ObjectFilter], ObjectFilter]) -> None:
        """Let something else narrow the filter further, from now on."""
        self.narrow = narrow
        self._filter()

    # -- selection ---------------------------------------------------------------------------------------------

    def _selection_changed(self, *_: object) -> None:
        ids = self.selected_ids()
        self.model.keep = ids if len(ids) <= MOST_KEPT else ids[:0]
        for button in self.buttons:
            button.setEnabled(len(ids) > 0)
        self.correct.setEnabled(len(ids) == 1)
        self.merge.setEnabled(len(ids) > 1)
        self._show_count(len(ids))
        if len(ids) == 1 and not self._following and tuple(ids) != self._last:
            self.picked.emit(int(ids[0]))
        self._last = tuple(ids[:2])

    def _moved(self, kept_rows: Ids) -> None:
        self.view.setAutoScroll(False)
        self._select_rows(kept_rows)
        self.view.setAutoScroll(True)
        self._selection_changed()

    def _loaded(self) -> None:
        if self._wanted_id is not None:
            self.select(self._wanted_id)
        self._show_count(len(self.selected_ids()))

    def _select_rows(self, rows: Ids) -> None:
        """Select rows without telling anybody that the user did."""
        selection = QItemSelection()
        last = self.model.columnCount() - 1
        starts = np.flatnonzero(np.diff(rows) != 1) + 1
        if len(starts) >= MOST_RUNS:
            rows, starts = rows[:0], starts[:0]
        for run in np.split(rows, starts) if len(rows) else ():
            selection.select(self.model.index(int(run[0]), 0), self.model.index(int(run[-1]), last))
        self._following = True
        try:
            flags = QItemSelectionModel.SelectionFlag
            self.view.selectionModel().select(selection, flags.ClearAndSelect)
            if len(rows):
                self.view.selectionModel().setCurrentIndex(self.model.index(int(rows[0]), 0), flags.NoUpdate)
        finally:
            self._following = False

    def _show_count(self, selected: int) -> None:
        words = plural(len(self.model.ids), "object")
        self.count.setText(f"{words}, {selected:,} selected" if selected else words)

    # -- layout ------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        self.model.moved.connect(self._moved)
        self.model.loaded.connect(self._loaded)
        self.model.edited.connect(self._edited)
        self.view.selectionModel().selectionChanged.connect(self._selection_changed)
        self.view.delete_pressed.connect(self._delete)
        self.view.enter_pressed.connect(self._take_up)
        self.text.textChanged.connect(lambda _: self._rest.start())
        self._rest.timeout.connect(self._filter)
        self.classes.currentIndexChanged.connect(lambda _: self._filter())
        self.states.currentIndexChanged.connect(lambda _: self._filter())

    def _build(self) -> None:
        self.states.addItem("All states", ALL)
        for state in ObjectState:
            self.states.addItem(state.value.capitalize(), state.value)
        head, foot = QHBoxLayout(), QHBoxLayout()
        for widget in (self.text, self.classes, self.states):
            head.addWidget(widget, 1 if widget is self.text else 0)
        foot.addWidget(self.count, 1)
        for widget in (self.correct, self.merge, *self.buttons):
            foot.addWidget(widget)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addLayout(head)
        layout.addWidget(self.view, 1)
        layout.addLayout(foot)


class _Rows(QTableView):
    """Rows of one height, chosen whole."""

    delete_pressed = Signal()
    enter_pressed = Signal()

    def __init__(self, model: ObjectModel, parent: QWidget) -> None:
        super().__init__(parent)
        self.setModel(model)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        triggers = QAbstractItemView.EditTrigger
        self.setEditTriggers(triggers.DoubleClicked | triggers.EditKeyPressed)
        self.setWordWrap(False)
        head = self.horizontalHeader()
        assert head is not None
        head.setSortIndicator(0, Qt.SortOrder.AscendingOrder)
        head.setStretchLastSection(True)
        # Painting a title, Qt asks whether its whole column is selected, row by row: seconds with a million.
        head.setSelectionModel(QItemSelectionModel(model, head))
        self.setSortingEnabled(True)
        self.setAlternatingRowColors(True)
        rows = self.verticalHeader()
        assert rows is not None
        # Each row asked for its height would be a million questions.
        rows.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        rows.setDefaultSectionSize(self.fontMetrics().height() + 6)
        rows.hide()

    def keyboardSearch(self, search: str | None) -> None:
        """Qt would look through every row for what is typed; the filter field does that."""

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        if event is not None and event.key() in (Qt.Key.Key_Delete, Qt.Key.Key_Backspace):
            self.delete_pressed.emit()
            event.accept()
            return
        if event is not None and event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            # Qt would pass it on to the window, where it accepts a mask.
            self.enter_pressed.emit()
            event.accept()
            return
        super().keyPressEvent(event)


def _button(text: str, act: Callable[[], None]) -> QToolButton:
    button = QToolButton()
    button.setText(text)
    button.clicked.connect(lambda _=False: act())
    return button


def _menu_button(text: str, entries: Sequence[tuple[str, Callable[[], None]]]) -> QToolButton:
    button = QToolButton()
    button.setText(text)
    menu = QMenu(button)
    for words, act in entries:
        menu.addAction(words, act)
    button.setMenu(menu)
    button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
    return button

"""The objects of a project as a Qt table that holds ids only, and reads the rows that are looked at.

Ids (8 bytes each) come sorted and filtered from the project in one query in the background; rows come in pages
when a view asks for them, and are shown as soon as they are there. So a million objects scroll like a hundred.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt, Signal

from napari_relay.store import Change, ObjectFilter, Order, StoredObject
from napari_relay.widgets.measures import PixelArea
from napari_relay.widgets.object_columns import ByMeasure, Column, columns
from napari_relay.widgets.threads import Runner

Ids = npt.NDArray[np.int64]
PAGE = 128
"""Rows read at a time."""
KEPT = 64
"""Pages kept."""
WAITING = 3
"""Pages that wait to be read at most: whoever scrolls fast has passed the older ones already."""
_OTHER_IDS = ("accept", "import", "delete", "undo", "redo", "jump", "split", "merge", "overlap", "eraser")
"""Kinds of changes that may make or remove objects (the last two where nothing is left of one); the others change what
is there."""
NO_INDEX = QModelIndex()
_ROLE = Qt.ItemDataRole


class ObjectModel(QAbstractTableModel):
    """See above. Who makes it closes it, before its runner.

    Parameters
    ----------
    project : a Project, or something that answers `find` and `rows`.
    runner : reads in the background; one of its own, so that a query of a million objects holds up no click.
    area : area of a pixel in the units of the world.
    """

    loaded = Signal()
    """The ids are up to date."""
    moved = Signal(object)
    """Rows were put anew; holds those of the ids that `keep` named, int64 [n]."""
    edited = Signal(str, int, str)
    """A cell was edited by the user: "class" or "note", the object's id, the new text."""
    failed = Signal(object)

    def __init__(self, project: Any, runner: Runner, area: PixelArea | None = None, parent: Any = None) -> None:
        super().__init__(parent)
        self.columns: tuple[Column, ...] = columns(area)
        self.ids: Ids = np.zeros(0, np.int64)
        self.filter = ObjectFilter()
        self.keep: Ids = np.zeros(0, np.int64)
        self._project, self._runner = project, runner
        self._order: Order | ByMeasure = Order.ID
        self._descending = False
        self._rows: dict[int, StoredObject] = {}
        self._read: OrderedDict[int, list[int]] = OrderedDict()
        """Pages that are as the project is, and their ids; what else is in `_rows` is shown until it is read again."""
        self._wanted: list[int] = []
        self._reading = False
        self._generation = 0
        self._query_waits = False
        self._closed = False

    # -- what is shown -----------------------------------------------------------------------------------------

    def load(self) -> None:
        """Ask for the ids again, with the filter and order that are set; instant."""
        self._generation += 1
        if self._query_waits or self._closed:
            return
        self._query_waits = True

        def read() -> tuple[int, Ids, Ids]:
            # Taken here: what was asked for while this waited is answered by it too.
            self._query_waits = False
            generation, keep = self._generation, self.keep
            ids = self._project.find(self.filter, self._order, descending=self._descending)
            return generation, ids, np.flatnonzero(np.isin(ids, keep)) if len(keep) else np.zeros(0, np.int64)

        self._runner.submit(read, lambda found: self._take(*found), self.failed.emit)

    def set_filter(self, wanted: ObjectFilter) -> None:
        if wanted != self.filter:
            self.filter = wanted
            self.load()

    def project_changed(self, change: Change) -> None:
        """Something was committed; on the GUI thread."""
        if change.kind == "class-create":
            return
        self._read.clear()
        plain = self.filter == ObjectFilter() and (self._order, self._descending) == (Order.ID, False)
        last = int(self.ids[-1]) if len(self.ids) else 0
        if plain and not self._query_waits and change.kind not in _OTHER_IDS:
            self._show_rows(0, len(self.ids) - 1)
        elif plain and not self._query_waits and change.kind == "accept" and min(change.ids, default=0) > last:
            # The usual case; a query of a million ids for each accept would keep a processor busy.
            self._take(self._generation, np.append(self.ids, np.array(change.ids, np.int64)), self.ids[:0])
        else:
            self.load()

    def row_of(self, object_id: int) -> int | None:
        """The row of an object; None where the filter does not let it through."""
        rows = np.flatnonzero(self.ids == object_id)
        return int(rows[0]) if len(rows) else None

    def object_at(self, row: int) -> StoredObject | None:
        """The object of a row, as it was read last; None before that. What is not up to date is asked for."""
        if not 0 <= row < len(self.ids):
            return None
        if row // PAGE in self._read:
            self._read.move_to_end(row // PAGE)
        else:
            self._ask(row // PAGE)
        return self._rows.get(int(self.ids[row]))

    def close(self) -> None:
        """Answer nothing more."""
        self._closed = True
        self._generation += 1

    # -- Qt's questions ----------------------------------------------------------------------------------------

    def rowCount(self, parent: QModelIndex = NO_INDEX) -> int:
        return 0 if parent.isValid() else len(self.ids)

    def columnCount(self, parent: QModelIndex = NO_INDEX) -> int:
        return 0 if parent.isValid() else len(self.columns)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = _ROLE.DisplayRole) -> Any:
        if role == _ROLE.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return self.columns[section].title
        return None

    def data(self, index: QModelIndex, role: int = _ROLE.DisplayRole) -> Any:
        column = self.columns[index.column()]
        if role == _ROLE.TextAlignmentRole:
            side = Qt.AlignmentFlag.AlignRight if column.number else Qt.AlignmentFlag.AlignLeft
            return int(side | Qt.AlignmentFlag.AlignVCenter)
        if role not in (_ROLE.DisplayRole, _ROLE.EditRole, _ROLE.ToolTipRole):
            return None
        if column.order is Order.ID:
            return str(self.ids[index.row()])
        stored = self.object_at(index.row())
        return "" if stored is None else column.text(stored)

    def flags(self, index: QModelIndex) -> Qt.ItemFlag:
        flags = super().flags(index)
        return flags | Qt.ItemFlag.ItemIsEditable if self.columns[index.column()].edits else flags

    def setData(self, index: QModelIndex, value: Any, role: int = _ROLE.EditRole) -> bool:
        """Hands the text on; the cell shows it when the project has it."""
        column = self.columns[index.column()]
        if role != _ROLE.EditRole or not column.edits or str(value).strip() == self.data(index):
            return False
        self.edited.emit(column.edits, int(self.ids[index.row()]), str(value).strip())
        return True

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        chosen, descending = self.columns[max(column, 0)].order, order == Qt.SortOrder.DescendingOrder
        if (chosen, descending) != (self._order, self._descending):
            self._order, self._descending = chosen, descending
            self.load()

    def set_columns(self, shown: Sequence[Column]) -> None:
        """Show other columns; their rows are read anew. Sorted by one that is gone, they are sorted by id."""
        self.beginResetModel()
        self.columns = tuple(shown)
        self._read.clear()
        self.endResetModel()
        if self._order not in [column.order for column in self.columns]:
            self._order, self._descending = Order.ID, False
            self.load()

    # -- inside ------------------------------------------------------------------------------------------------

    def _take(self, generation: int, ids: Ids, kept_rows: Ids) -> None:
        if self._closed or generation != self._generation:
            return  # a newer query is on its way
        old = self.ids
        if np.array_equal(old, ids):
            self._show_rows(0, len(ids) - 1)
        elif len(ids) > len(old) and np.array_equal(ids[: len(old)], old):  # the usual accept: nothing moves
            self.beginInsertRows(NO_INDEX, len(old), len(ids) - 1)
            self._read.pop(len(old) // PAGE, None)
            self.ids = ids
            self.endInsertRows()
            self._show_rows(0, len(old) - 1)
        else:
            self.beginResetModel()
            self._read.clear()
            self.ids = ids
            self.endResetModel()
            self.moved.emit(kept_rows)
        self.loaded.emit()

    def _ask(self, page: int) -> None:
        if page in self._wanted:
            self._wanted.remove(page)
        self._wanted = [*self._wanted[1 - WAITING :], page]
        self._read_next()

    def _read_next(self) -> None:
        if self._reading or not self._wanted or self._closed:
            return
        page = self._wanted.pop()
        first = page * PAGE
        ids: list[int] = self.ids[first : first + PAGE].tolist()
        if not ids:  # the rows are gone
            self._read_next()
            return
        self._reading = True

        def done(rows: list[StoredObject]) -> None:
            self._reading = False
            if ids == self.ids[first : first + PAGE].tolist():  # else they have moved, and are asked for again
                self._keep(page, ids, rows)
            self._read_next()

        def failed(error: BaseException) -> None:
            self._reading = False
            self.failed.emit(error)

        self._runner.submit(lambda: self._project.rows(ids), done, failed)

    def _keep(self, page: int, ids: list[int], rows: Sequence[StoredObject]) -> None:
        if len(self._rows) > 2 * KEPT * PAGE:  # rows of pages that moved away
            self._rows.clear()
            self._read.clear()
        self._rows.update((stored.id, stored) for stored in rows)
        self._read[page] = ids
        while len(self._read) > KEPT:
            for old in self._read.popitem(last=False)[1]:
                self._rows.pop(old, None)
        self._show_rows(page * PAGE, page * PAGE + len(ids) - 1)

    def _show_rows(self, first: int, last: int) -> None:
        if last >= first:
            self.dataChanged.emit(self.index(first, 0), self.index(last, len(self.columns) - 1))

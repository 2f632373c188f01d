"""Look through what was proposed: a grid of pictures, one key for each answer, and how good the last ones were."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QItemSelectionModel, QSize, Qt, Signal
from qtpy.QtGui import QIcon, QImage, QKeyEvent, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QLabel,
    QListView,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from napari_relay.widgets.object_pictures import SIDE_PX, Picture
from napari_relay.widgets.review_queue import LAST, ReviewQueue
from napari_relay.widgets.wording import plural

EMPTY = (
    "Nothing is proposed. Accept a few objects, then let the model propose the rest: 'Find every object', or 'Find "
    "similar' to the objects chosen in the table."
)
STEPS = 100
"""Steps of the threshold slider."""
_ID = Qt.ItemDataRole.UserRole


class ReviewPanel(QWidget):
    """Shows a `ReviewQueue` and hands over what the user decides.

    Parameters
    ----------
    queue : the proposals; its owner closes it.
    """

    picked = Signal(int)
    """The user looks at this one proposal: show it in the image; 0: at none or at several."""
    taken_up = Signal(int)
    """The user wants to correct this proposal."""

    def __init__(self, queue: ReviewQueue, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.queue = queue
        self._next_row: int | None = None
        self.looked_at: list[int] = []
        self.grid = _Grid(self)
        self.empty = QLabel(EMPTY)
        self.empty.setWordWrap(True)
        self.count, self.stop_sign = QLabel(), QLabel()
        self.accept = _button("Accept (A)", "It is an object", lambda: self._decide(queue.accept))
        self.reject = _button("Reject (R)", "It is none", lambda: self._decide(queue.reject))
        self.correct = _button("Correct (C)", "Its mask comes up in the image: click, then Enter", self._correct)
        self.skip = _button("Skip (S)", "Later", lambda: self._decide(queue.skip))
        self.back = _button("<", "The page before (Page Up)", lambda: queue.turn(-1))
        self.forth = _button(">", "The next page (Page Down)", lambda: queue.turn(1))
        self.threshold = QSlider(Qt.Orientation.Horizontal)
        self.threshold.setRange(0, STEPS)
        self.threshold.setValue(STEPS // 2)
        self.estimate = QLabel()
        self.accept_above = _button(
            "Accept all of these", "All at or above the threshold, as one step", self._accept_above
        )
        self._search = QWidget()
        self._build()
        self.keys = {
            Qt.Key.Key_A: self.accept, Qt.Key.Key_R: self.reject, Qt.Key.Key_C: self.correct, Qt.Key.Key_S: self.skip,
            Qt.Key.Key_PageUp: self.back, Qt.Key.Key_PageDown: self.forth,
        }  # fmt: skip
        self.grid.itemSelectionChanged.connect(self._selected)
        self.threshold.valueChanged.connect(lambda _: self._tell_estimate())
        queue.changed.connect(self._show)
        queue.pictured.connect(self._pictured)
        self._show()

    def selected_ids(self) -> list[int]:
        """Ids of the chosen proposals, in the order of the grid."""
        rows = sorted(self.grid.row(item) for item in self.grid.selectedItems())
        return [int(self.grid.item(row).data(_ID)) for row in rows]

    @property
    def level(self) -> float:
        """The threshold, 0 to 1."""
        return self.threshold.value() / STEPS

    # -- what the user does ------------------------------------------------------------------------------------

    def _decide(self, decide: Callable[[list[int]], None]) -> None:
        ids = self.selected_ids()
        if ids:
            # The next one is chosen, so that one key after the other is enough.
            self._next_row = min(self.grid.row(item) for item in self.grid.selectedItems())
            decide(ids)

    def _correct(self) -> None:
        ids = self.selected_ids()
        if len(ids) == 1:
            self.taken_up.emit(ids[0])

    def _accept_above(self) -> None:
        self.queue.accept(self.queue.above(self.level))

    # -- what is shown -----------------------------------------------------------------------------------------

    def _show(self) -> None:
        ids = self.queue.page_ids
        present = [int(self.grid.item(row).data(_ID)) for row in range(self.grid.count())]
        if ids != present:
            self._fill(ids)
        self.empty.setVisible(not ids)
        self.grid.setVisible(bool(ids))
        where = f", page {self.queue.page + 1} of {self.queue.pages}" if self.queue.pages > 1 else ""
        self.count.setText(f"{plural(len(self.queue.ids), 'proposal')} to look at{where}")
        self.back.setEnabled(self.queue.page > 0)
        self.forth.setEnabled(self.queue.page < self.queue.pages - 1)
        self._tell_stop()
        self._tell_estimate()
        self._selected()

    def _fill(self, ids: list[int]) -> None:
        chosen, row = set(self.selected_ids()), self._next_row
        self.grid.blockSignals(True)
        self.grid.clear()
        for object_id in ids:
            item = QListWidgetItem(_icon(self.queue.picture(object_id)), str(object_id))
            item.setData(_ID, object_id)
            self.grid.addItem(item)
            item.setSelected(object_id in chosen)
        self.grid.blockSignals(False)
        if ids and row is not None and not chosen & set(ids):
            item = self.grid.item(min(row, len(ids) - 1))
            self.grid.setCurrentItem(item, QItemSelectionModel.SelectionFlag.ClearAndSelect)
        self._next_row = None

    def _pictured(self, object_id: int, picture: Picture) -> None:
        for row in range(self.grid.count()):
            item = self.grid.item(row)
            if item.data(_ID) == object_id:
                item.setIcon(_icon(picture))

    def _selected(self) -> None:
        ids = self.selected_ids()
        for button in (self.accept, self.reject, self.skip):
            button.setEnabled(bool(ids))
        self.correct.setEnabled(len(ids) == 1)
        if ids != self.looked_at:
            self.looked_at = ids
            self.picked.emit(ids[0] if len(ids) == 1 else 0)

    def _tell_stop(self) -> None:
        answers = self.queue.answers
        if not answers.decided:
            self.stop_sign.clear()
            return
        words = f"Of the last {answers.decided}, {answers.corrected} were corrected and {answers.rejected} rejected."
        if answers.decided >= LAST and answers.corrected + answers.rejected <= LAST // 50:
            words += " The rest can be accepted unseen."
        self.stop_sign.setText(words)

    def _tell_estimate(self) -> None:
        for widget in (self._search, self.estimate):
            widget.setVisible(self.queue.ranks)
        estimate = self.queue.precision(self.level)
        if estimate is None:
            return
        words = f"At least {self.level:.2f}: {plural(len(self.queue.above(self.level)), 'proposal')}"
        if estimate.share is None or estimate.low is None or estimate.high is None:
            words += "; look at some, then it is known how many are right."
        else:
            words += f", about {estimate.share:.0%} right ({estimate.low:.0%} to {estimate.high:.0%})."
        self.estimate.setText(words)
        self.accept_above.setEnabled(bool(self.queue.above(self.level)))

    # -- layout ------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        search = QHBoxLayout(self._search)
        search.setContentsMargins(0, 0, 0, 0)
        search.addWidget(QLabel("Likeness"))
        search.addWidget(self.threshold, 1)
        search.addWidget(self.accept_above)
        head, foot = QHBoxLayout(), QHBoxLayout()
        for widget in (self.back, self.count, self.forth):
            head.addWidget(widget)
        head.addStretch(1)
        head.addWidget(self.stop_sign)
        for button in (self.accept, self.reject, self.correct, self.skip):
            foot.addWidget(button)
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 4, 4, 4)
        column.addLayout(head)
        column.addWidget(self.empty)
        column.addWidget(self.grid, 1)
        column.addWidget(self._search)
        column.addWidget(self.estimate)
        column.addLayout(foot)


class _Grid(QListWidget):
    """Pictures in rows; several can be chosen. Its keys are answers."""

    def __init__(self, panel: ReviewPanel) -> None:
        super().__init__()
        self._panel = panel
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setIconSize(QSize(SIDE_PX, SIDE_PX))
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setMovement(QListView.Movement.Static)
        self.setUniformItemSizes(True)
        self.setSpacing(4)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        plain = event is not None and event.modifiers() == Qt.KeyboardModifier.NoModifier
        button = self._panel.keys.get(Qt.Key(event.key())) if event is not None and plain else None
        if event is None or button is None:
            super().keyPressEvent(event)
            return
        button.click()
        event.accept()


def _button(text: str, tip: str, act: Callable[[], object]) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    button.clicked.connect(lambda _=False: act())
    return button


def _icon(picture: Picture | None) -> QIcon:
    if picture is None:
        pixels = QPixmap(SIDE_PX, SIDE_PX)
        pixels.fill(Qt.GlobalColor.transparent)
        return QIcon(pixels)
    height, width, _ = picture.shape
    return QIcon(QPixmap.fromImage(QImage(picture.data, width, height, 3 * width, QImage.Format.Format_RGB888).copy()))

"""Objects and history of the image worked on, in one panel; follows the desk from image to image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from qtpy.QtWidgets import QLabel, QStackedLayout, QTabWidget, QVBoxLayout, QWidget

from napari_relay.geometry import Box, Plane
from napari_relay.store import Change, ObjectFilter, StoredObject
from napari_relay.widgets.class_map import ClassMapRead, read_class_map, show_class_map
from napari_relay.widgets.cleaning_bar import CleaningBar
from napari_relay.widgets.controller import ClickController, sentence
from napari_relay.widgets.desk import Desk
from napari_relay.widgets.drafts import Looked
from napari_relay.widgets.drawing_bar import DrawingBar
from napari_relay.widgets.history_panel import HistoryPanel
from napari_relay.widgets.job import Job
from napari_relay.widgets.looking import PickTool, fly_to
from napari_relay.widgets.measured_rows import MeasuredFilter, MeasuredRows
from napari_relay.widgets.measures import pixel_area
from napari_relay.widgets.measuring import MeasuringBar
from napari_relay.widgets.object_model import ObjectModel
from napari_relay.widgets.object_table import ObjectTable
from napari_relay.widgets.overlap_bar import OverlapBar
from napari_relay.widgets.propose_bar import ProposeBar, box_on_screen
from napari_relay.widgets.propose_work import ProposeWork
from napari_relay.widgets.review_panel import ReviewPanel
from napari_relay.widgets.review_queue import ReviewQueue
from napari_relay.widgets.side_dock import SideDock
from napari_relay.widgets.threads import Runner, WindowThread
from napari_relay.widgets.view_choice import ViewChoice

T = TypeVar("T")


class ObjectsPanel(SideDock):
    """The table and the history of what the desk has open. Who makes it calls `shutdown`.

    Parameters
    ----------
    desk : the image worked on.
    notify : shows a sentence to the user.
    take_away : takes layers of ours out of the viewer, soon.
    make_runner : makes a runner for reading.
    """

    def __init__(
        self,
        desk: Desk,
        notify: Callable[[str], None],
        take_away: Callable[[list[Any]], None],
        make_runner: Callable[[], Runner] = WindowThread.single,
    ) -> None:
        super().__init__()
        self._desk, self._notify, self._make_runner = desk, notify, make_runner
        self.book: Book | None = None
        pages = QWidget()
        self._stack = QStackedLayout(pages)
        self.drawing = DrawingBar(desk, lambda: self.book, notify, take_away)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(pages, 1)
        column.addWidget(self.drawing)
        self._stack.addWidget(QLabel("Open an image and start the click tool to see its objects."))
        self._picking: PickTool | None = PickTool(desk.viewer, self._pick)
        desk.changed.connect(self._follow)
        self._follow()

    def shutdown(self) -> None:
        """Let go of the desk and the viewer, end the thread. A second call does nothing."""
        if self._picking is None:
            return
        self._picking.close()
        self._picking = None
        self._desk.changed.disconnect(self._follow)
        self._close_book()

    def _follow(self, *_: object) -> None:
        """Open the book of another image, or show news of the one that is open."""
        controller = self._desk.controller
        if self.book is not None and self.book.controller is not controller:
            self._close_book()
        if self.book is None and controller is not None:
            self.book = Book(controller, self._make_runner, self._notify, self._seen)
            self.view_choice = ViewChoice(self._desk)
            self.book.overlap.add(self.view_choice)
            self.book.table.picked.connect(self._fly)
            self.book.review.picked.connect(self._look_at)
            self.book.work.mapped.connect(self._read_map)
            for page in (self.book.table, self.book.review):
                page.taken_up.connect(self._take_up)
            self._stack.addWidget(self.book.tabs)
            self._stack.setCurrentWidget(self.book.tabs)
        if self.book is not None and controller is not None:
            self.book.table.show_classes([choice.name for choice in controller.ledger.classes])
            self.book.overlap.look()

    def _close_book(self) -> None:
        if self.book is not None:
            book, self.book = self.book, None
            book.close()
            self._stack.removeWidget(book.tabs)
            book.tabs.deleteLater()

    def _fly(self, object_id: int) -> None:
        if self.book is not None:
            self.book.look_up(object_id, self._fly_to)

    def _look_at(self, object_id: int) -> None:
        """Show a proposal, which is in no label image; 0: none is looked at."""
        if self.book is not None and object_id:
            self._fly(object_id)
            self.book.read_mask(object_id, self._desk.look_at)
        else:
            self._desk.look_at(None)

    def _read_map(self, path: str) -> None:
        if self.book is not None:
            self.book.read(lambda: read_class_map(Path(path)), self._show_map)

    def _show_map(self, read: ClassMapRead) -> None:
        layer = self._desk.layer
        if layer is not None and layer in self._desk.viewer.layers:
            show_class_map(self._desk.viewer, layer, read)

    def _take_up(self, object_id: int) -> None:
        if self.book is not None:
            self._fly(object_id)
            self.book.controller.take_up(object_id)

    def _fly_to(self, stored: StoredObject) -> None:
        layer = self._desk.layer
        if layer is not None and not self._desk.sight.blocked:
            fly_to(self._desk.viewer, layer, stored.box, stored.plane, self._desk.sight.sizes_t_z)

    def _seen(self) -> tuple[Box, Plane]:
        """What is on screen of the image that the book is of, and its plane."""
        assert self.book is not None
        layer, shape = self._desk.layer, self.book.controller.workspace.source.shape
        if layer is None or self._desk.sight.blocked:
            return Box(0, 0, *shape), Plane()
        return box_on_screen(layer, shape), self._desk.sight.plane

    def _pick(self, position: tuple[float, ...]) -> None:
        desk = self._desk
        if self.book is None or desk.layer is None or desk.sight.blocked:
            return
        point = desk.sight.point(position)
        if desk.sight.inside(point):
            self.book.find_at(point.y, point.x, point.plane)


class Book:
    """Table, history and proposals of one open image.

    Parameters
    ----------
    controller : of the image; its runner writes.
    make_runner : makes a runner: one reads, one lets the model propose, one does what takes long; owned.
    notify : shows a sentence to the user.
    seen : (the part of the image that is on screen, its plane).
    """

    def __init__(
        self,
        controller: ClickController,
        make_runner: Callable[[], Runner],
        notify: Callable[[str], None],
        seen: Callable[[], tuple[Box, Plane]],
    ) -> None:
        runner = make_runner()
        self.controller, self._runner, self._notify = controller, runner, notify
        self._project = controller.workspace.project
        self._measured = MeasuredRows(self._project, controller.workspace.source)
        self.model = ObjectModel(self._measured, runner, pixel_area(controller.workspace.source))
        self.table = ObjectTable(self.model, self.write)
        self.history = HistoryPanel(self._project, runner, self.write)
        self.overlap = OverlapBar(controller, runner)
        self.queue = ReviewQueue(controller.workspace, runner, self.write)
        self.review = ReviewPanel(self.queue)
        self.work = ProposeWork(controller.workspace, make_runner())
        self.find = ProposeBar(self.work, lambda: self.table.selected_ids().tolist(), seen, notify)
        self.tabs = QTabWidget()
        self.measuring_job = Job(make_runner())
        self.measuring = MeasuringBar(self._measured, self.model, runner, self.measuring_job, notify)
        self.measuring.range_changed.connect(self._narrow)
        self.overlap.add(self.measuring.shown)
        self.cleaning_job = Job(make_runner())
        self.cleaning = CleaningBar(controller, runner, self.cleaning_job, notify)
        self.tabs.addTab(_page(self.table, self.measuring, self.overlap, self.cleaning), "Objects")
        self.tabs.addTab(_page(self.find, self.review), "Review")
        self.tabs.addTab(self.history, "History")
        # What is looked at lies over the image only while it is being looked at.
        self.tabs.currentChanged.connect(lambda _: self.review.grid.clearSelection())
        self.model.failed.connect(self._failed)
        self._project.changed.connect(self._project_changed)
        self.model.load()
        self.history.load()
        self.queue.load()

    def write(self, change: Callable[[Any], object]) -> None:
        """Change the project in the order in which everything of this image is done."""
        project = self._project
        self.controller.do(lambda: change(project))

    def _narrow(self, name: str, low: float, high: float) -> None:
        def narrow(wanted: ObjectFilter) -> ObjectFilter:
            plain = (wanted.class_names, wanted.states, wanted.box, wanted.plane, wanted.text)
            return MeasuredFilter(*plain, name, low, high) if name else wanted

        self.table.set_narrow(narrow)

    def read(self, work: Callable[[], T], then: Callable[[T], None]) -> None:
        """Do something slow in the background and hand over what came of it, while the book is open."""
        self._runner.submit(work, then, self._failed)

    def look_up(self, object_id: int, then: Callable[[StoredObject], None]) -> None:
        """Hand over an object as it is now; nothing when it is gone."""

        def done(rows: list[StoredObject]) -> None:
            if rows:
                then(rows[0])

        self._runner.submit(lambda: self._project.rows([object_id]), done, self._failed)

    def read_mask(self, object_id: int, then: Callable[[Looked], None]) -> None:
        """Hand over an object with its mask; nothing when it is gone."""

        def read() -> list[Looked]:
            rows = self._project.rows([object_id])
            return [Looked(stored.id, stored.box, stored.mask, stored.plane) for stored in rows]

        def done(found: list[Looked]) -> None:
            if found and self.review.looked_at == [object_id]:
                then(found[0])

        self._runner.submit(read, done, self._failed)

    def find_at(self, y: float, x: float, plane: Any) -> None:
        """Select the object under a level-0 point."""

        def done(stored: StoredObject | None) -> None:
            if stored is not None:
                self.table.select(stored.id)

        self._runner.submit(lambda: self._project.object_at(y, x, plane), done, self._failed)

    def close(self) -> None:
        self._project.changed.disconnect(self._project_changed)
        self.work.close()
        self.cleaning_job.close()
        self.measuring_job.close()
        self.queue.close()
        self.model.close()
        self._runner.close()

    def _project_changed(self, change: Change) -> None:
        # In the thread that made the change.
        self._runner.post(lambda: self._changed(change))

    def _changed(self, change: Change) -> None:
        self._measured.project_changed(change)
        self.model.project_changed(change)
        self.cleaning.look()
        self.history.load()
        self.queue.project_changed(change)

    def _failed(self, error: BaseException) -> None:
        self._notify(sentence(error))


def _page(*rows: QWidget) -> QWidget:
    page = QWidget()
    column = QVBoxLayout(page)
    column.setContentsMargins(0, 0, 0, 0)
    for row in rows:
        column.addWidget(row)
    return page

"""The dock: panels round a desk. It shows what the desk says and hands over what the user does, nothing more.

Its life is napari's: closing the dock with its x only takes the parent away, closing the viewer deletes it without
a close event. `shutdown` is called from wherever the end can be seen, and does its work once.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from napari.utils.notifications import show_warning
from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QAbstractSpinBox, QApplication, QComboBox, QMainWindow, QWidget

from napari_relay.sources.folders import is_image_folder
from napari_relay.widgets.canvas_finder import canvases_of, drop_targets_of, main_window_of
from napari_relay.widgets.class_work import ClassWork
from napari_relay.widgets.commands import Commands
from napari_relay.widgets.computing import Computing, WorkerComputing
from napari_relay.widgets.desk import Desk, Means
from napari_relay.widgets.draw_work import DrawWork
from napari_relay.widgets.drops import CheckpointDrops, ask_for_folder, ask_for_image, dropped_paths
from napari_relay.widgets.image_opener import ImageOpener
from napari_relay.widgets.keys import EndsEditing, KeyCommand, KeyFilter, edits_text
from napari_relay.widgets.keys_dialog import KeysDialog
from napari_relay.widgets.layout import DockLayout
from napari_relay.widgets.learn_panel import LearnBinding
from napari_relay.widgets.opening import Question
from napari_relay.widgets.settings import WindowSettings
from napari_relay.widgets.side_docks import SideDocks
from napari_relay.widgets.state import Phase, Shown
from napari_relay.widgets.telling import sentence
from napari_relay.widgets.threads import WindowThread
from napari_relay.widgets.turns import TakeAway, Turns
from napari_relay.widgets.wording import describe

REST_MS = 200
"""How long the mouse must rest before its place is prepared."""


class RelayWidget(QWidget):
    """Click objects in an image, correct their masks, accept them.

    Parameters
    ----------
    napari_viewer : the viewer, given by napari.
    settings : None loads those of last time.
    project : keeps the objects of the first image in this file.
    computing : the model's side; None makes a worker process when an image is opened.
    """

    def __init__(
        self,
        napari_viewer: Any,
        *,
        settings: WindowSettings | None = None,
        project: Path | None = None,
        computing: Computing | None = None,
    ) -> None:
        super().__init__()
        # napari hands plugins a proxy. Only public names are used here, so the proxy protects nothing and costs a
        # stack inspection at each mouse move.
        self.viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self.settings = settings or WindowSettings.load()
        self.panels = DockLayout(self, self.settings)
        if self.settings.checkpoint:
            # A checkpoint that was carried here may be gone by now; the panel has chosen the default then.
            self.settings = self.settings.model_copy(update={"checkpoint": self.panels.model.current})
        self._turns = Turns(self)
        self._thread = WindowThread()
        self._jobs = self._thread.runner()
        self._computing = computing or WorkerComputing(self.settings)
        means = Means(self._thread.runner, self._turns.later, self._computing.open, self._take_away)
        self.desk = Desk(self.viewer, means, project=project)
        self.opener = ImageOpener(self.viewer, WindowThread.single)
        self.drawing = DrawWork(self.desk, lambda: self.sides.chosen, self._notify)
        self.commands = Commands(self.desk, self.drawing, self.show_keys)
        self.keys = KeyFilter(self.commands, self)
        ends_editing = EndsEditing(self)
        for field in (*self.findChildren(QAbstractSpinBox), *self.findChildren(QComboBox)):
            field.installEventFilter(ends_editing)
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._drops = CheckpointDrops(self.panels.model.use_file, self)
        self.setAcceptDrops(True)
        self._window: QMainWindow | None = None
        self._folder: Path | None = None
        self._recursive = False
        self._classes = ClassWork(self.panels.classes, self.desk)
        self._learning = LearnBinding(
            self.desk, self.panels.learn, WindowThread.single, lambda: self.settings.checkpoint or None,
            self.panels.model.show_learned,
        )  # fmt: skip
        self.sides = SideDocks(self.desk, self.opener, self._notify, self._take_away)
        self._wanted = True
        self._ended = False
        self._connect()
        self.desk.set_show_views(self.settings.show_views)
        self._list_images()
        self._show(self.desk.shown)

    # -- wiring ------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        desk, panels = self.desk, self.panels
        desk.changed.connect(self._show)
        desk.images.changed.connect(self._list_images)
        desk.images.chosen.connect(self._list_images)
        desk.images.chosen.connect(self._arm_by_itself)
        desk.yielded.connect(self.disarm)
        desk.question.connect(self._ask)
        desk.notice.connect(self._notify)
        desk.moved.connect(self._mouse_moved)
        self._rest.timeout.connect(desk.rested)
        opener = self.opener
        opener.question.connect(self._ask)
        opener.failed.connect(self._notify)
        opener.progress.connect(panels.progress.show_progress)
        panels.progress.cancelled.connect(opener.cancel_build)
        panels.browse.clicked.connect(lambda: ask_for_image(self, self.open_path))
        panels.folder.clicked.connect(lambda: ask_for_folder(self, self.open_path))
        panels.arm.clicked.connect(self._toggle)
        panels.images.activated.connect(self._image_picked)
        panels.keys.clicked.connect(self.show_keys)
        panels.table.clicked.connect(self.show_objects)
        panels.tools.picked.connect(self.drawing.take)
        panels.tools.width_changed.connect(self.drawing.set_width)
        panels.tools.fill.connect(self.drawing.fill)
        self.drawing.changed.connect(lambda: panels.tools.show_tool(self.drawing.tool, self.drawing.width_px))
        panels.retry.clicked.connect(desk.retry)
        panels.settings.changed.connect(self._change_settings)
        panels.model.chosen.connect(self._checkpoint_chosen)
        panels.model.refused.connect(self._notify)
        for button, command in panels.commands:
            button.clicked.connect(lambda _=False, command=command: self.commands(KeyCommand(command)))
        self.destroyed.connect(_closer(desk, self._computing, self._thread))
        application = QApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self._quit)

    def _docked(self) -> None:
        """The widget got its place: find the window and its canvas, and take their keys."""
        window = main_window_of(self)
        if window is None or window is self._window:
            return
        self._window = window
        window.installEventFilter(self)
        self.keys.install(window, *canvases_of(window))
        for target in drop_targets_of(window):
            target.installEventFilter(self._drops)
        self._turns.later(self._arm_by_itself)
        if self._folder is not None:
            self.open_path(str(self._folder), recursive=self._recursive)

    def _arm_by_itself(self, *_: object) -> None:
        """Whoever opens the dock wants to click: the tool is on as soon as there is an image, until switched off."""
        if self._wanted and self._window is not None and self.desk.layer is not None:
            self.desk.arm()

    # -- images ------------------------------------------------------------------------------------------------

    def open_image(self, path: str) -> None:
        """Open a file, folder or address as layers, in the background; errors are shown."""
        self.opener.open(path)

    def open_path(self, path: str, *, recursive: bool = False) -> None:
        """Open an image, or a folder of images (`recursive`: with those below it) as a list to work through."""
        if not is_image_folder(Path(path)):
            self.open_image(path)
        elif self._window is None:  # not docked yet
            self._folder, self._recursive = Path(path), recursive
        else:
            self._folder = None
            self.sides.show_folder(Path(path), self._window, recursive=recursive)

    # -- what the user does ------------------------------------------------------------------------------------

    def arm(self) -> None:
        """Switch the click tool on."""
        self._wanted = True
        self._docked()
        self.desk.arm()

    def disarm(self) -> None:
        """Switch the click tool off; mouse and keys are napari's again."""
        self._wanted = False
        self.desk.disarm()

    def show_keys(self) -> None:
        """The page with all keys."""
        for open_dialog in self.findChildren(KeysDialog):
            open_dialog.close()
        KeysDialog(self).show()

    @property
    def objects(self) -> Any:
        """The panel of objects and history, where it is open."""
        return self.sides.objects

    def show_objects(self) -> None:
        """The table of all objects and the history, in a dock of their own below the image."""
        if self._window is not None:
            self.sides.show_objects()

    def _toggle(self) -> None:
        self.disarm() if self.desk.armed else self.arm()

    def _mouse_moved(self) -> None:
        if self.settings.prefetch:
            self._rest.start()

    def _image_picked(self, index: int) -> None:
        images = self.desk.images.images
        if index < len(images):
            self.desk.images.choose(images[index])

    def _checkpoint_chosen(self, name: str) -> None:
        controller = self.desk.controller
        if controller is not None:
            # First, so that it is loaded once: the settings then ask for what is there already.
            use = controller.workspace.set_checkpoint
            self._jobs.submit(lambda: use(name), failed=lambda error: self._notify(sentence(error)))
        if name != self.panels.model.learned:
            self._change_settings(self.settings.model_copy(update={"checkpoint": name}))

    def _change_settings(self, settings: WindowSettings) -> None:
        self.settings = self.panels.settings.settings = settings
        settings.save()
        self.desk.set_show_views(settings.show_views)
        if not settings.prefetch:
            self._rest.stop()
        self._jobs.submit(lambda: self._computing.apply(settings), failed=lambda error: self._notify(sentence(error)))

    # -- what is shown -----------------------------------------------------------------------------------------

    def _show(self, shown: Shown) -> None:
        self.keys.armed = self.desk.armed and shown.phase is not Phase.BLOCKED
        self.panels.show(shown, describe(shown), armed=self.desk.armed)

    def _list_images(self, *_: object) -> None:
        images = self.desk.images.images
        chosen = next((index for index, layer in enumerate(images) if layer is self.desk.layer), -1)
        self.panels.show_images([layer.name for layer in images], chosen)

    def _ask(self, question: Question | None) -> None:
        self.panels.question.ask(question)

    def _notify(self, text: str) -> None:
        show_warning(text)

    # -- life --------------------------------------------------------------------------------------------------

    def shutdown(self, *, keep_layers: bool = False) -> None:
        """Give everything back: mouse, keys, timers, threads, files. Only the first call does anything."""
        if self._ended:
            return
        self._ended = True
        self._rest.stop()
        self._turns.stop()
        self.opener.close()
        self.keys.uninstall()
        application = QApplication.instance()
        if application is not None:
            application.aboutToQuit.disconnect(self._quit)
        self.drawing.close()
        self._learning.close()
        self.sides.close(keep=keep_layers)
        left = self.desk.close()
        if not keep_layers:
            self._take_away(left)
        if self._window is not None:
            self._window.removeEventFilter(self)
            self._window = None
        self._thread.close(self._computing.close)

    def _take_away(self, layers: list[Any]) -> None:
        if layers and self._window is not None:
            # The window's child, not the dock's: it goes on when the dock is gone.
            TakeAway(self.viewer, layers, self._window)

    def _quit(self) -> None:
        self.shutdown(keep_layers=True)

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ParentChange:
            if self.parent() is not None:
                self._turns.later(self._docked)
            elif self._window is not None:
                # The dock's x: napari forgets the widget and would build a second one next time.
                self.shutdown()
                self.deleteLater()
        return bool(super().event(event))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is self._window and event.type() == QEvent.Type.Close:
            self._turns.later(self._after_close)
        return False

    def dragEnterEvent(self, event: Any) -> None:
        if dropped_paths(event):
            event.acceptProposedAction()

    def dropEvent(self, event: Any) -> None:
        """A file on the dock: a checkpoint is used, anything else is opened as an image."""
        event.acceptProposedAction()
        if not self._drops.eventFilter(self, event):
            for path in dropped_paths(event):
                self.open_path(path)

    def keyPressEvent(self, event: Any) -> None:
        """Keys that no widget of the dock wanted are the tool's, else napari's."""
        if self.keys.armed and not edits_text(QApplication.focusWidget()) and self.keys.handle(event):
            event.accept()
        else:
            super().keyPressEvent(event)

    def _after_close(self) -> None:
        # The user may have answered "cancel"; a window that did close is hidden now.
        if self._window is not None and not self._window.isVisible():
            self.shutdown(keep_layers=True)


def _closer(desk: Desk, computing: Computing, thread: WindowThread) -> Callable[[], None]:
    """Ends what a widget stood for, without holding the widget: it runs when the C++ part is already gone."""

    def close() -> None:
        desk.close()
        thread.close(computing.close)

    return close

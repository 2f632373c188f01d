"""Docks beside the image that are made when they are asked for: objects with history, and a folder of images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QMainWindow

from napari_relay.widgets.canvas_finder import canvases_of
from napari_relay.widgets.desk import Desk
from napari_relay.widgets.image_opener import ImageOpener
from napari_relay.widgets.threads import WindowThread


class SideDocks:
    """Makes them, and ends them with the main dock.

    Parameters
    ----------
    desk, opener : what clicks an image, and what opens one.
    notify : shows a sentence to the user.
    take_away : takes layers of ours out of the viewer, soon.
    """

    def __init__(
        self, desk: Desk, opener: ImageOpener, notify: Callable[[str], None], take_away: Callable[[list[Any]], None]
    ) -> None:
        self.objects: Any = None
        self.folder: Any = None
        self._desk, self._opener, self._notify, self._take_away = desk, opener, notify, take_away

    @property
    def chosen(self) -> list[int]:
        """Ids of the objects that are chosen in the table."""
        book = self.objects.book if self.objects is not None else None
        return [] if book is None else [int(i) for i in book.table.selected_ids()]

    def show_objects(self) -> None:
        """The table of all objects and the history, below the image."""
        if self.objects is None:
            from napari_relay.widgets.objects_panel import ObjectsPanel

            self.objects = ObjectsPanel(self._desk, self._notify, self._take_away)
            self.objects.closed.connect(lambda: setattr(self, "objects", None))
            self._desk.viewer.window.add_dock_widget(self.objects, name="Relay objects", area="bottom")
        _raise(self.objects)

    def show_folder(self, path: Path, window: QMainWindow, *, recursive: bool = False) -> None:
        """A folder of images (`recursive`: with those below it), left of the image; the one before goes."""
        from napari_relay.widgets.folder_panel import FolderPanel
        from napari_relay.widgets.folder_work import FolderWork

        self._end("folder", keep=False)
        work = FolderWork(
            path, self._desk, self._opener, WindowThread.single(), self._notify, self._take_away, recursive=recursive
        )
        self.folder = FolderPanel(work)
        self.folder.closed.connect(lambda: setattr(self, "folder", None))
        self._desk.viewer.window.add_dock_widget(self.folder, name="Relay folder", area="left")
        self.folder.keys.install(window, *canvases_of(window))
        _raise(self.folder)

    def close(self, *, keep: bool) -> None:
        """End both; `keep`: the window is closing and takes its docks along."""
        self._end("objects", keep=keep)
        self._end("folder", keep=keep)

    def _end(self, name: str, *, keep: bool) -> None:
        panel = getattr(self, name)
        if panel is not None:
            setattr(self, name, None)
            panel.shutdown()
            if not keep:
                self._desk.viewer.window.remove_dock_widget(panel)


def _raise(panel: Any) -> None:
    dock = panel.parent()
    dock.show()
    dock.raise_()

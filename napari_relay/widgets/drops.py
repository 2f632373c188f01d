"""Files that come in: dropped on the window, where a carried checkpoint is used whatever part of it it falls on, or
asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_relay.widgets.model_panel import SUFFIX


class CheckpointDrops(QObject):
    """Event filter for widgets that take dropped files: checkpoints are ours, everything else goes on."""

    def __init__(self, on_file: Callable[[str], object], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._on_file = on_file

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        if event is None or event.type() != QEvent.Type.Drop:
            return False
        paths = dropped_paths(event)
        if len(paths) != 1 or Path(paths[0]).suffix.lower() != SUFFIX:
            return False
        event.accept()
        self._on_file(paths[0])
        return True


def dropped_paths(event: Any) -> list[str]:
    """Local files of a drag or drop."""
    return [url.toLocalFile() for url in event.mimeData().urls() if url.isLocalFile()]


def ask_for_image(parent: QWidget, use: Callable[[str], object]) -> None:
    """Ask for an image file; `use` gets its path."""
    name, _ = QFileDialog.getOpenFileName(parent, "Open an image")
    if name:
        use(name)


def ask_for_folder(parent: QWidget, use: Callable[[str], object]) -> None:
    """Ask for a folder of images; `use` gets its path."""
    name = QFileDialog.getExistingDirectory(parent, "Open a folder of images")
    if name:
        use(name)

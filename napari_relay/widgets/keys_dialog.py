"""All keys on one page; stays open beside the work."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QVBoxLayout, QWidget

from napari_relay.widgets.keys import FOLDER_TABLE, KEY_TABLE, MOUSE_TABLE
from napari_relay.widgets.status_panel import KeyHints


class KeysDialog(QDialog):
    """Mouse and keys of the click tool."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Relay: mouse and keys")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setMinimumWidth(420)
        layout = QVBoxLayout(self)
        layout.addWidget(
            KeyHints(
                ("Mouse", MOUSE_TABLE), ("Keys, while the click tool is on", KEY_TABLE),
                ("In a folder of images", FOLDER_TABLE),
            )
        )  # fmt: skip
        layout.addStretch()

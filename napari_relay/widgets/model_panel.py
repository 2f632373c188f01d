"""The model: which checkpoint is used, what its card says, and a way to bring one in."""

from __future__ import annotations

import html
from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QPushButton, QVBoxLayout, QWidget

from napari_relay.errors import CheckpointError
from napari_relay.model.checkpoint import Card, list_bundled, read_card
from napari_relay.widgets.status_panel import wrapped

SUFFIX = ".safetensors"


class ModelPanel(QWidget):
    """Chooses a checkpoint; tells which one, and what is wrong with a file that is none.

    Bundled checkpoints are known by name, carried ones by the path of their file. One that the open image has learned
    is in use while that image is open, and is listed as long; `kept` is what was chosen for all others.
    """

    chosen = Signal(str)
    """The user picked this one; where it is `learned`, only for the open image."""
    refused = Signal(str)

    def __init__(self, current: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.combo = QComboBox()
        self.combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.combo.setMinimumContentsLength(12)
        self.card = wrapped()
        self.button = QPushButton("Use a file ...")
        self.button.setToolTip(f"A checkpoint that you carried here (*{SUFFIX}). Dropping it on the window works too.")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (self.combo, self.card, self.button):
            layout.addWidget(widget)
        for card in list_bundled():
            self._add(card.name, card)
        self.current = self.learned = ""
        self._show(current) or self._show(self.combo.itemData(0) or "")
        self.kept = self.current
        self.combo.activated.connect(lambda index: self._pick(self.combo.itemData(index)))
        self.button.clicked.connect(self._browse)

    def use_file(self, path: str | Path) -> bool:
        """Take a carried checkpoint; False, and `refused` says why, when it is none."""
        try:
            card = read_card(Path(path))
        except CheckpointError as error:
            self.refused.emit(str(error))
            return False
        name = str(Path(path).absolute())
        if self.combo.findData(name) < 0:
            self._add(name, card)
        self._pick(name)
        return True

    def show_learned(self, file: str) -> None:
        """The open image uses this checkpoint, which it has learned; "": it has learned none, the kept one is used."""
        before, self.learned = self.learned, file
        if before and before not in (file, self.kept):
            self.combo.removeItem(self.combo.findData(before))
        self._show(file or self.kept)

    def _add(self, name: str, card: Card) -> None:
        self.combo.addItem(card.title if card.title != card.name else card.name, name)

    def _pick(self, name: str) -> None:
        if name != self.current and self._show(name):
            if name != self.learned:
                self.kept = name
            self.chosen.emit(name)

    def _show(self, name: str) -> bool:
        """Select a checkpoint and show its card; False when it cannot be read."""
        if not name:
            return False
        try:
            card = read_card(name)
        except CheckpointError as error:
            self.refused.emit(str(error))
            return False
        index = self.combo.findData(name)
        if index < 0:
            self._add(name, card)
            index = self.combo.count() - 1
        self.combo.setCurrentIndex(index)
        self.current = name
        self.card.setText(card_text(card))
        self.card.setToolTip(card_details(card))
        return True

    def _browse(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Checkpoint", "", f"Checkpoints (*{SUFFIX});;All files (*)")
        if name:
            self.use_file(name)


def card_text(card: Card) -> str:
    """The lines of a card that matter before using it."""
    lines = [card.limits, f"Licence: {card.licence}"]
    return "<br>".join(html.escape(line) for line in lines if line)


def card_details(card: Card) -> str:
    """The whole card, for the tool tip."""
    rows = [("Start", card.start), ("Recipe", card.recipe), *(("Data", entry) for entry in card.data)]
    rows += [(name, str(value)) for name, value in card.metrics.items() if not isinstance(value, (dict, list))]
    return "<br>".join(f"<b>{html.escape(key)}</b>: {html.escape(value)}" for key, value in rows if value)

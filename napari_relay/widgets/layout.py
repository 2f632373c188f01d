"""How the dock is laid out: made here, filled from a `Shown`; what the buttons do is wired in `dock.py`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt import QElidingLabel

from napari_relay.widgets.class_panel import ClassPanel
from napari_relay.widgets.column import Column, Fold
from napari_relay.widgets.keys import Command
from napari_relay.widgets.learn_panel import LearnPanel
from napari_relay.widgets.model_panel import ModelPanel
from napari_relay.widgets.question_bar import ProgressBar, QuestionBar
from napari_relay.widgets.settings import WindowSettings
from napari_relay.widgets.settings_form import SettingsForm
from napari_relay.widgets.state import Phase, Shown
from napari_relay.widgets.status_panel import KeyHints, StatusPanel
from napari_relay.widgets.tool_panel import ToolPanel
from napari_relay.widgets.wording import Words, plural

WIDTH_PX = 280
FIRST_STEPS = (
    ("Left click", "inside the object"),
    ("Shift + click", "what is too much"),
    ("Enter", "accept"),
    ("Ctrl + Z", "take back"),
)


class DockLayout:
    """All panels of the dock, in one scrolling column."""

    def __init__(self, dock: QWidget, settings: WindowSettings) -> None:
        self.images = _combo()
        self.arm = QPushButton("Click objects")
        self.arm.setCheckable(True)
        self.arm.setToolTip("The click tool: on, clicks and keys are for objects; off, they are napari's own.")
        self.question = QuestionBar()
        self.progress = ProgressBar()
        self.browse = QPushButton("Open an image ...")
        self.folder = QPushButton("Open a folder of images ...")
        self.status = StatusPanel()
        self.first_steps = KeyHints(("", FIRST_STEPS))
        self.retry = QPushButton("Try again")
        self.classes = ClassPanel()
        self.tools = ToolPanel()
        self.objects = QLabel()
        self.project = QElidingLabel()
        self.project.setElideMode(Qt.TextElideMode.ElideMiddle)
        self.learn = LearnPanel()
        self.model = ModelPanel(settings.checkpoint)
        self.settings = SettingsForm(settings)
        self.table = QPushButton("All objects and history ...")
        self.table.setToolTip("A table of all objects: sort, filter, change many at once, correct one.")
        self.keys = QPushButton("All keys (?)")
        self.commands = [
            (QPushButton("Accept"), Command.ACCEPT),
            (QPushButton("Drop"), Command.DROP),
            (QPushButton("Next mask"), Command.NEXT),
            (QPushButton("Undo"), Command.UNDO),
            (QPushButton("Redo"), Command.REDO),
        ]
        for (button, _), tip in zip(
            self.commands, ("Enter", "Esc", "Tab: next mask of the first click", "Ctrl + Z", "Ctrl + Shift + Z"),
            strict=True,
        ):  # fmt: skip
            button.setToolTip(tip)
        self._build(dock)

    def show(self, shown: Shown, words: Words, *, armed: bool) -> None:
        """Fill the panels."""
        has_image = shown.phase is not Phase.NO_IMAGE
        self.arm.setVisible(has_image)
        self.browse.setVisible(not has_image)
        self.folder.setVisible(not has_image)
        self.arm.setChecked(armed)
        self.arm.setText("Clicking objects (press to stop)" if armed else "Click objects")
        self.status.show_words(words)
        self.first_steps.setVisible(armed and shown.objects == 0 and not words.alert)
        self.retry.setVisible(shown.phase is Phase.FAILED and not shown.project)
        self._work.setVisible(bool(shown.project))
        enabled = {
            Command.ACCEPT: shown.phase in (Phase.PROPOSAL, Phase.COMPUTING) or shown.unsaved > 0,
            Command.DROP: bool(shown.clicks),
            Command.NEXT: shown.phase is Phase.PROPOSAL and shown.alternatives > 1,
        }
        for button, command in self.commands:
            button.setEnabled(armed and enabled.get(command, True))
        self.classes.show_classes(shown.classes, shown.current_class)
        self.objects.setText(plural(shown.objects, "object"))
        self.project.setText("in a temporary project" if shown.temporary else Path(shown.project).name)
        self.project.setToolTip(shown.project)

    def show_images(self, names: Sequence[str], chosen: int) -> None:
        """List the images; the box is there only where there is a choice."""
        self.images.blockSignals(True)
        self.images.clear()
        self.images.addItems(list(names))
        self.images.setCurrentIndex(chosen)
        self.images.blockSignals(False)
        self._image_row.setVisible(len(names) > 1)

    def _build(self, dock: QWidget) -> None:
        self._image_row = _row(QLabel("Image"), self.images, stretch=1)
        self._work = QWidget()
        work = _column(self._work)
        work.addWidget(self._buttons())
        work.addWidget(_title("Draw"))
        work.addWidget(self.tools)
        work.addWidget(_title("Class"))
        work.addWidget(self.classes)
        work.addWidget(_row(self.objects, self.project, stretch=1))
        work.addWidget(self.table)

        body = QWidget()
        column = _column(body)
        column.setContentsMargins(8, 8, 8, 8)
        column.setSpacing(8)
        for widget in (
            self._image_row, self.arm, self.question, self.progress, self.status, self.browse, self.folder,
            self.retry,
            self.first_steps, self._work, Fold("Learn", self.learn), Fold("Model", self.model),
            Fold("Settings", self.settings.native), self.keys,
        ):  # fmt: skip
            column.addWidget(widget)
        column.addStretch(1)

        _column(dock).addWidget(Column(body, WIDTH_PX))
        dock.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)

    def _buttons(self) -> QWidget:
        panel = QWidget()
        grid = QGridLayout(panel)
        grid.setContentsMargins(0, 0, 0, 0)
        for index, (button, _) in enumerate(self.commands):
            # Two wide ones in the first row, three below.
            row, place, span = (0, 3 * index, 3) if index < 2 else (1, 2 * (index - 2), 2)
            grid.addWidget(button, row, place, 1, span)
        return panel


def _combo() -> QComboBox:
    combo = QComboBox()
    # A long file name must not widen the dock.
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(10)
    return combo


def _title(text: str) -> QLabel:
    return QLabel(f"<b>{text}</b>")


def _column(widget: QWidget) -> QVBoxLayout:
    layout = QVBoxLayout(widget)
    layout.setContentsMargins(0, 0, 0, 0)
    return layout


def _row(*widgets: QWidget, stretch: int) -> QWidget:
    row = QWidget()
    layout = QHBoxLayout(row)
    layout.setContentsMargins(0, 0, 0, 0)
    for index, widget in enumerate(widgets):
        layout.addWidget(widget, 1 if index == stretch else 0)
    return row

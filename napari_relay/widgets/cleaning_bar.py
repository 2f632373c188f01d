"""What is done to masks when they are accepted: holes, islands, outlines; changed at any time, and taken back."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_relay.store import CleaningRules
from napari_relay.widgets.controller import ClickController, sentence
from napari_relay.widgets.job import Job
from napari_relay.widgets.job_bar import JobBar
from napari_relay.widgets.threads import Runner

REST_MS = 600
"""How long the fields must rest before they count: every setting is an action of the history."""


class CleaningBar(QWidget):
    """Shows and sets the cleaning of a project.

    Parameters
    ----------
    controller : of the open image.
    runner : reads the project in the background.
    job : cleans; its owner closes it.
    notify : shows a sentence to the user.
    """

    def __init__(self, controller: ClickController, runner: Runner, job: Job, notify: Callable[[str], None]) -> None:
        super().__init__()
        self._runner, self._job, self._notify = runner, job, notify
        self._project = controller.workspace.project
        self._shown = self._wanted = CleaningRules()
        self.holes = _field(1_000_000_000, 0, "Holes of up to so many pixels are filled")
        self.islands = _field(1_000_000_000, 0, "Pieces of up to so many pixels are dropped, never the largest")
        self.smooth = _field(100, 1, "Radius of the smoothing of outlines, in pixels")
        self.existing = QCheckBox("Existing objects too")
        self.existing.setChecked(True)
        self.existing.setToolTip("Clean them anew, from their masks as accepted; what was drawn on since stays")
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self._set)
        fields = QWidget()
        row = QHBoxLayout(fields)
        row.setContentsMargins(4, 0, 4, 0)
        for text, field in (("Fill holes", self.holes), ("Drop islands", self.islands), ("Smooth", self.smooth)):
            row.addWidget(QLabel(text))
            row.addWidget(field)
            field.valueChanged.connect(lambda _: self._rest.start())
        row.addWidget(self.existing)
        row.addStretch(1)
        self.progress = JobBar(job, "Cleaned", "The masks stay as they were. What is accepted meanwhile waits.")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(fields)
        column.addWidget(self.progress)
        job.ended.connect(self._ended)
        job.failed.connect(self._failed)
        self.look()

    def look(self) -> None:
        """Read the settings: an undo may have brought others back."""
        self._runner.submit(lambda: self._project.cleaning, self._show)

    def _show(self, rules: CleaningRules) -> None:
        if self._rest.isActive() or self._job.running:
            return
        self._shown = rules
        for field, value in (
            (self.holes, rules.holes_px), (self.islands, rules.islands_px), (self.smooth, rules.smooth_px)
        ):  # fmt: skip
            field.blockSignals(True)
            field.setValue(value)
            field.blockSignals(False)

    def _set(self) -> None:
        rules = self._chosen()
        if self._job.running:
            if rules != self._wanted:
                self._job.stop()  # `_ended` goes on with the new settings
        elif rules != self._shown:
            project, existing, self._wanted = self._project, self.existing.isChecked(), rules
            self._job.start(lambda: project.cleaning_steps(rules, existing=existing))

    def _chosen(self) -> CleaningRules:
        return CleaningRules(self.holes.value(), self.islands.value(), self.smooth.value())

    def _ended(self, done: object) -> None:
        if done is not None:
            self._shown = self._wanted
        if self._chosen() != self._wanted:
            self._rest.start()
        else:
            self.look()

    def _failed(self, error: BaseException) -> None:
        self._notify(sentence(error))
        self.look()


def _field(most: float, decimals: int, tip: str) -> QDoubleSpinBox:
    field = QDoubleSpinBox()
    field.setRange(0, most)
    field.setDecimals(decimals)
    field.setSuffix(" px")
    field.setSpecialValueText("off")
    field.setToolTip(tip)
    return field

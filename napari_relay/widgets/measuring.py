"""The check box, the range and the progress of measurements in the table of objects."""

from __future__ import annotations

import math
from collections.abc import Callable

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_relay.widgets.controller import sentence
from napari_relay.widgets.job import Job
from napari_relay.widgets.job_bar import JobBar
from napari_relay.widgets.keys import Field
from napari_relay.widgets.measured_rows import MeasuredRows, Question
from napari_relay.widgets.object_model import ObjectModel
from napari_relay.widgets.threads import Runner

NONE = ""


class MeasuringBar(QWidget):
    """Shows measurements as columns, filters by a range of one, and measures all objects when that is needed.

    Parameters
    ----------
    rows : what the model reads.
    model : of the table.
    runner : the one that reads for the model.
    job : measures; its owner closes it.
    notify : shows a sentence to the user.

    Attributes
    ----------
    shown : the check box.
    """

    range_changed = Signal(str, float, float)
    """Only objects whose measurement of that name lies between these two; no name: all."""

    def __init__(
        self, rows: MeasuredRows, model: ObjectModel, runner: Runner, job: Job, notify: Callable[[str], None]
    ) -> None:
        super().__init__()
        self._rows, self._model, self._job, self._notify = rows, model, job, notify
        self._plain = model.columns
        self._given_up: Question | None = None
        self._asked: Question | None = None
        self.shown = QCheckBox("Measurements")
        self.shown.setToolTip("Shape and intensities; sorted or filtered by one, all objects are measured first")
        self.name, self.low, self.high = QComboBox(), Field(), Field()
        self.low.setPlaceholderText("from")
        self.high.setPlaceholderText("to")
        self.progress = JobBar(job, "Measured", "What is measured is kept; the others come last, or are left out.")
        self._fields = QWidget()
        self._build()
        self.shown.toggled.connect(self._toggle)
        self.name.currentIndexChanged.connect(lambda _: self._changed())
        for field in (self.low, self.high):
            field.editingFinished.connect(self._changed)
        rows.missing = lambda asked: runner.post(lambda: self._measure(asked))
        job.ended.connect(self._ended)
        job.failed.connect(self._failed)

    def _toggle(self, wanted: bool) -> None:
        self._rows.wanted = wanted
        self._given_up = None
        if wanted and not self.name.count():
            self.name.blockSignals(True)
            self.name.addItem("All values", NONE)
            for name in self._rows.names():
                self.name.addItem(name, name)
            self.name.blockSignals(False)
        if not wanted:
            self._job.stop()
            self.name.setCurrentIndex(0)
        self._fields.setVisible(wanted)
        self._model.set_columns((*self._plain, *(self._rows.columns() if wanted else ())))

    def _changed(self) -> None:
        self._given_up = None
        try:
            low, high = (
                float(field.text().replace(",", ".")) if field.text().strip() else default
                for field, default in ((self.low, -math.inf), (self.high, math.inf))
            )
        except ValueError:
            self._notify("A measurement is filtered by two numbers, such as 0.5 and 0.9.")
            return
        self.range_changed.emit(self.name.currentData() or NONE, low, high)

    def _measure(self, asked: Question) -> None:
        """The table does without some measurements: measure, unless the user has stopped just that."""
        if self.shown.isChecked() and asked != self._given_up and not self._job.running:
            self._asked = asked
            self._job.start(lambda: self._rows.measure_all(asked[0]))

    def _ended(self, done: object) -> None:
        self._given_up = None if done else self._asked
        self._model.load()

    def _failed(self, error: BaseException) -> None:
        self._given_up = self._asked
        self._notify(sentence(error))
        self._model.load()

    def _build(self) -> None:
        row = QHBoxLayout(self._fields)
        row.setContentsMargins(4, 0, 4, 0)
        row.addWidget(QLabel("Only"))
        for widget in (self.name, self.low, self.high):
            row.addWidget(widget)
        row.addStretch(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._fields)
        column.addWidget(self.progress)
        self._fields.hide()

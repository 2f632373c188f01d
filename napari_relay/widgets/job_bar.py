"""Shows a `Job` that takes long: how far it is, how long it takes, and a button that stops it."""

from __future__ import annotations

from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QWidget

from napari_relay.widgets.job import Job
from napari_relay.widgets.wording import duration


class JobBar(QWidget):
    """Bar, time left and a Stop button of a `Job`; there only while it runs and has something to tell.

    Parameters
    ----------
    job : its owner closes it.
    what : `Measuring`, `Cleaning`.
    tip : what stopping means.
    """

    def __init__(self, job: Job, what: str, tip: str) -> None:
        super().__init__()
        self._job, self._what = job, what
        self.told, self.bar, self.stop = QLabel(), QProgressBar(), QPushButton("Stop")
        self.stop.setToolTip(tip)
        row = QHBoxLayout(self)
        row.setContentsMargins(4, 0, 4, 0)
        for widget in (self.told, self.bar, self.stop):
            row.addWidget(widget)
        row.setStretchFactor(self.bar, 1)
        self.stop.clicked.connect(lambda _=False: self._ask_to_stop())
        job.progress.connect(self._progress)
        job.ended.connect(self._ended)
        job.failed.connect(self._ended)
        self.hide()

    def _progress(self, done: int, total: int, left_s: float) -> None:
        if not self._job.running:
            return
        self.show()
        self.bar.setRange(0, total)
        self.bar.setValue(done)
        left = f", {duration(left_s)} left" if left_s >= 0 else ""
        self.told.setText(f"{self._what} {done:,} of {total:,} objects{left}")

    def _ask_to_stop(self) -> None:
        self._job.stop()
        self.told.setText("Stopping ...")

    def _ended(self, _: object) -> None:
        self.hide()

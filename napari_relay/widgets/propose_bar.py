"""Let the model propose: every object, what is like the chosen ones, or a class for every pixel; in the whole image or
in what is on screen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QProgressBar, QPushButton, QWidget

from napari_relay.geometry import Box, Plane
from napari_relay.widgets.controller import sentence
from napari_relay.widgets.propose_work import ProposeWork
from napari_relay.widgets.wording import duration, plural

WHOLE, SHOWN = "in the whole image", "in what is on screen"


class ProposeBar(QWidget):
    """Starts and stops a `ProposeWork`.

    Parameters
    ----------
    work : the job; its owner closes it.
    chosen : ids of the objects chosen in the table.
    seen : (the part of the image that is on screen, its plane).
    notify : shows a sentence to the user.
    """

    def __init__(
        self,
        work: ProposeWork,
        chosen: Callable[[], list[int]],
        seen: Callable[[], tuple[Box, Plane]],
        notify: Callable[[str], None],
    ) -> None:
        super().__init__()
        self._work, self._chosen, self._seen, self._notify = work, chosen, seen, notify
        self._maps = False
        self.every, self.similar, self.classes, self.stop = (
            QPushButton("Find every object"),
            QPushButton("Find similar"),
            QPushButton("Class of every pixel"),
            QPushButton("Stop"),
        )
        self.every.setToolTip("Proposes all objects of the size of those that are there.")
        self.similar.setToolTip("Proposes what looks like the objects chosen in the table.")
        self.classes.setToolTip(
            "Maps the classes that were learned from the accepted objects; the map lies beside the project, in place "
            "of the one before."
        )
        self.stop.setToolTip("What is done is kept; the same search goes on from there.")
        self.where = QComboBox()
        self.where.addItems([WHOLE, SHOWN])
        self.bar, self.told = QProgressBar(), QLabel()
        row = QHBoxLayout(self)
        row.setContentsMargins(4, 0, 4, 0)
        for widget in (self.every, self.similar, self.classes, self.where, self.bar, self.told, self.stop):
            row.addWidget(widget)
        row.setStretchFactor(self.bar, 1)
        self.every.clicked.connect(lambda _=False: self._start("instances", ()))
        self.similar.clicked.connect(lambda _=False: self._start_similar())
        self.classes.clicked.connect(lambda _=False: self._start("semantic", ()))
        self.stop.clicked.connect(lambda _=False: self._ask_to_stop())
        work.progress.connect(self._progress)
        work.ended.connect(self._ended)
        work.mapped.connect(self._mapped)
        work.failed.connect(self._failed)
        self._show_running()

    def _start_similar(self) -> None:
        chosen = tuple(self._chosen())
        if chosen:
            self._start("similar", chosen)
        else:
            self._notify("Choose one or a few objects in the table first; what looks like them is found then.")

    def _start(self, mode: Any, like: tuple[int, ...]) -> None:
        region, plane = self._seen()
        whole = self.where.currentText() == WHOLE
        self._work.start(mode, like=like, region=None if whole else region, plane=plane)
        self._maps = mode == "semantic"
        self.told.setText("Looking ...")
        self.told.setToolTip("")
        self.bar.setRange(0, 0)
        self._show_running()

    def _ask_to_stop(self) -> None:
        self._work.stop()
        self.told.setText("Stopping ...")

    def _progress(self, done: int, total: int, found: int, left: float) -> None:
        self.bar.setRange(0, total)
        self.bar.setValue(done)
        time_left = f", {duration(left)} left" if left >= 0 and done < total else ""
        what = f"{done} of {total} parts" if self._maps else plural(found, "candidate")
        self.told.setText(f"{what}{time_left}")

    def _ended(self, count: int) -> None:
        self._show_running()
        self.told.setText(
            "Stopped." if count < 0 else f"{plural(count, 'object')} proposed." if count else "Nothing new found."
        )

    def _mapped(self, path: str) -> None:
        self._show_running()
        self.told.setText(f"Classes are in {Path(path).name}")
        self.told.setToolTip(path)

    def _failed(self, error: BaseException) -> None:
        self._show_running()
        self.told.clear()
        self._notify(sentence(error))

    def _show_running(self) -> None:
        running = self._work.running
        for widget in (self.every, self.similar, self.classes, self.where):
            widget.setEnabled(not running)
        for widget in (self.bar, self.stop):
            widget.setVisible(running)


def box_on_screen(layer: Any, shape: tuple[int, int]) -> Box:
    """The part of an image layer that is on screen, in level-0 pixels, cut off at the image's border.

    Parameters
    ----------
    shape : (height, width) of the image.
    """
    corners = np.asarray(layer.corner_pixels, dtype=float)[:, -2:]
    if layer.multiscale:
        corners = corners * np.asarray(layer.downsample_factors[layer.data_level], dtype=float)[-2:]
    (y0, x0), (y1, x1) = np.floor(corners[0]), np.ceil(corners[1]) + 1
    return Box(int(y0), int(x0), int(y1), int(x1)).clip(shape)

"""The real window on a virtual screen, and the hands of a user: for benchmarks of what happens inside it."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from make_huge import BLOCK, FILL, block_places
from napari_relay.errors import RelayError
from napari_relay.geometry import Box
from napari_relay.sources import Source
from screen import screen

LIMIT_S = 300.0
Place = tuple[float, float]


@contextmanager
def open_window(image: Path, *, project: Path, checkpoint: str | None = None) -> Iterator[Window]:
    """`napari-relay IMAGE` in this process, ready to be clicked and with the model loaded.

    Must be called before anything imports Qt.

    Raises
    ------
    RelayError
        The window, the image or the model is not ready in time.
    """
    with screen() as environment:
        os.environ.update(environment)
        os.environ.pop("QT_QPA_PLATFORM", None)
        # napari asks for the system's theme, which Qt 5 cannot tell.
        warnings.filterwarnings("ignore", message="System theme detection")
        from napari._qt import qt_main_window
        from napari.qt import get_qapp

        from napari_relay.widgets.launcher import open_window as make

        # The notice that PyQt5 will go lies over the canvas and takes its clicks.
        qt_main_window.SHOW_QT_WARNING = False
        application = get_qapp()
        viewer, dock = make(project=project, checkpoint=checkpoint)
        window = Window(viewer, dock)
        try:
            viewer.window.show()
            dock.open_image(str(image))
            window.until(lambda: window.phase == "ready" and window.shown.model != "starting", "the model is ready")
            if window.shown.model != "ready":
                raise RelayError(window.shown.message)
            window.settle()
            yield window
        finally:
            dock.shutdown(keep_layers=True)
            viewer.close()
            application.processEvents()


class Window:
    """The viewer, its dock, and what a user does with them.

    drawn : how many frames napari has drawn since the window was made.
    """

    def __init__(self, viewer: Any, dock: Any) -> None:
        self.viewer, self.dock = viewer, dock
        self.drawn = 0
        self.on_draw: Callable[[], None] | None = None
        self.shown = dock.desk.shown
        self._canvas = viewer.window._qt_viewer.canvas
        self._canvas._scene_canvas.events.draw.connect(self._count, position="last")
        dock.desk.changed.connect(self._told)

    @property
    def phase(self) -> str:
        """Where the user is with the present object."""
        return str(self.shown.phase)

    @property
    def controller(self) -> Any:
        return self.dock.desk.controller

    @property
    def workspace(self) -> Any:
        return self.controller.workspace

    def look_at(self, place: Place, zoom: float = 1.0) -> None:
        """Bring a level-0 place to the middle of the canvas, at so many canvas pixels a level-0 pixel."""
        y, x = self._to_world(place)
        scale = abs(self._to_world((place[0] + 1, place[1]))[0] - y)
        self.viewer.scene.camera.zoom = zoom / scale
        self.viewer.scene.camera.center = (0, y, x)
        self.settle()

    def canvas_point(self, place: Place) -> tuple[int, int]:
        """(x, y) on the canvas of a level-0 place."""
        y, x = self._to_world(place)
        view = self._canvas.view
        point = (view.transform * view.scene.transform).map([x, y, 0, 1])
        return round(point[0] / point[3]), round(point[1] / point[3])

    def click(self, place: Place, *, positive: bool = True) -> None:
        """Left click, or Shift and left click, on a level-0 place."""
        from qtpy.QtCore import QPoint, Qt
        from qtpy.QtTest import QTest

        key = Qt.KeyboardModifier.NoModifier if positive else Qt.KeyboardModifier.ShiftModifier
        QTest.mouseClick(self._canvas.native, Qt.MouseButton.LeftButton, key, QPoint(*self.canvas_point(place)))

    def hover(self, place: Place) -> None:
        """Move the mouse to a level-0 place."""
        from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
        from qtpy.QtGui import QMouseEvent
        from qtpy.QtWidgets import QApplication

        point, none = QPoint(*self.canvas_point(place)), Qt.MouseButton.NoButton
        native = self._canvas.native
        event = QMouseEvent(
            QEvent.Type.MouseMove, QPointF(point), QPointF(native.mapToGlobal(point)), none, none,
            Qt.KeyboardModifier.NoModifier,
        )  # fmt: skip
        QApplication.sendEvent(native, event)

    def press(self, key: str) -> None:
        """A key by Qt's name, such as "Return"."""
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        QTest.keyClick(self._canvas.native, getattr(Qt.Key, f"Key_{key}"))

    def read_pixel(self, point: tuple[int, int]) -> np.ndarray:
        """RGB on the canvas, int [3]; only while a frame is being drawn (`on_draw`), when the canvas is current."""
        from vispy import gloo

        x, y = point
        height = self._canvas.native.height()
        return gloo.read_pixels((x, height - 1 - y, 1, 1), alpha=False)[0, 0].astype(int)

    def pixel_now(self, point: tuple[int, int]) -> np.ndarray:
        """RGB on the canvas, int [3], of a new frame."""
        shot = self.viewer.screenshot(canvas_only=True, flash=False)
        return shot[point[1], point[0], :3].astype(int)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Let the window work until `condition` holds; RelayError naming `what` when it takes too long."""
        from qtpy.QtTest import QTest

        began = time.perf_counter()
        while not condition():
            QTest.qWait(5)
            if time.perf_counter() - began > LIMIT_S:
                raise RelayError(f"It took too long until {what}; the window says: {self.shown}")

    def pause(self, seconds: float) -> None:
        """Let the window work for so long."""
        from qtpy.QtTest import QTest

        QTest.qWait(round(seconds * 1000))

    def settle(self, quiet_s: float = 0.15) -> None:
        """Until no frame has been drawn and nothing painted for a moment."""
        state = (-1, 0.0)

        def quiet() -> bool:
            nonlocal state
            waiting = self.dock._turns._calls or self.dock.desk.scene._waiting
            busy = waiting or not all(layer.loaded for layer in self.viewer.layers)
            if busy or state[0] != self.drawn:
                state = (self.drawn, time.perf_counter())
            return time.perf_counter() - state[1] > quiet_s

        self.until(quiet, "the window is quiet")

    def _to_world(self, place: Place) -> tuple[float, float]:
        world = self.dock.desk.layer.data_to_world(place)
        return float(world[-2]), float(world[-1])

    def _count(self, event: Any = None) -> None:
        self.drawn += 1
        if self.on_draw is not None:
            self.on_draw()

    def _told(self, shown: Any) -> None:
        self.shown = shown


def tissue_places(source: Source, count: int, *, filled: float = 0.01) -> Iterator[Place]:
    """Level-0 places on real tissue of an image of `make_huge.py`, in turn from its blocks, far from their edges."""
    rng = np.random.default_rng(0)
    blocks = block_places(source.shape[0], filled)
    found = 0
    while found < count:
        row, column = blocks[found % len(blocks)]
        y, x = (int(rng.integers(500, BLOCK - 500)) for _ in range(2))
        y, x = row * BLOCK + y, column * BLOCK + x
        values = source.read(Box(y - 4, x - 4, y + 5, x + 5))
        if values.mean() < FILL - 60:
            found += 1
            yield float(y), float(x)

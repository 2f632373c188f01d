"""A quick stand-in for the model, a picture it understands, and ways to act as a user does.

Only the model is faked: it takes for object what looks like the first click's pixel. Sources, views, sessions,
projects, threads, viewer and mouse events are the real ones.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from scipy import ndimage

from napari_relay.fullimage.ranking import rank
from napari_relay.geometry import Plane
from napari_relay.session import ClickSession
from napari_relay.sources import open_image
from napari_relay.store import Project, PyramidWriter, open_pyramid
from napari_relay.views import LOGIT_SIDE, Prediction, Stretch, measure_stretch
from napari_relay.widgets.opening import Opened
from napari_relay.widgets.state import Phase
from napari_relay.widgets.turns import TakeAway
from napari_relay.workspace.opening import pyramid_path


class FakeEngine:
    """Ready at once; remembers what was cancelled; can be told to change its state."""

    def __init__(self) -> None:
        self.state, self.message = "ready", ""
        self.cancelled: list[str] = []
        self.listeners: list[Callable[[str, str], None]] = []

    def on_state(self, listener: Callable[[str, str], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def say(self, state: str, message: str = "") -> None:
        self.state, self.message = state, message
        for listener in list(self.listeners):
            listener(state, message)

    def cancel(self, lane: str) -> None:
        self.cancelled.append(lane)

    def close(self) -> None:
        self.listeners.clear()


class FakePredicts:
    """Masks by brightness. `delay_s` is how long a click takes; `gate` holds it until it is set; `fail` raises."""

    checkpoint = "fake"

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.gate = threading.Event()
        self.gate.set()
        self.fail: Exception | None = None
        self.calls: list[tuple[str, int]] = []
        self.prefetched: list[str] = []
        self.nothing = False
        self.cancelled = 0

    def predict(self, crops_source: Any, key: str, clicks: Sequence[Any], previous: Any) -> Prediction:
        self.calls.append((key, len(clicks)))
        assert self.gate.wait(20)
        time.sleep(self.delay_s)
        if self.fail is not None:
            raise self.fail
        crops = crops_source()
        small = crops.local.mean(axis=0).reshape(LOGIT_SIDE, 4, LOGIT_SIDE, 4).mean(axis=(1, 3))
        like = np.zeros_like(small, dtype=bool)
        if not self.nothing:
            for click in clicks:
                y, x = (min(LOGIT_SIDE - 1, max(0, int(value / 4))) for value in (click.y, click.x))
                labels, _ = ndimage.label(np.abs(small - small[y, x]) < 0.3)
                like = like | (labels == labels[y, x]) if click.positive else like & (labels != labels[y, x])
        logits = np.where(like, 8.0, -8.0).astype(np.float32)
        if len(clicks) > 1 or previous is not None:
            return Prediction(logits[None], (0.9,))
        wide = np.where(ndimage.binary_dilation(like, iterations=3), 8.0, -8.0).astype(np.float32)
        thin = np.where(ndimage.binary_erosion(like, iterations=3), 8.0, -8.0).astype(np.float32)
        return Prediction(np.stack([logits, wide, thin]), (0.9, 0.6, 0.4))

    def prefetch(self, crops_source: Any, key: str) -> None:
        self.prefetched.append(key)

    def cancel_prefetch(self) -> None:
        self.cancelled += 1


class FakeWorkspace:
    """A workspace without a model: everything else in it is real."""

    def __init__(self, source: Any, project: Path) -> None:
        self.source = source
        self.engine, self.predicts = FakeEngine(), FakePredicts()
        self.project = Project.open(
            project, fingerprint=source.fingerprint, shape=source.shape, sizes=(source.sizes_t, source.sizes_z)
        )
        shapes = [level.shape for level in source.levels]
        self.pyramid = open_pyramid(pyramid_path(project), self.project, shapes)
        self.writer = PyramidWriter(self.project, self.pyramid)
        self.project.changed.connect(self.writer.schedule)
        self.checkpoints: list[str | None] = []
        self.closed = False

    def session(self, plane: Plane | None = None) -> ClickSession:
        return ClickSession(self.source, self.predicts, self.project, plane=plane)

    def contrast(self) -> Stretch:
        return measure_stretch(self.source)

    def ranked(self) -> Any:
        return rank(self.project)

    def set_checkpoint(self, checkpoint: str | None) -> None:
        self.checkpoints.append(checkpoint)

    def close(self) -> None:
        self.closed = True
        self.engine.close()
        self.project.changed.disconnect(self.writer.schedule)
        self.writer.close()
        self.project.close()


class FakeComputing:
    """Opens fake workspaces; array images get a project in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workspaces: list[FakeWorkspace] = []
        self.applied: list[Any] = []
        self.closed = False

    def open(self, source: Any, project: Path | None) -> FakeWorkspace:
        made = FakeWorkspace(source, project or self.folder / f"{len(self.workspaces)}.relay")
        self.workspaces.append(made)
        return made

    def apply(self, settings: Any) -> None:
        self.applied.append(settings)

    def close(self) -> None:
        self.closed = True


class StepRunner:
    """A runner for tests without threads: work waits until `run` is called."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Any, Any, Any, bool]] = []
        self.posted: list[Callable[[], None]] = []
        self.closed = False

    def submit(self, work: Any, done: Any = None, failed: Any = None, *, keep: bool = False) -> None:
        if not self.closed:
            self.jobs.append((work, done, failed, keep))

    def post(self, call: Callable[[], None]) -> None:
        self.posted.append(call)

    def run(self, most: int = 1000) -> None:
        """Do what waits, the answers of each job before the next one."""
        while (self.jobs or self.posted) and most:
            most -= 1
            while self.posted:
                self.posted.pop(0)()
            if self.jobs:
                work, done, failed, _ = self.jobs.pop(0)
                try:
                    result = work()
                except Exception as error:
                    if failed is not None:
                        failed(error)
                else:
                    while self.posted:
                        self.posted.pop(0)()
                    if done is not None:
                        done(result)

    def close(self, last: Any = None) -> None:
        self.closed = True
        kept = [job for job in self.jobs if job[3]]
        self.jobs.clear()
        for work, *_ in kept:
            work()
        if last is not None:
            last()


def picture(shape: tuple[int, int] = (300, 400)) -> np.ndarray:
    """Two bright discs and a square on dark ground, RGB: (100, 100) r 40, (200, 300) r 60, [220:280, 40:110]."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    grey = np.full(shape, 30, np.uint8)
    grey[(rows - 100) ** 2 + (columns - 100) ** 2 <= 40**2] = 200
    grey[(rows - 200) ** 2 + (columns - 300) ** 2 <= 60**2] = 140
    grey[220:280, 40:110] = 240
    return np.stack([grey] * 3, axis=-1)


@pytest.fixture
def make_picture() -> Callable[..., np.ndarray]:
    return picture


@pytest.fixture
def runner() -> StepRunner:
    return StepRunner()


@pytest.fixture
def fakes() -> SimpleNamespace:
    return SimpleNamespace(
        Workspace=FakeWorkspace, Computing=FakeComputing, StepRunner=StepRunner, Project=Project, picture=picture,
        Window=Window,
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[FakeWorkspace]:
    source = open_image(picture(), axes="yxc", rgb=True)
    made = FakeWorkspace(source, tmp_path / "picture.relay")
    yield made
    if not made.closed:
        made.close()
    source.close()


@pytest.fixture
def opened(workspace: FakeWorkspace) -> Opened:
    return Opened(workspace, False, workspace.close)


LEFT, NO_KEY = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier


class Window:
    """A viewer with the dock, and the hands of a user."""

    def __init__(self, viewer: Any, dock: Any, computing: FakeComputing, qtbot: Any) -> None:
        self.viewer, self.dock, self.computing, self.qtbot = viewer, dock, computing, qtbot
        self.qt_canvas = viewer.window._qt_viewer.canvas
        self.canvas = self.qt_canvas.native

    @property
    def workspace(self) -> FakeWorkspace:
        return self.computing.workspaces[-1]

    @property
    def shown(self) -> Any:
        return self.dock.desk.shown

    def point(self, y: float, x: float) -> QPoint:
        """Canvas pixel of a world position."""
        place = (self.qt_canvas.view.transform * self.qt_canvas.view.scene.transform).map([x, y, 0, 1])
        return QPoint(round(place[0] / place[3]), round(place[1] / place[3]))

    def click(self, y: float, x: float, modifiers: Any = NO_KEY) -> None:
        QTest.mouseClick(self.canvas, LEFT, modifiers, self.point(y, x))

    def drag(self, start: QPoint, end: QPoint) -> None:
        QTest.mousePress(self.canvas, LEFT, NO_KEY, start)
        for part in (0.3, 0.6, 1.0):
            self.move(start + (end - start) * part, LEFT)
            QTest.qWait(8)
        QTest.mouseRelease(self.canvas, LEFT, NO_KEY, end)

    def move(self, place: QPoint, buttons: Any = Qt.MouseButton.NoButton) -> None:
        everywhere = QPointF(self.canvas.mapToGlobal(place))
        QApplication.sendEvent(
            self.canvas,
            QMouseEvent(QEvent.Type.MouseMove, QPointF(place), everywhere, Qt.MouseButton.NoButton, buttons, NO_KEY),
        )

    def key(self, key: Any, modifiers: Any = NO_KEY) -> None:
        QTest.keyClick(self.canvas, key, modifiers)

    def wait(self, *phases: Any) -> None:
        """Wait for a phase, and for the window to have been told of it."""
        self.until(lambda: self.shown.phase in phases and not self._answers_due())

    def _answers_due(self) -> bool:
        controller = self.dock.desk.controller
        return controller is not None and controller.draft.pending > 0

    def until(self, condition: Callable[[], bool]) -> None:
        self.qtbot.waitUntil(condition, timeout=60_000)

    def settle(self) -> None:
        """Let jobs be answered and paints be done."""
        self.until(lambda: not self.dock.desk.scene._waiting and not self.dock._turns._calls)
        QTest.qWait(20)

    def pixel(self, y: float, x: float) -> np.ndarray:
        """RGB of the canvas at a world position."""
        self.settle()
        place = self.point(y, x)
        return self.viewer.screenshot(canvas_only=True, flash=False)[place.y(), place.x(), :3].astype(int)


def add_dock(viewer: Any, qtbot: Any, folder: Path) -> Window:
    """Put the dock into a viewer and wait until the canvas has its size and the tool is on."""
    from napari_relay.widgets.dock import RelayWidget
    from napari_relay.widgets.settings import WindowSettings

    computing = FakeComputing(folder)
    dock = RelayWidget(viewer, settings=WindowSettings(), computing=computing)
    viewer.window.add_dock_widget(dock, name="Relay", area="right")
    made = Window(viewer, dock, computing, qtbot)
    sizes: list[Any] = []
    made.until(lambda: len(sizes.append(viewer.canvas.size) or sizes) > 5 and len(set(sizes[-5:])) == 1)
    viewer.reset_view()
    made.until(lambda: dock.desk.armed)
    return made


def end_dock(made: Window) -> None:
    if made.dock is not None and not made.dock._ended:
        made.dock.shutdown()
    made.qt_canvas = made.canvas = None


@pytest.fixture
def open_dock(make_napari_viewer: Any, qtbot: Any, tmp_path: Path) -> Iterator[Callable[..., Window]]:
    """Makes a viewer with the dock, over the picture or other data; ends both after the test."""
    windows: list[Window] = []
    gc.freeze()

    def make(data: Any = None, *, rgb: bool = True, **kwargs: Any) -> Window:
        viewer = make_napari_viewer(show=True)
        viewer.window.resize(1100, 700)
        viewer.add_image(picture() if data is None else data, name="picture", rgb=rgb, **kwargs)
        windows.append(add_dock(viewer, qtbot, tmp_path))
        return windows[-1]

    yield make
    for made in windows:
        end_dock(made)
    qtbot.waitUntil(lambda: not relay_threads(), timeout=60_000)
    gc.unfreeze()


@pytest.fixture(scope="module")
def shared_viewer(qapp: Any) -> Iterator[Any]:
    """One viewer with the picture for a module's tests: making and closing one costs more than most tests do.

    As `make_napari_viewer` does, it has an app model of its own; the two cannot be used in one module.
    """
    from app_model import Application
    from napari import Viewer
    from napari._app_model._app import NapariApplication, _napari_names
    from napari._qt import qt_main_window
    from napari._qt._qapp_model.qactions import init_qactions
    from napari.plugins import _initialize_plugins

    # The notice that PyQt5 will go lies over the canvas and takes its clicks.
    qt_main_window.SHOW_QT_WARNING = False
    _initialize_plugins.cache_clear()
    init_qactions.cache_clear()
    app = NapariApplication("relay_tests")
    app.injection_store.namespace = _napari_names
    with patch.object(NapariApplication, "get_app_model", return_value=app):
        viewer = Viewer(show=True)
        viewer.window.resize(1100, 700)
        viewer.add_image(picture(), name="picture", rgb=True)
        # napari collects garbage at each layer that goes: over what a test makes, not over all that is imported.
        gc.collect()
        gc.freeze()
        yield viewer
        gc.unfreeze()
        viewer.close()
        del viewer
        gc.collect()
        qapp.processEvents()
    Application.destroy("relay_tests")
    _initialize_plugins.cache_clear()
    init_qactions.cache_clear()


@pytest.fixture
def window(shared_viewer: Any, qtbot: Any, tmp_path: Path) -> Iterator[Window]:
    """The dock in the shared viewer, which is as new before and after."""
    viewer, base = shared_viewer, shared_viewer.layers[0]
    made = add_dock(viewer, qtbot, tmp_path)
    yield made
    end_dock(made)
    if made.dock is not None and made.dock.parent() is not None:
        viewer.window.remove_dock_widget(made.dock)
    viewer.dims.ndisplay, viewer.dims.order = 2, tuple(range(viewer.dims.ndim))
    viewer.layers.selection = {base}
    TakeAway(viewer, [layer for layer in viewer.layers if layer is not base], viewer.window._qt_window)
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=60_000)
    base.name, base.visible, base.mode = "picture", True, "pan_zoom"
    base.scale, base.translate, base.rotate = (1, 1), (0, 0), 0
    QTest.qWait(10)
    qtbot.waitUntil(lambda: not relay_threads(), timeout=60_000)


@pytest.fixture
def ready(window: Any) -> Any:
    """The window with its image open and nothing clicked."""
    window.click(100, 100)
    window.wait(Phase.PROPOSAL)
    window.key(Qt.Key.Key_Escape)
    window.wait(Phase.READY)
    return window


def relay_threads() -> list[str]:
    """Names of our threads that still run."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("napari-relay")]


@pytest.fixture
def running_threads() -> Callable[[], list[str]]:
    return relay_threads

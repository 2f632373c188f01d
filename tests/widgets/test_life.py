"""The dock comes and goes with napari, and leaves nothing behind."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_relay.widgets.dock import RelayWidget
from napari_relay.widgets.settings import WindowSettings
from napari_relay.widgets.state import Phase

pytestmark = pytest.mark.gui


def open_image(dock: Any, qtbot: Any) -> None:
    """Wait for the tool, and keep the objects of an array where the default says."""
    qtbot.waitUntil(lambda: dock.desk._opening is not None, timeout=60_000)
    dock.desk._opening.answer_default()
    qtbot.waitUntil(lambda: dock.desk.controller is not None, timeout=60_000)


def test_closing_the_dock_gives_the_viewer_back_and_ends_everything(open_dock: Any, running_threads: Any) -> None:
    window = open_dock()
    viewer, dock = window.viewer, window.dock
    window.click(100, 100)
    window.wait(Phase.PROPOSAL)
    window.key(Qt.Key.Key_Return)
    window.click(200, 300)

    viewer.window.remove_dock_widget(dock)

    window.until(lambda: [layer.name for layer in viewer.layers] == ["picture"])
    assert [callback.__name__ for callback in viewer.mouse_double_click_callbacks] == ["double_click_to_zoom"]
    assert not any("ClickTool" in repr(callback) for callback in viewer.mouse_drag_callbacks)
    window.until(lambda: window.workspace.closed and window.computing.closed)
    window.until(lambda: not running_threads())
    with window.workspace.project.__class__.open(window.workspace.project.path, create=False) as project:
        assert project.count() == 1
    gone = weakref.ref(dock)
    del dock
    window.dock = None
    QApplication.sendPostedEvents(None, 52)
    gc.collect()
    QTest.qWait(10)
    assert gone() is None or not _is_valid(gone())


def _is_valid(widget: Any) -> bool:
    try:
        widget.objectName()
    except RuntimeError:
        return False
    return True


def test_hiding_and_floating_the_dock_keeps_it_working(open_dock: Any) -> None:
    window = open_dock()
    shell = window.dock.parentWidget()
    shell.setFloating(True)
    QTest.qWait(20)
    window.click(100, 100)
    window.wait(Phase.PROPOSAL)
    QTest.keyClick(window.dock.panels.commands[0][0], Qt.Key.Key_Return)
    window.until(lambda: window.workspace.project.count() == 1)
    shell.hide()
    window.click(200, 300)
    window.wait(Phase.PROPOSAL)
    shell.show()
    shell.setFloating(False)
    assert window.dock.desk.armed


def test_closing_the_viewer_writes_what_was_accepted(
    make_napari_viewer: Any, qtbot: Any, fakes: Any, tmp_path: Path, running_threads: Any
) -> None:
    viewer = make_napari_viewer(show=True)
    viewer.add_image(fakes.picture(), rgb=True)
    computing = fakes.Computing(tmp_path)
    dock = RelayWidget(viewer, settings=WindowSettings(), computing=computing)
    viewer.window.add_dock_widget(dock, name="Relay")
    open_image(dock, qtbot)
    workspace, desk = computing.workspaces[0], dock.desk
    place = desk.sight.point((100.0, 100.0))
    desk.controller.click(place)
    qtbot.waitUntil(lambda: desk.shown.phase is Phase.PROPOSAL, timeout=60_000)
    desk.controller.accept()

    viewer.close()

    qtbot.waitUntil(lambda: workspace.closed and computing.closed and not running_threads(), timeout=60_000)
    with fakes.Project.open(workspace.project.path, create=False) as project:
        assert project.count() == 1


def test_napari_hands_a_proxy_over_and_no_private_name_is_used(
    make_napari_viewer_proxy: Any,
    qtbot: Any,
    fakes: Any,
    tmp_path: Path,
    recwarn: pytest.WarningsRecorder,
    running_threads: Any,
) -> None:
    viewer = make_napari_viewer_proxy()
    viewer.add_image(np.zeros((64, 64), np.uint8))

    dock = RelayWidget(viewer, settings=WindowSettings(), computing=fakes.Computing(tmp_path))
    viewer.window.add_dock_widget(dock, name="Relay")
    open_image(dock, qtbot)
    dock.shutdown()

    assert not [warning for warning in recwarn.list if "Private attribute" in str(warning.message)]
    qtbot.waitUntil(lambda: not running_threads(), timeout=60_000)


def test_two_viewers_have_a_dock_each(
    make_napari_viewer: Any, qtbot: Any, fakes: Any, tmp_path: Path, running_threads: Any
) -> None:
    docks = []
    for name in ("a", "b"):
        viewer = make_napari_viewer()
        viewer.add_image(fakes.picture(), rgb=True, name=name)
        (tmp_path / name).mkdir()
        docks.append(RelayWidget(viewer, settings=WindowSettings(), computing=fakes.Computing(tmp_path / name)))
        viewer.window.add_dock_widget(docks[-1], name="Relay")
    for dock in docks:
        open_image(dock, qtbot)

    docks[0].desk.controller.click(docks[0].desk.sight.point((100.0, 100.0)))

    qtbot.waitUntil(lambda: docks[0].desk.shown.phase is Phase.PROPOSAL, timeout=60_000)
    assert docks[1].desk.shown.phase is Phase.READY
    for dock in docks:
        dock.shutdown()
    qtbot.waitUntil(lambda: not running_threads(), timeout=60_000)

"""What is done ahead of a click, and what is not: prefetch under the resting mouse, and nothing while navigating."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QPoint
from qtpy.QtTest import QTest

from napari_relay.widgets.dock import REST_MS
from napari_relay.widgets.state import Phase

pytestmark = pytest.mark.gui


def open_and_drop(window: Any) -> Any:
    window.click(100, 100)
    window.wait(Phase.PROPOSAL)
    window.dock.desk.controller.drop()
    return window.workspace.predicts


def test_a_resting_mouse_prepares_its_place_once(window: Any) -> None:
    predicts = open_and_drop(window)
    before = len(predicts.prefetched)

    window.move(window.point(200, 300))
    window.until(lambda: len(predicts.prefetched) == before + 1)
    QTest.qWait(2 * REST_MS)

    assert len(predicts.prefetched) == before + 1


def test_a_moving_mouse_prepares_nothing_and_a_moving_view_gives_up(window: Any) -> None:
    predicts = open_and_drop(window)
    before = len(predicts.prefetched)
    # A busy machine makes pauses; they must not be taken for a resting mouse.
    window.dock._rest.setInterval(1500)
    for step in range(20):
        window.move(window.point(200, 200 + 5 * step))
        QTest.qWait(5)
    assert len(predicts.prefetched) == before
    cancelled = predicts.cancelled

    window.viewer.scene.camera.center = (150, 190)

    assert predicts.cancelled > cancelled
    QTest.qWait(1600)
    assert len(predicts.prefetched) == before, "the place under the mouse is another one now"


def test_prefetch_can_be_switched_off(window: Any) -> None:
    predicts = open_and_drop(window)
    before = len(predicts.prefetched)
    window.dock.panels.settings.prefetch.value = False

    window.move(window.point(200, 300))
    QTest.qWait(2 * REST_MS)

    assert len(predicts.prefetched) == before


def test_changing_images_and_views_computes_nothing(window: Any) -> None:
    viewer = window.viewer
    other = viewer.add_image(np.zeros((64, 64), np.uint8), name="other")
    first = window.dock.desk.layer
    for _ in range(10):
        window.dock.desk.images.choose(other)
        QTest.qWait(5)
        viewer.scene.camera.zoom *= 1.01
        window.dock.desk.images.choose(first)
        QTest.qWait(5)

    assert not any(workspace.predicts.calls for workspace in window.computing.workspaces)


def test_other_settings_are_handed_to_the_model_and_the_image_stays_open(window: Any) -> None:
    window.click(100, 100)
    window.wait(Phase.PROPOSAL)

    window.dock.panels.settings.device.value = "cpu"
    window.dock.panels.settings.threads.value = 2

    window.until(lambda: len(window.computing.applied) == 2)
    assert (window.computing.applied[-1].device, window.computing.applied[-1].threads) == ("cpu", 2)
    assert window.shown.phase is Phase.PROPOSAL
    assert not window.workspace.closed


def test_the_worker_that_starts_again_is_said_and_the_click_goes_on(window: Any) -> None:
    window.click(100, 100)
    window.wait(Phase.PROPOSAL)
    window.workspace.predicts.gate.clear()
    window.workspace.engine.say("restarting", "The worker ended unexpectedly.")
    window.click(110, 100)
    window.until(lambda: "Starting the model again" in window.dock.panels.status.headline.text())

    window.workspace.engine.say("ready")
    window.workspace.predicts.gate.set()

    window.wait(Phase.PROPOSAL)


def test_right_drags_and_middle_clicks_stay_naparis(window: Any) -> None:
    from qtpy.QtCore import Qt

    place = window.point(100, 100)
    for button in (Qt.MouseButton.RightButton, Qt.MouseButton.MiddleButton):
        QTest.mouseClick(window.canvas, button, Qt.KeyboardModifier.NoModifier, place)
    QTest.mouseClick(window.canvas, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.AltModifier, place + QPoint(1, 1))

    assert not window.shown.clicks

"""The window as a user works with it: real mouse and key events on a real canvas, the model alone is faked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_relay.widgets.keys_dialog import KeysDialog
from napari_relay.widgets.state import Phase

pytestmark = pytest.mark.gui

LEFT = Qt.MouseButton.LeftButton
NONE, SHIFT = Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.ShiftModifier
CONTROL = Qt.KeyboardModifier.ControlModifier
DISC, BIG_DISC, SQUARE, GROUND = (100, 100), (200, 300), (250, 75), (40, 220)


def is_cyan(pixel: np.ndarray) -> bool:
    return bool(pixel[2] > pixel[0] + 20 and pixel[1] > pixel[0] + 20)


def open_by_click(window: Any, y: float, x: float) -> None:
    window.click(y, x)
    window.wait(Phase.PROPOSAL)


def test_a_click_on_an_object_shows_its_mask_there(window: Any) -> None:
    before = window.pixel(*DISC)

    open_by_click(window, *DISC)

    after = window.pixel(80, 90)
    assert is_cyan(after)
    assert not is_cyan(before)
    assert not is_cyan(window.pixel(*GROUND))
    assert not is_cyan(window.pixel(*BIG_DISC))
    proposal = window.dock.desk.controller.scene.proposal
    assert proposal.box.contains(*DISC)
    click = window.shown.clicks[0]
    assert (click.y, click.x) == pytest.approx(DISC, abs=1)
    assert "1 click" in window.dock.panels.status.headline.text()


def test_the_first_object_without_docs_and_without_selecting_a_layer(window: Any) -> None:
    # Only the person's guesses: click it, correct it, press Enter.
    window.viewer.layers.selection.clear()
    open_by_click(window, *DISC)
    window.click(*BIG_DISC)
    window.click(*BIG_DISC, SHIFT)
    window.until(lambda: len(window.shown.clicks) == 3)
    window.wait(Phase.PROPOSAL)

    window.key(Qt.Key.Key_Return)

    window.until(lambda: window.workspace.project.count() == 1)
    window.wait(Phase.READY)
    assert not window.viewer.layers.selection


def test_the_selected_layer_makes_no_difference(window: Any) -> None:
    viewer = window.viewer
    layers = [
        viewer.add_labels(np.zeros((300, 400), np.uint8), name="mine"),
        viewer.add_points(name="points"),
        viewer.add_shapes(name="shapes"),
    ]
    for layer in layers:
        viewer.layers.selection.active = layer
        open_by_click(window, *DISC)
        window.key(Qt.Key.Key_Z, CONTROL)
        window.wait(Phase.READY)
        window.key(Qt.Key.Key_Z, CONTROL | SHIFT)
        window.wait(Phase.PROPOSAL)
        window.key(Qt.Key.Key_Escape)
        window.wait(Phase.READY)
        assert viewer.layers.selection.active is layer
    assert not layers[0].data.any()
    assert len(layers[1].data) == 0


def test_dragging_pans_and_makes_no_click(window: Any) -> None:
    open_by_click(window, *DISC)
    center = np.array(window.viewer.scene.camera.center[-2:])
    middle = window.point(150, 200)

    window.drag(middle, middle + QPoint(60, 30))

    assert len(window.shown.clicks) == 1
    moved = np.array(window.viewer.scene.camera.center[-2:]) - center
    assert np.abs(moved).min() > 5
    assert is_cyan(window.pixel(80, 90))


def test_two_fast_clicks_are_two_clicks_and_no_zoom(window: Any) -> None:
    zoom = window.viewer.scene.camera.zoom
    place = window.point(*DISC)

    # What X makes of two clicks within 400 ms: press, release, double click, release.
    QTest.mouseClick(window.canvas, LEFT, NONE, place)
    QTest.mouseDClick(window.canvas, LEFT, NONE, place)

    window.until(lambda: len(window.shown.clicks) >= 2)
    assert window.viewer.scene.camera.zoom == zoom


def test_wheel_zooms_in_the_middle_of_an_object(window: Any) -> None:
    open_by_click(window, *DISC)
    zoom = window.viewer.scene.camera.zoom

    window.viewer.scene.camera.zoom *= 2
    window.click(110, 100)

    window.until(lambda: len(window.shown.clicks) == 2)
    window.wait(Phase.PROPOSAL)
    assert window.viewer.scene.camera.zoom == zoom * 2
    assert window.shown.clicks[1].y == pytest.approx(110, abs=1)


def test_tab_reaches_the_tool_and_keeps_the_focus_on_the_canvas(window: Any) -> None:
    open_by_click(window, *DISC)
    window.canvas.setFocus()

    window.key(Qt.Key.Key_Tab)

    window.until(lambda: "2 of 3" in window.dock.panels.status.hint.text())
    assert window.shown.alternative == 1


def test_an_accepted_object_takes_its_class_colour_at_once(window: Any) -> None:
    open_by_click(window, *SQUARE)
    assert is_cyan(window.pixel(*SQUARE))
    window.workspace.predicts.gate.clear()

    window.key(Qt.Key.Key_Return)
    window.settle()

    pixel = window.pixel(*SQUARE)
    assert not is_cyan(pixel)
    assert abs(pixel - 240).max() > 20, "the object's pixels are those of the bare image"
    window.workspace.predicts.gate.set()


def test_digits_choose_the_class(window: Any) -> None:
    open_by_click(window, *DISC)
    window.dock.panels.classes.field.setText("cell")
    window.dock.panels.classes.field.returnPressed.emit()
    window.until(lambda: len(window.shown.classes) == 2)
    assert window.shown.current_class == "cell"

    QTest.keyClick(window.canvas, "1")

    assert window.shown.current_class == "object"
    assert window.dock.panels.classes.list.currentItem().text() == "1  object"


def test_a_question_mark_shows_all_keys(window: Any) -> None:
    QTest.keyClick(window.canvas, "?")

    (page,) = window.dock.findChildren(KeysDialog)
    assert page.isVisible()
    page.close()


def test_typing_in_the_dock_is_typing(window: Any) -> None:
    open_by_click(window, *DISC)
    field = window.dock.panels.classes.field
    field.setFocus()
    QTest.keyClicks(field, "c1?")
    QTest.keyClick(field, Qt.Key.Key_Escape)
    assert window.shown.phase is Phase.PROPOSAL, "Esc in a field must not drop the mask"
    assert field.text() == "c1?"
    field.setFocus()

    QTest.keyClick(field, Qt.Key.Key_Return)

    window.until(lambda: len(window.shown.classes) == 2)
    assert window.workspace.project.count() == 0, "Enter in a field must not accept the mask"
    assert window.shown.current_class == "c1?"


def test_enter_with_a_button_focused_accepts(window: Any) -> None:
    open_by_click(window, *DISC)
    button = window.dock.panels.commands[3][0]
    button.setFocus()

    QTest.keyClick(button, Qt.Key.Key_Return)

    window.until(lambda: window.workspace.project.count() == 1)


def test_switched_off_the_viewer_is_as_it_was(window: Any) -> None:
    viewer, dock = window.viewer, window.dock
    dock.disarm()
    double = [callback.__name__ for callback in viewer.mouse_double_click_callbacks]
    drags = list(viewer.mouse_drag_callbacks)
    zoom = viewer.scene.camera.zoom

    window.click(*DISC)
    QTest.mouseDClick(window.canvas, LEFT, NONE, window.point(*DISC))
    window.key(Qt.Key.Key_Return)

    assert double == ["double_click_to_zoom"]
    assert not any(getattr(callback, "__self__", None) is dock.desk.tool for callback in drags)
    assert viewer.scene.camera.zoom == 2 * zoom
    assert window.shown.phase is Phase.IDLE
    assert not window.shown.clicks
    assert "off" in dock.panels.status.headline.text()


def test_painting_in_a_layer_of_ones_own_switches_the_tool_off(window: Any) -> None:
    labels = window.viewer.add_labels(np.zeros((300, 400), np.uint8))

    labels.mode = "paint"

    assert not window.dock.desk.armed
    window.dock.arm()
    assert str(labels.mode) == "pan_zoom"


def test_3d_and_rolled_axes_are_refused_with_a_sentence(window: Any) -> None:
    viewer = window.viewer
    window.settle()
    viewer.dims.ndisplay = 3
    assert window.shown.phase is Phase.BLOCKED
    assert viewer.screenshot(flash=False).any(), "our layers can be drawn in 3D, too"
    assert "2D/3D" in window.dock.panels.status.hint.text()
    viewer.dims.ndisplay = 2
    viewer.dims.order = (1, 0)
    assert window.shown.phase is Phase.BLOCKED
    window.click(*DISC)
    assert not window.shown.clicks
    viewer.dims.order = (0, 1)

    open_by_click(window, *DISC)


def test_a_click_beside_the_image_is_no_click(window: Any) -> None:
    open_by_click(window, *DISC)

    window.click(-8, 100)

    assert len(window.shown.clicks) == 1
    assert "outside" in window.viewer.status


def test_nothing_there_is_said_and_enter_stores_nothing(window: Any) -> None:
    open_by_click(window, *DISC)
    window.key(Qt.Key.Key_Escape)
    window.workspace.predicts.nothing = True
    window.click(*GROUND)
    window.wait(Phase.NOTHING)

    window.key(Qt.Key.Key_Return)

    assert window.workspace.project.count() == 0
    assert "No object found" in window.dock.panels.status.headline.text()


def test_files_dropped_on_the_window_are_used(window: Any, sample_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_relay.widgets.canvas_finder import drop_targets_of, main_window_of

    targets = drop_targets_of(main_window_of(window.dock))
    used: list[str] = []
    monkeypatch.setattr(window.dock._drops, "_on_file", used.append)
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile("/carried/model.safetensors")])
    button = Qt.MouseButton.LeftButton

    def drop(target: Any) -> None:
        copy = Qt.DropAction.CopyAction
        QApplication.sendEvent(target, QDragEnterEvent(QPoint(9, 9), copy, data, button, NONE))
        QApplication.sendEvent(target, QDropEvent(QPointF(9, 9), copy, data, button, NONE))

    assert targets
    drop(targets[0])
    data.setUrls([QUrl.fromLocalFile(str(sample_data / "coins.png"))])
    drop(window.dock)

    assert used == ["/carried/model.safetensors"]
    window.until(lambda: any(layer.name == "coins.png" for layer in window.viewer.layers))

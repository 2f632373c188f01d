"""The objects panel beside a real viewer: an object chosen in the table is flown to, one clicked in the image is
selected, one that was accepted is corrected."""

from __future__ import annotations

from typing import Any

import pytest
from qtpy.QtCore import QItemSelectionModel, Qt

from napari_relay.widgets.state import Phase

DISCS = [(100, 100), (200, 300)]


@pytest.fixture
def objects(window: Any) -> Any:
    """The panel over two accepted discs."""
    for place in DISCS:
        window.click(*place)
        window.wait(Phase.PROPOSAL)
        window.key(Qt.Key.Key_Return)
        window.wait(Phase.READY)
    window.until(lambda: window.workspace.project.count() == 2)
    window.dock.show_objects()
    panel = window.dock.objects
    window.until(lambda: panel.book is not None and panel.book.model.rowCount() == 2)
    return panel


def choose(panel: Any, row: int) -> None:
    flags = QItemSelectionModel.SelectionFlag
    table = panel.book.table
    table.view.selectionModel().select(panel.book.model.index(row, 0), flags.ClearAndSelect | flags.Rows)


def test_an_object_chosen_in_the_table_is_flown_to(window, objects):
    for row, place in enumerate(DISCS):
        choose(objects, row)
        window.until(lambda place=place: window.viewer.scene.camera.center[-2:] == pytest.approx(place, abs=2))
    disc = window.workspace.project.object(2).box.height * window.viewer.scene.camera.zoom
    assert 0.2 < disc / min(window.viewer.canvas.size) < 0.6


def test_an_object_clicked_with_ctrl_is_selected_in_the_table(window, objects):
    window.click(200, 300, Qt.KeyboardModifier.ControlModifier)
    window.until(lambda: objects.book.table.selected_ids().tolist() == [2])
    assert window.shown.clicks == ()  # it was no click for the model
    window.click(100, 100, Qt.KeyboardModifier.ControlModifier)
    window.until(lambda: objects.book.table.selected_ids().tolist() == [1])
    window.click(20, 350, Qt.KeyboardModifier.ControlModifier)  # nothing there
    window.settle()
    assert objects.book.table.selected_ids().tolist() == [1]


def test_an_object_is_taken_up_corrected_and_keeps_its_id(window, objects):
    project = window.workspace.project
    before = project.object(1)
    choose(objects, 0)
    objects.book.table.correct.click()
    window.until(lambda: len(window.shown.clicks) == 1)
    assert window.shown.phase is Phase.PROPOSAL
    window.dock.desk.controller.accept()
    window.until(lambda: project.history(1)[0].kind == "correct")
    after = project.object(1)
    assert (after.id, after.class_name, after.area) == (1, before.class_name, before.area)
    assert project.count() == 2
    window.until(lambda: objects.book.history.list.count() == 4)
    project.undo()
    window.until(lambda: objects.book.history.list.item(1).font().bold())


def test_what_accepting_would_do_to_others_is_said_before(window, objects):
    bar, project = objects.book.overlap, window.workspace.project
    assert bar.rule.currentData() == "keep"
    window.click(100, 100)  # the disc that is an object already
    window.wait(Phase.PROPOSAL)
    window.until(lambda: bar.effect.text().startswith("Nothing of this mask would be left"))
    bar.rule.setCurrentIndex(bar.rule.findData("replace"))
    bar.rule.activated.emit(bar.rule.currentIndex())
    window.until(lambda: "from 1 object." in bar.effect.text())
    assert project.overlap == "replace"
    window.key(Qt.Key.Key_Return)
    window.until(lambda: project.history(1)[0].summary.endswith("cutting object 1"))
    window.until(lambda: bar.effect.text() == "" and objects.book.model.ids.tolist() == [2, 3])


def test_changes_in_the_table_show_in_the_window(window, objects):
    choose(objects, 0)
    objects.book.table._delete()
    window.until(lambda: objects.book.model.rowCount() == 1 and window.shown.objects == 1)
    window.dock.desk.controller.undo()
    window.until(lambda: objects.book.model.rowCount() == 2 and window.shown.objects == 2)


def test_the_panel_goes_with_its_x_and_comes_back(window, objects):
    callbacks = len(window.viewer.mouse_drag_callbacks)
    window.viewer.window.remove_dock_widget(objects)
    window.until(lambda: window.dock.objects is None)
    assert len(window.viewer.mouse_drag_callbacks) == callbacks - 1
    window.dock.show_objects()
    window.until(lambda: window.dock.objects.book.model.rowCount() == 2)

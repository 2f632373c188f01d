"""The user may do anything with the layers: nothing breaks, and nothing accepted is lost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_relay.widgets.layers import CLICKS, FRAMES, MASK
from napari_relay.widgets.objects import NAME
from napari_relay.widgets.state import Phase

pytestmark = pytest.mark.gui

DISC, BIG_DISC, SQUARE = (100, 100), (200, 300), (250, 75)


def layer_named(window: Any, name: str) -> Any:
    return next(layer for layer in window.viewer.layers if layer.name == name)


def accept_at(window: Any, y: float, x: float) -> None:
    window.click(y, x)
    window.wait(Phase.PROPOSAL)
    count = window.workspace.project.count()
    window.key(Qt.Key.Key_Return)
    window.until(lambda: window.workspace.project.count() == count + 1)


def test_an_accepted_object_moves_from_the_overlay_into_the_objects_layer(window: Any) -> None:
    accept_at(window, *SQUARE)
    window.until(lambda: not window.dock.desk.controller.scene.accepted)

    objects = layer_named(window, NAME)
    assert objects.data[250, 75] == objects.data[230, 60] > 0
    assert objects.data[100, 100] == 0
    assert not objects.editable
    assert not layer_named(window, MASK).data.any()
    assert np.abs(window.pixel(*SQUARE) - 240).max() > 20


def test_undo_takes_the_objects_colour_away_and_redo_brings_it_back(window: Any) -> None:
    accept_at(window, *SQUARE)
    objects = window.dock.desk.committed
    window.until(lambda: objects.layer.layer is not None and objects.layer.layer.data[250, 75] > 0)

    window.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    window.until(lambda: objects.layer.layer.data[250, 75] == 0)
    window.until(lambda: np.abs(window.pixel(*SQUARE) - 240).max() < 5)
    window.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier)
    window.until(lambda: objects.layer.layer.data[250, 75] > 0)


def test_helper_layers_that_were_deleted_come_back_when_there_is_something_to_show(window: Any) -> None:
    accept_at(window, *DISC)
    window.settle()
    for name in (MASK, CLICKS, FRAMES, NAME):
        window.viewer.layers.remove(layer_named(window, name))

    accept_at(window, *SQUARE)
    window.click(*BIG_DISC)
    window.wait(Phase.PROPOSAL)
    window.settle()

    assert layer_named(window, MASK).data.any()
    assert len(layer_named(window, CLICKS).data) == 1
    window.until(lambda: any(layer.name == NAME for layer in window.viewer.layers))


def test_the_combo_box_changes_the_image(window: Any, make_picture: Any) -> None:
    window.viewer.add_image(255 - make_picture(), name="negative", rgb=True)
    box = window.dock.panels.images
    assert box.itemText(0) == "negative"
    assert box.currentText() == "picture"

    box.activated.emit(0)

    assert window.dock.desk.layer.name == "negative"
    layer_named(window, "negative").name = "other name"
    assert window.dock.panels.images.currentText() == "other name"


def test_helper_layers_lie_where_the_image_is_moved(window: Any) -> None:
    accept_at(window, *SQUARE)
    image = layer_named(window, "picture")
    image.scale, image.translate, image.rotate = (0.5, 2.0), (30, -20), 15
    window.settle()
    world = image.data_to_world(DISC)

    window.click(*world)
    window.wait(Phase.PROPOSAL)
    window.settle()

    click = window.shown.clicks[0]
    assert (click.y, click.x) == pytest.approx(DISC, abs=1.5)
    np.testing.assert_allclose(layer_named(window, CLICKS).data_to_world((click.y, click.x)), world, atol=2)
    objects = layer_named(window, NAME)
    np.testing.assert_allclose(objects.data_to_world((7, 9)), image.data_to_world((7, 9)))
    mask = layer_named(window, MASK)
    rows, columns = np.nonzero(mask.data)
    centre = image.world_to_data(mask.data_to_world((rows.mean(), columns.mean())))
    np.testing.assert_allclose(centre, DISC, atol=3)


def test_pixels_of_the_mask_are_right_on_a_turned_image(window: Any) -> None:
    image = layer_named(window, "picture")
    image.scale, image.rotate = (2.0, 2.0), 30
    window.viewer.reset_view()
    window.settle()
    window.click(*image.data_to_world(SQUARE))
    window.wait(Phase.PROPOSAL)

    inside = window.pixel(*image.data_to_world((225, 50)))
    outside = window.pixel(*image.data_to_world((210, 50)))

    assert inside[2] > inside[0] + 20
    assert abs(int(outside[2]) - int(outside[0])) < 8


def test_reset_view_still_shows_the_image_alone(window: Any) -> None:
    before = window.viewer.scene.camera.zoom
    window.click(*DISC)
    window.wait(Phase.PROPOSAL)
    window.settle()

    window.viewer.reset_view()

    assert window.viewer.scene.camera.zoom == pytest.approx(before, rel=0.02)

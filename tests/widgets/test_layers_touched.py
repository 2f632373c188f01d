"""The user may do anything with the layers: nothing breaks, and nothing accepted is lost."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from napari.layers import Image
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

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


def test_another_image_is_worked_on_when_the_chosen_one_is_deleted(open_dock: Any, make_picture: Any) -> None:
    window = open_dock()
    accept_at(window, *DISC)
    first = window.workspace
    window.click(*BIG_DISC)
    window.wait(Phase.PROPOSAL)
    window.viewer.add_image(255 - make_picture(), name="negative", rgb=True)
    assert window.dock.panels.images.count() == 2

    window.viewer.layers.remove(layer_named(window, "picture"))

    assert window.dock.desk.layer.name == "negative"
    window.until(lambda: first.closed)
    window.click(*SQUARE)
    window.wait(Phase.PROPOSAL)
    assert window.workspace is not first
    window.viewer.layers.remove(layer_named(window, "negative"))
    assert window.shown.phase is Phase.NO_IMAGE
    assert not window.dock.desk.armed


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


@pytest.mark.parametrize("seed", range(2))
def test_anything_may_happen_to_the_layers_between_clicks(open_dock: Any, seed: int) -> None:
    window = open_dock()
    rng = random.Random(seed)
    viewer, desk, accepted = window.viewer, window.dock.desk, 0

    def duplicate() -> None:
        layer = rng.choice(list(viewer.layers))
        viewer.layers.selection = {layer}
        from copy import deepcopy

        from napari.layers import Layer
        from napari.layers._source import layer_source

        data, state, kind = layer.as_layer_data_tuple()
        with layer_source(parent=layer):
            viewer.layers.insert(viewer.layers.index(layer) + 1, Layer.create(deepcopy(data), state, kind))

    def delete() -> None:
        images = [layer for layer in viewer.layers if isinstance(layer, Image)]
        candidates = [layer for layer in viewer.layers if len(images) > 1 or layer is not images[0]]
        if candidates:
            viewer.layers.remove(rng.choice(candidates))

    def rename() -> None:
        rng.choice(list(viewer.layers)).name = rng.choice(["a", "Relay mask", "Relay clicks", ""])

    def move() -> None:
        viewer.layers.move(rng.randrange(len(viewer.layers)), rng.randrange(len(viewer.layers)))

    def select() -> None:
        viewer.layers.selection = set(rng.sample(list(viewer.layers), rng.randrange(len(viewer.layers) + 1)))

    def hide() -> None:
        layer = rng.choice(list(viewer.layers))
        layer.visible = not layer.visible

    def shift() -> None:
        desk.layer.translate = (rng.randrange(-20, 20), rng.randrange(-20, 20))

    def accept() -> None:
        nonlocal accepted
        layer = desk.layer
        if desk.controller is not None and window.shown.phase in (Phase.READY, Phase.PROPOSAL):
            window.click(*layer.data_to_world(rng.choice([DISC, BIG_DISC, SQUARE])))
            window.wait(Phase.PROPOSAL, Phase.NOTHING)
            window.key(Qt.Key.Key_Return)
            accepted += 1

    steps = [duplicate, delete, rename, move, select, hide, shift, accept]
    for _ in range(40):
        rng.choice(steps)()
        QTest.qWait(1)
        if desk._opening is not None:
            desk._opening.answer_default()
        window.until(lambda: desk.controller is not None or not desk.armed)
    accept()

    assert accepted > 0
    window.until(lambda: window.shown.accepting == 0)
    assert window.shown.phase in (Phase.READY, Phase.NOTHING)

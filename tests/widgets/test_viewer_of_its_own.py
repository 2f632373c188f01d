"""What needs a viewer of its own: other images, images that go, and everything at once."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from napari.layers import Image
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

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


def test_clicks_while_the_image_is_still_being_opened_are_kept(open_dock: Any) -> None:
    window = open_dock()
    window.click(100, 100)
    window.click(110, 100)
    assert window.shown.phase in (Phase.OPENING, Phase.COMPUTING)

    window.wait(Phase.PROPOSAL)

    assert len(window.shown.clicks) == 2


def test_the_views_of_the_model_are_thin_frames_that_can_be_hidden(open_dock: Any) -> None:
    picture = np.zeros((3000, 3000), np.uint8)
    rows, columns = np.mgrid[:3000, :3000]
    picture[(rows - 1500) ** 2 + (columns - 1500) ** 2 < 60**2] = 200
    window = open_dock(picture, rgb=False)
    window.viewer.scene.camera.zoom = 2
    window.viewer.scene.camera.center = (1500, 1500)
    window.settle()
    window.click(1500, 1500)
    window.wait(Phase.PROPOSAL)
    window.settle()

    frames = next(layer for layer in window.viewer.layers if layer.name == "Relay views")
    views = window.dock.desk.controller.scene.views
    assert len(frames.data) == 8
    corner = frames.data[0, 0]
    assert tuple(corner) == (views.local.box.y0 - 0.5, views.local.box.x0 - 0.5)
    assert np.unique(frames.edge_width)[0] * window.viewer.scene.camera.zoom == pytest.approx(1.6)
    window.dock.panels.settings.show_views.value = False
    window.settle()
    assert not frames.edge_color.any(), "the lines are there, but transparent"


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
            # The same place may be accepted twice here.
            window.workspace.project.overlap = "allow"
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
    assert window.shown.phase in (Phase.READY, Phase.NOTHING), window.shown.message

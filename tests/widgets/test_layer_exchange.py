"""Labels layers become objects, and objects an ordinary Labels layer, wherever the layers lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt

from napari_relay.errors import UsageError
from napari_relay.geometry import Box, Plane
from napari_relay.widgets.layer_exchange import labels_of_region, objects_of_layer, pixel_offset
from napari_relay.widgets.state import Phase


def test_a_layer_that_lies_on_the_image_is_taken_where_it_lies():
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((60, 80)), scale=(0.5, 0.5), translate=(10, 20))
    labels = np.zeros((10, 12), np.uint8)
    labels[2:4, 3:6] = 5
    layer = viewer.add_labels(labels, scale=(0.5, 0.5), translate=(10 + 10 * 0.5, 20 + 7 * 0.5))
    assert pixel_offset(layer, image) == (10, 7)
    (item,) = objects_of_layer(layer, image, (60, 80), Plane())
    assert (item.box, int(item.mask.sum())) == (Box(12, 10, 14, 13), 6)


@pytest.mark.parametrize("wrong", [{"scale": (2, 2)}, {"translate": (0.5, 0)}, {"rotate": 30}])
def test_pixels_that_do_not_lie_on_each_other_are_refused(wrong):
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((60, 80)))
    layer = viewer.add_labels(np.ones((5, 5), int), **wrong)
    with pytest.raises(UsageError, match="pixels of"):
        pixel_offset(layer, image)


def test_of_a_stack_the_plane_that_is_shown_is_taken():
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((3, 60, 80)))
    stack = np.zeros((3, 60, 80), np.uint16)
    stack[1, 5:8, 5:9] = 2
    layer = viewer.add_labels(stack)
    assert list(objects_of_layer(layer, image, (60, 80), Plane(0, 0))) == []
    (item,) = objects_of_layer(layer, image, (60, 80), Plane(0, 1))
    assert (item.plane, item.box) == (Plane(0, 1), Box(5, 5, 8, 9))


def test_a_region_that_does_not_fit_into_memory_is_refused():
    with pytest.raises(UsageError, match="too many"):
        labels_of_region(None, Box(0, 0, 100_000, 100_000), Plane())


@pytest.mark.gui
def test_objects_go_to_a_layer_and_back_in_the_window(window: Any, monkeypatch: Any) -> None:
    window.click(250, 75)
    window.wait(Phase.PROPOSAL)
    window.key(Qt.Key.Key_Return)
    project = window.workspace.project
    window.until(lambda: project.count() == 1)
    window.dock.show_objects()
    window.until(lambda: window.dock.objects.book is not None)
    bar, viewer = window.dock.objects.drawing, window.viewer
    said: list[str] = []
    monkeypatch.setattr(bar, "_notify", said.append)
    window.settle()

    bar.give.click()

    window.until(lambda: any(layer.name.startswith("Objects y=") for layer in viewer.layers))
    layer = next(layer for layer in viewer.layers if layer.name.startswith("Objects y="))
    assert layer.editable
    assert set(np.unique(layer.data)) == {0, 1}
    stored = project.object(1)
    assert int((layer.data == 1).sum()) == stored.area
    y, x = layer.world_to_data((250, 75))
    assert layer.data[round(y), round(x)] == 1

    layer.data[...] = 0
    top, left = (round(value) for value in layer.world_to_data((20, 200)))
    layer.data[top : top + 10, left : left + 12] = 3
    viewer.layers.selection = {layer}
    bar.take.click()
    window.until(lambda: project.count() == 2)
    taken = project.object(2)
    assert (taken.box, taken.area) == (Box(20, 200, 30, 212), 120)
    assert project.history()[0].kind == "import"
    viewer.layers.selection = {viewer.layers[0]}
    bar.take.click()
    assert said == ["Select a Labels layer of your own first."]

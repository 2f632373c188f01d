"""What is drawn with napari's shapes becomes exactly those pixels, wherever the layers lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QItemSelectionModel, Qt

from napari_relay.geometry import Box
from napari_relay.widgets.drawing import masks, outlines, union
from napari_relay.widgets.state import Phase
from napari_relay.widgets.transforms import world_to_data


def read(viewer: Any, image: Any, shapes: Any) -> list[tuple[str, np.ndarray]]:
    return outlines(viewer, shapes, lambda place: world_to_data(image, place, (1, 1)))


def test_a_rectangle_covers_the_pixels_whose_centres_lie_in_it():
    ((box, mask),) = masks([("rectangle", np.array([[9.6, 4.6], [9.6, 20.4], [14.4, 20.4], [14.4, 4.6]]))], (50, 50), 1)
    whole = np.zeros((50, 50), bool)
    whole[box.slices] = mask
    expected = np.zeros((50, 50), bool)
    expected[10:15, 5:21] = True
    np.testing.assert_array_equal(whole, expected)


def test_a_path_is_as_wide_as_the_brush():
    ((box, mask),) = masks([("path", np.array([[20.0, 10.0], [20.0, 30.0]]))], (50, 50), 7)
    assert (box.y0 + np.flatnonzero(mask.any(axis=1))[[0, -1]]).tolist() == [17, 23]
    assert (box.x0 + np.flatnonzero(mask.any(axis=0))[[0, -1]]).tolist() == [7, 33]
    assert abs(mask.sum() - (7 * 21 + np.pi * 3.5**2 - 7)) < 20


def test_an_ellipse_has_the_area_of_one():
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((200, 200), np.uint8))
    shapes = viewer.add_shapes([np.array([[50, 20], [50, 140], [90, 140], [90, 20]])], shape_type="ellipse")
    ((_, mask),) = masks(read(viewer, image, shapes), (200, 200), 1)
    assert mask.sum() == pytest.approx(np.pi * 20 * 60, rel=0.02)


def test_shapes_on_a_layer_that_lies_elsewhere_meet_the_same_pixels():
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((100, 100), np.uint8), scale=(0.5, 0.5), translate=(10, 20))
    corners = np.array([[10, 10], [10, 30], [40, 30], [40, 10]])
    world = np.array([image.data_to_world(corner) for corner in corners])
    shapes = viewer.add_shapes([world * 4 - 3], shape_type="polygon", scale=(0.25, 0.25), translate=(0.75, 0.75))
    ((kind, found),) = read(viewer, image, shapes)
    assert kind == "polygon"
    np.testing.assert_allclose(found, corners, atol=1e-9)


def test_what_hangs_over_the_image_is_cut_off_and_what_lies_outside_is_nothing():
    shapes = [("polygon", np.array([[-10, -10], [-10, 20], [20, 20], [20, -10]])),
              ("polygon", np.array([[80, 80], [80, 90], [90, 90]]))]  # fmt: skip
    ((box, mask),) = masks(shapes, (50, 50), 1)
    assert box == Box(0, 0, 21, 21)
    assert mask.all()


def test_shapes_together_lie_in_one_box():
    box, mask = union([(Box(0, 0, 2, 2), np.ones((2, 2), bool)), (Box(5, 7, 6, 9), np.ones((1, 2), bool))])
    assert (box, int(mask.sum())) == (Box(0, 0, 6, 9), 6)


# -- in the window -----------------------------------------------------------------------------------------------


@pytest.fixture
def panel(window: Any) -> Any:
    window.click(100, 100)
    window.wait(Phase.PROPOSAL)
    window.key(Qt.Key.Key_Return)
    window.until(lambda: window.workspace.project.count() == 1)
    window.dock.show_objects()
    window.until(lambda: window.dock.objects.book is not None and window.dock.objects.book.model.rowCount() == 1)
    return window.dock.objects


def draw(window: Any, panel: Any, corners: list[list[float]], kind: str = "polygon") -> None:
    panel.drawing.start()
    panel.drawing.layer.add([np.array(corners)], shape_type=kind)


def choose(panel: Any, row: int) -> None:
    flags = QItemSelectionModel.SelectionFlag
    panel.book.table.view.selectionModel().select(panel.book.model.index(row, 0), flags.ClearAndSelect | flags.Rows)


def test_a_drawn_object_is_added_to_cut_split_and_counted(window, panel):
    project, bar = window.workspace.project, panel.drawing
    assert window.dock.desk.armed
    draw(window, panel, [[10, 200], [10, 300], [60, 300], [60, 200]])
    assert not window.dock.desk.armed  # the mouse is napari's while drawing
    bar.new.click()
    window.until(lambda: panel.book.model.rowCount() == 2)
    assert project.object(2).box == Box(10, 200, 61, 301)
    assert window.dock.desk.armed

    choose(panel, 1)
    draw(window, panel, [[60, 240], [90, 240], [90, 260], [60, 260]])
    bar.add.click()
    window.until(lambda: project.object(2).box.y1 == 91)
    draw(window, panel, [[0, 280], [95, 280], [95, 310], [0, 310]])
    bar.erase.click()
    window.until(lambda: project.object(2).box.x1 == 280)
    draw(window, panel, [[0, 230], [100, 230]], "path")
    bar.split.click()
    window.until(lambda: panel.book.model.rowCount() == 3)
    kinds = [action.kind for action in project.history()]
    assert kinds[:4] == ["split", "eraser", "brush", "accept"]

    panel.book.table.view.selectAll()
    panel.book.table.merge.click()
    window.until(lambda: panel.book.model.rowCount() == 1)
    project.undo()
    window.until(lambda: panel.book.model.rowCount() == 3)


def test_buttons_say_what_is_missing(window, panel, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(panel.drawing, "_notify", said.append)
    panel.drawing.new.click()
    panel.drawing.fill.click()
    draw(window, panel, [[10, 200], [10, 300], [60, 300]])
    panel.drawing.add.click()
    assert [text.split()[0] for text in said] == ["Draw", "Choose", "Choose"]

"""Drawing with real mouse events: on nothing, on a proposal, on objects; and the way out of every tool."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_relay.geometry import Box
from napari_relay.widgets.state import Phase

pytestmark = pytest.mark.gui
SHIFT, CONTROL, NO_KEY = (
    Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.NoModifier
)  # fmt: skip
LEFT, MIDDLE = Qt.MouseButton.LeftButton, Qt.MouseButton.MiddleButton


def draw(window: Any, *places: tuple[float, float], modifiers: Any = NO_KEY, button: Any = LEFT) -> None:
    """Press at the first world place, move over the others, release at the last."""
    points = [window.point(*place) for place in places]
    QTest.mousePress(window.canvas, button, modifiers, points[0])
    for point in points[1:]:
        everywhere = QPointF(window.canvas.mapToGlobal(point))
        QApplication.sendEvent(
            window.canvas,
            QMouseEvent(QEvent.Type.MouseMove, QPointF(point), everywhere, Qt.MouseButton.NoButton, button, modifiers),
        )
        QTest.qWait(8)
    QTest.mouseRelease(window.canvas, button, modifiers, points[-1])


def key(window: Any, text: str) -> None:
    QTest.keyClicks(window.canvas, text)


@pytest.fixture
def square(ready: Any) -> Any:
    """One object: the square [220:280, 40:110]."""
    ready.click(250, 75)
    ready.wait(Phase.PROPOSAL)
    ready.key(Qt.Key.Key_Return)
    ready.until(lambda: ready.workspace.project.count() == 1)
    return ready


def mask(window: Any) -> np.ndarray:
    whole = np.zeros((300, 400), bool)
    proposal = window.dock.desk.controller.draft.proposal
    if proposal is not None:
        whole[proposal.box.slices] = proposal.mask
    return whole


def test_a_new_object_is_painted_stroke_by_stroke_and_taken_back(ready: Any) -> None:
    window = ready
    key(window, "b")
    assert window.dock.panels.tools.buttons["brush"].isChecked()
    assert not window.dock.panels.tools.hint.isHidden()
    window.dock.drawing.set_width(21)

    draw(window, (30, 200), (30, 240), (30, 280))
    window.wait(Phase.PROPOSAL)
    first = mask(window)
    assert first[30, 200:281].all()
    assert first[40, 240]
    assert not first[45].any()
    draw(window, (60, 200), (60, 280))
    window.until(lambda: mask(window)[60, 240])
    draw(window, (30, 240), (31, 240), modifiers=SHIFT)
    window.until(lambda: not mask(window)[30, 240])
    window.key(Qt.Key.Key_Z, CONTROL)
    window.key(Qt.Key.Key_Z, CONTROL)
    window.until(lambda: np.array_equal(mask(window), first))

    window.key(Qt.Key.Key_Return)

    window.until(lambda: window.workspace.project.count() == 1)
    (stored,) = window.workspace.project.objects()
    np.testing.assert_array_equal(stored.mask, first[stored.box.slices])
    assert stored.checkpoint is None


def test_a_stroke_shows_while_it_is_painted(ready: Any) -> None:
    window = ready
    before = window.pixel(30, 240)
    key(window, "b")
    window.dock.drawing.set_width(31)
    points = [window.point(30, x) for x in (200, 260)]
    QTest.mousePress(window.canvas, LEFT, NO_KEY, points[0])
    window.move(points[1], LEFT)
    QTest.qWait(10)
    during = window.pixel(30, 240)
    assert np.abs(during - before).max() > 40, "the button is still down"
    window.key(Qt.Key.Key_Escape)
    assert window.dock.drawing.tool == "brush", "Esc gives up the stroke first"
    QTest.mouseRelease(window.canvas, LEFT, NO_KEY, points[1])
    assert np.abs(window.pixel(30, 240) - before).max() < 8
    assert window.shown.phase is Phase.READY


def test_strokes_on_an_object_are_written_at_once_each_as_one_action(square: Any) -> None:
    window, project = square, square.workspace.project
    area = project.object(1).area
    key(window, "b")
    window.dock.drawing.set_width(11)
    draw(window, (250, 100), (250, 130), (250, 160))
    window.until(lambda: project.object(1).box.x1 > 150)
    key(window, "e")
    draw(window, (225, 60), (240, 60), (240, 90))
    window.until(lambda: [action.kind for action in project.history()][:2] == ["eraser", "brush"])
    stored = project.object(1)
    assert stored.mask_in(Box(250, 155, 251, 156)).all()
    assert not stored.mask_in(Box(240, 60, 241, 90)).any()
    window.settle()
    window.key(Qt.Key.Key_Z, CONTROL)
    window.key(Qt.Key.Key_Z, CONTROL)
    window.until(lambda: project.object(1).area == area)


def test_a_proposal_is_erased_from_before_accept(ready: Any) -> None:
    window = ready
    window.click(200, 300)
    window.wait(Phase.PROPOSAL)
    key(window, "e")
    window.dock.drawing.set_width(15)
    draw(window, (200, 300), (200, 340))
    window.until(lambda: not mask(window)[200, 320])
    window.wait(Phase.PROPOSAL)
    assert window.workspace.project.count() == 0
    key(window, "h")  # the middle of the disc, all round which it still is
    window.until(lambda: mask(window)[200, 320])


def test_a_lasso_adds_an_area_and_with_shift_takes_it_away(ready: Any) -> None:
    window = ready
    key(window, "l")
    draw(window, (20, 200), (20, 300), (80, 300), (80, 200))
    window.wait(Phase.PROPOSAL)
    assert mask(window)[50, 250]
    assert abs(int(mask(window).sum()) - 60 * 100) < 400
    draw(window, (10, 240), (10, 260), (90, 260), (90, 240), modifiers=SHIFT)
    window.until(lambda: not mask(window)[50, 250])
    assert mask(window)[50, 220]


def test_box_and_scribble_ask_the_model(ready: Any) -> None:
    window = ready
    key(window, "x")
    draw(window, (55, 55), (100, 100), (146, 146))
    window.wait(Phase.PROPOSAL)
    assert mask(window)[100, 100]
    assert not mask(window)[:, 150:].any()
    window.key(Qt.Key.Key_Z, CONTROL)
    window.wait(Phase.READY)
    key(window, "s")
    draw(window, (200, 260), (200, 300), (200, 340))
    window.wait(Phase.PROPOSAL)
    assert mask(window)[200, 300]
    count = len(window.shown.clicks)
    assert count > 1
    window.key(Qt.Key.Key_Z, CONTROL)
    window.wait(Phase.READY)
    assert window.shown.clicks == (), "a scribble is taken back as one"


def test_objects_inside_a_rectangle_are_deleted_as_one_action(square: Any) -> None:
    window, project = square, square.workspace.project
    for x in range(5):
        project.accept(Box(10, 200 + 30 * x, 20, 210 + 30 * x), np.ones((10, 10), bool))
    project.set_state(3, "locked")
    project.set_state(4, "rejected")  # which does not show
    key(window, "d")
    draw(window, (5, 190), (40, 300), (60, 330))
    window.until(lambda: project.count() == 3)
    assert [stored.id for stored in project.objects()] == [1, 3, 4]
    window.settle()
    window.key(Qt.Key.Key_Z, CONTROL)
    window.until(lambda: project.count() == 6)


def test_pan_and_zoom_work_in_the_middle_of_a_tool_and_esc_leaves_it(ready: Any) -> None:
    window = ready
    key(window, "b")
    camera = window.viewer.scene.camera
    for button, modifiers in ((MIDDLE, NO_KEY), (LEFT, CONTROL)):
        centre = np.array(camera.center)
        place = window.point(150, 200)
        draw(window, (150, 200), (150, 220), (150, 240), modifiers=modifiers, button=button)
        assert camera.center[-1] < centre[-1] - 20
        assert window.point(150, 200).x() > place.x() + 5
    centre = tuple(camera.center)
    draw(window, (30, 200), (30, 240))
    assert tuple(camera.center) == centre, "a drag that draws does not pan"
    window.wait(Phase.PROPOSAL)

    window.key(Qt.Key.Key_Escape)
    assert window.dock.drawing.tool is None
    window.key(Qt.Key.Key_Escape)
    window.wait(Phase.READY)
    window.click(100, 100)
    window.wait(Phase.PROPOSAL)
    assert len(window.shown.clicks) == 1


def test_a_tool_is_left_with_the_click_tool(ready: Any) -> None:
    window = ready
    before = len(window.viewer.mouse_drag_callbacks), len(window.viewer.mouse_double_click_callbacks)
    key(window, "e")
    draw(window, (10, 10), (10, 20))  # nothing is there
    QTest.qWait(30)
    key(window, "b")
    key(window, "]")
    assert window.dock.drawing.width_px > 15
    window.dock.disarm()
    assert window.dock.drawing.tool is None
    window.dock.arm()
    window.settle()
    assert (len(window.viewer.mouse_drag_callbacks), len(window.viewer.mouse_double_click_callbacks)) == before

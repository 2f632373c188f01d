"""One drag of the mouse as pixels, clicks or a box."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_relay.geometry import Box
from napari_relay.widgets.drawing import stroke_mask
from napari_relay.widgets.strokes import Stroke, Tool

SHAPE = (80, 90)


def dragged(tool: Tool, *points: tuple[float, float], width: float = 5, inverted: bool = False) -> Stroke:
    stroke = Stroke(tool, width, SHAPE, inverted=inverted)
    for point in points:
        stroke.add(*point)
    return stroke


def whole(drawn) -> np.ndarray:
    picture = np.zeros(SHAPE, bool)
    if drawn is not None:
        picture[drawn[0].slices] = drawn[1]
    return picture


PLACES = st.tuples(st.floats(-30, 120), st.floats(-30, 120))


@given(st.lists(PLACES, min_size=1, max_size=12), st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_a_stroke_painted_bit_by_bit_is_the_stroke_painted_at_once(points, width):
    stroke = dragged(Tool.BRUSH, *points, width=width)
    box, mask = stroke_mask(np.array([points[0], *points]), width)
    inside = box.clip(SHAPE)
    expected = np.zeros(SHAPE, bool)
    if not inside.empty:
        expected[inside.slices] = mask[inside.relative_to(box).slices]
    np.testing.assert_array_equal(whole(stroke.drawn()), expected)
    np.testing.assert_array_equal(whole(stroke.preview()), expected)


def test_a_dab_is_a_disc():
    assert abs(int(whole(dragged(Tool.BRUSH, (40, 40), width=21).drawn()).sum()) - np.pi * 10.5**2) < 10


def test_a_lasso_is_the_area_it_runs_round():
    stroke = dragged(Tool.LASSO, (9.6, 9.6), (9.6, 20.4), (30.4, 20.4), (30.4, 9.6))
    expected = np.zeros(SHAPE, bool)
    expected[10:31, 10:21] = True
    np.testing.assert_array_equal(whole(stroke.drawn()), expected)
    assert dragged(Tool.LASSO, (-20, -20), (-20, -5), (-5, -5)).drawn() is None


@pytest.mark.parametrize(
    ("tool", "inverted", "adds"),
    [(Tool.BRUSH, False, True), (Tool.BRUSH, True, False), (Tool.ERASER, False, False), (Tool.ERASER, True, True),
     (Tool.LASSO, True, False), (Tool.SCRIBBLE, True, False)],
)  # fmt: skip
def test_shift_turns_a_tool_round(tool, inverted, adds):
    assert dragged(tool, (1, 1), inverted=inverted).adds is adds


def test_clicks_of_a_scribble_are_spread_along_it_and_lie_in_the_image():
    clicks = dragged(Tool.SCRIBBLE, *[(40, x) for x in range(-30, 61)]).clicks()
    assert [round(click.x) for click in clicks] == [8, 22, 38, 52]
    assert {click.y for click in clicks} == {40}
    assert len(dragged(Tool.SCRIBBLE, (3, 3)).clicks()) == 1


def test_a_box_is_the_pixels_between_two_corners():
    assert dragged(Tool.BOX, (20.2, 30.9), (10.4, 12.6)).box == Box(10, 13, 21, 32)

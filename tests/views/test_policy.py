"""The view policy: grid, invariants, hysteresis. Pure functions, no image is read."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_relay.errors import UsageError
from napari_relay.geometry import Box, Click
from napari_relay.views.policy import (
    MIN_STEP,
    first_view,
    follow_view,
    global_view,
    holds_click,
    step_side,
    touches_border,
    view_pair,
    whole_view,
)
from napari_relay.views.values import View

SIDES = {step_side(step) for step in range(MIN_STEP, 40)}
extents = st.integers(1, 120_000)
shapes = st.tuples(extents, extents)
fractions = st.floats(0, 1, exclude_max=True)
zooms = st.one_of(st.none(), st.floats(1e-3, 500))


@st.composite
def scenes(draw):
    """A shape, a mask box and clicks inside the image, and the view of a first click at one of them."""
    shape = draw(shapes)

    def point():
        return draw(fractions) * shape[0] - 0.5, draw(fractions) * shape[1] - 0.5

    clicks = [Click(*point(), draw(st.booleans())) for _ in range(draw(st.integers(1, 4)))]
    (ay, ax), (by, bx) = point(), point()
    y0, x0 = math.floor(min(ay, by) + 0.5), math.floor(min(ax, bx) + 0.5)
    y1, x1 = math.floor(max(ay, by) + 0.5) + 1, math.floor(max(ax, bx) + 0.5) + 1
    current = first_view(shape, (clicks[0].y, clicks[0].x), draw(zooms))
    return shape, current, Box(y0, x0, y1, x1), clicks


def on_grid(shape, view):
    box = view.box
    if view == whole_view(shape):
        return True
    quarter = box.height // 4
    return box.height in SIDES and box.height == box.width and box.y0 % quarter == box.x0 % quarter == 0


def test_sides_are_half_octaves_that_divide_into_whole_quarters():
    for step in range(MIN_STEP, 30):
        assert step_side(step) % 4 == 0
        assert step_side(step) == pytest.approx(448 * 2 ** (step / 2), rel=0.011)
    assert [step_side(step) for step in (-6, 0, 2, 4)] == [56, 448, 896, 1792]


@given(shapes, fractions, fractions, zooms)
def test_first_view_is_on_the_grid_and_holds_its_click(shape, fy, fx, zoom):
    click = Click(fy * shape[0] - 0.5, fx * shape[1] - 0.5)

    view = first_view(shape, (click.y, click.x), zoom)

    assert on_grid(shape, view)
    assert holds_click(shape, view, click)
    assert view == first_view(shape, (click.y, click.x), zoom)
    assert view.box.height <= max(*shape, 56)


@pytest.mark.parametrize("shape", [(1792, 900), (333, 1791), (100, 100), (57, 3)])
def test_small_image_without_zoom_is_seen_whole_and_exactly(shape):
    view = first_view(shape, (shape[0] / 2, shape[1] / 2))

    assert view.box == Box(0, 0, max(shape), max(shape))
    assert global_view(shape, view) is None


def test_large_image_without_zoom_is_seen_at_native_scale():
    assert first_view((1793, 20), (5, 5)).scale == 1


@pytest.mark.parametrize(("zoom", "side"), [(1, 448), (2, 896), (1.2, 632), (0.1, 56), (0.2, 112), (0.5, 224)])
def test_zoom_picks_the_finest_side_that_covers_it(zoom, side):
    assert first_view((50_000, 50_000), (20_000, 20_000), zoom).box.height == side


@pytest.mark.parametrize("zoom", [0, -1, math.nan, math.inf])
def test_impossible_zoom_is_refused(zoom):
    with pytest.raises(UsageError, match="zoom"):
        first_view((100, 100), (5, 5), zoom)


@given(scenes(), st.booleans())
def test_following_view_is_on_the_grid_and_holds_mask_and_positive_clicks(scene, touches):
    shape, current, box, clicks = scene

    view = follow_view(shape, current, box, touches, clicks)

    assert view == follow_view(shape, current, box, touches, clicks)
    assert on_grid(shape, view)
    assert view.box.covers(box)
    assert not touches_border(shape, view, box)
    assert all(holds_click(shape, view, click) for click in clicks if click.positive)
    assert view.box.height <= max(*shape, 56)


@given(scenes())
def test_following_twice_changes_nothing(scene):
    shape, current, box, clicks = scene

    once = follow_view(shape, current, box, False, clicks)

    assert follow_view(shape, once, box, False, clicks) == once


@given(scenes())
def test_view_hangs_over_the_image_by_less_than_a_step_of_the_grid(scene):
    shape, current, box, clicks = scene
    view = follow_view(shape, current, box, False, clicks).box
    quarter = view.height / 4

    assert view.y0 >= 0
    assert view.x0 >= 0
    assert view.y1 < max(shape[0] + quarter, view.height + 1)
    assert view.x1 < max(shape[1] + quarter, view.width + 1)


@given(scenes())
def test_global_view_surrounds_the_local_one_within_the_allowed_offset(scene):
    shape, current, box, clicks = scene
    pair = view_pair(shape, follow_view(shape, current, box, False, clicks))
    dy, dx, log_k, log_scale = pair.geometry

    assert log_scale == pytest.approx(math.log2(pair.local.scale))
    if pair.global_ is None:
        assert pair.local.box.covers(Box(0, 0, *shape))
        assert (dy, dx, log_k) == (0, 0, 0)
    elif pair.global_ == whole_view(shape):
        assert 0 < log_k <= 2
        assert pair.global_.box.covers(pair.local.box.clip(shape))
    else:
        assert log_k == 2
        assert abs(dy) <= 0.5
        assert abs(dx) <= 0.5
        assert pair.global_.box.covers(pair.local.box)
        assert pair.global_.box.y0 % (pair.global_.box.height // 2) == 0


def test_neighbouring_local_views_share_a_global_view():
    shape = (50_000, 50_000)
    points = [(19_600 + dy, 19_600 + dx) for dy in (0, 300) for dx in (0, 300)]

    pairs = [view_pair(shape, first_view(shape, point, 1)) for point in points]

    assert len({pair.global_ for pair in pairs}) == 1
    assert len({pair.local for pair in pairs}) == 4


def test_view_stays_while_the_object_is_framed():
    shape = (5000, 5000)
    current = follow_view(shape, first_view(shape, (2000, 2000), 1), Box(1900, 1900, 2100, 2100), False)

    for grown in (Box(1890, 1905, 2110, 2090), Box(1920, 1900, 2080, 2120), Box(1900, 1930, 2090, 2060)):
        assert follow_view(shape, current, grown, False) == current


def test_small_object_gets_a_finer_view_and_cut_object_a_coarser_one():
    shape = (5000, 5000)
    current = first_view(shape, (2000, 2000), 1)
    box = current.box

    finer = follow_view(shape, current, Box(1990, 1990, 2010, 2010), False)
    cut = Box(box.y0, box.x0 + 150, box.y0 + 100, box.x0 + 250)
    coarser = follow_view(shape, current, cut, touches_border(shape, current, cut))
    filled = follow_view(shape, current, box, True)

    assert finer.box.height == 56
    assert coarser.box.height == step_side(1)
    assert filled.box.height == step_side(2)


def test_mask_at_the_image_border_is_not_cut():
    shape = (1000, 1000)
    view = View(Box(0, 0, 448, 448))

    assert not touches_border(shape, view, Box(0, 0, 100, 100))
    assert touches_border(shape, view, Box(300, 0, 440, 100))
    assert not touches_border(shape, view, Box(0, 0, 0, 0))


def test_positive_click_outside_moves_the_view_and_negative_one_does_not():
    shape = (5000, 5000)
    box = Box(1950, 1950, 2050, 2050)
    current = follow_view(shape, first_view(shape, (2000, 2000), 1), box, False)

    assert follow_view(shape, current, box, False, [Click(3000, 3000, False)]) == current
    moved = follow_view(shape, current, box, False, [Click(2000, 2000), Click(2300, 2300)])
    assert holds_click(shape, moved, Click(2300, 2300))
    assert holds_click(shape, moved, Click(2000, 2000))


def test_empty_mask_without_positive_clicks_keeps_the_view():
    current = first_view((900, 900), (5, 5), 0.5)

    assert follow_view((900, 900), current, Box(0, 0, 0, 0), False, []) == current

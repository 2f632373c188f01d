"""The overlay's window of pixels against the plain definition."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_relay.geometry import Box
from napari_relay.widgets.pixels import MARGIN, SIDE, Canvas, Stamp, Window, rim_of, step_for, window_for


def stamp_of(box: Box, seed: int = 0, fill: int = 1, rim: int = 1) -> Stamp:
    mask = np.random.default_rng(seed).random(box.shape) < 0.5
    return Stamp(box, mask, fill, rim)


@st.composite
def images_and_boxes(draw: st.DrawFn, count: int = 1) -> tuple[tuple[int, int], list[Box]]:
    shape = (draw(st.integers(1, 6000)), draw(st.integers(1, 6000)))
    boxes = []
    for _ in range(count):
        y0, x0 = draw(st.integers(0, shape[0] - 1)), draw(st.integers(0, shape[1] - 1))
        boxes.append(Box(y0, x0, draw(st.integers(y0 + 1, shape[0])), draw(st.integers(x0 + 1, shape[1]))))
    return shape, boxes


def canvas_for(shape: tuple[int, int]) -> Canvas:
    canvas = Canvas()
    canvas.fit(shape)
    return canvas


@given(images_and_boxes(), st.integers(0, 3))
@settings(deadline=None, max_examples=25)
def test_each_pixel_shows_the_mask_in_its_middle(case: tuple[tuple[int, int], list[Box]], seed: int) -> None:
    shape, (box,) = case
    canvas, stamp = canvas_for(shape), stamp_of(box, seed)

    canvas.show([stamp])

    (y0, x0), step = canvas.window.origin, canvas.window.step
    rows = y0 + np.arange(canvas.window.rows) * step + step // 2 - box.y0
    columns = x0 + np.arange(canvas.window.columns) * step + step // 2 - box.x0
    wanted = np.zeros(canvas.array.shape, np.uint8)
    inside_y, inside_x = (rows >= 0) & (rows < box.height), (columns >= 0) & (columns < box.width)
    wanted[np.ix_(inside_y, inside_x)] = stamp.mask[np.ix_(rows[inside_y], columns[inside_x])]
    np.testing.assert_array_equal(canvas.array, wanted)
    assert canvas.window.box.covers(box)


@given(images_and_boxes(3))
@settings(deadline=None, max_examples=25)
def test_nothing_is_left_of_what_was_shown_before(case: tuple[tuple[int, int], list[Box]]) -> None:
    shape, shown = case
    canvas = canvas_for(shape)
    for seed, box in enumerate(shown):
        canvas.show([stamp_of(box, seed)])

    canvas.show([])

    assert not canvas.array.any()


@given(images_and_boxes(2))
def test_the_window_covers_stays_fine_and_inside_the_image(case: tuple[tuple[int, int], list[Box]]) -> None:
    shape, (first, second) = case
    empty = Window(min(SIDE, shape[0]), min(SIDE, shape[1]))

    window = window_for(second, window_for(first, empty, shape), shape)

    assert window.box.covers(second)
    assert window.step == step_for(second, window)
    assert window.box.y0 >= 0
    assert window.box.x0 >= 0
    if window.step == 1:
        assert Box(0, 0, *shape).covers(window.box)
    else:
        assert max(second.shape) > (SIDE - 2 * MARGIN) * window.step // 2


def test_the_window_stays_for_a_mask_that_it_covers() -> None:
    canvas = canvas_for((6000, 6000))
    assert canvas.show([stamp_of(Box(2000, 2000, 2100, 2100))])

    assert not canvas.show([stamp_of(Box(1900, 2050, 2150, 2300))])
    assert canvas.show([stamp_of(Box(0, 0, 50, 50))])


def test_another_image_gets_an_empty_canvas_of_its_size() -> None:
    canvas = canvas_for((300, 400))
    canvas.show([stamp_of(Box(10, 10, 50, 50))])

    assert not canvas.fit((300, 400))
    assert not canvas.array.any()
    assert canvas.fit((2000, 500))
    assert canvas.array.shape == (1024, 500)


def test_later_stamps_lie_on_top_and_keep_their_values() -> None:
    canvas = canvas_for((500, 500))
    below = Stamp(Box(100, 100, 120, 120), np.ones((20, 20), bool), 5, 6)
    above = Stamp(Box(110, 110, 130, 130), np.ones((20, 20), bool), 1, 2)

    canvas.show([below, above])

    y0, x0 = canvas.window.origin
    part = canvas.array[100 - y0 : 130 - y0, 100 - x0 : 130 - x0]
    assert part[0, 0] == 6  # rim below
    assert part[5, 5] == 5
    assert part[10, 10] == 2  # rim above
    assert part[20, 20] == 1


def test_the_rim_is_one_pixel_wide_and_inside() -> None:
    mask = np.zeros((7, 7), bool)
    mask[1:6, 1:6] = True

    rim = rim_of(mask)

    assert rim.sum() == 16
    assert not (rim & ~mask).any()
    assert rim_of(np.ones((3, 3), bool)).sum() == 8
    assert rim_of(np.zeros((0, 0), bool)).shape == (0, 0)

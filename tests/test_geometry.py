"""Geometry: there and back is identity, boxes are half-open, tilings cover once."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_relay.geometry import Box, Level, Plane, coarsest_level_for, from_scaled, level_box, to_scaled

coordinates = st.floats(-1e6, 1e6)
scales = st.floats(2**-6, 2**12)
whole = st.integers(-200, 200)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    y0, x0 = draw(whole), draw(whole)
    return Box(y0, x0, y0 + draw(st.integers(0, 150)), x0 + draw(st.integers(0, 150)))


def drawn(box: Box, side: int = 700, offset: int = 300) -> np.ndarray:
    """The box as pixels, by the definition of half-open."""
    canvas = np.zeros((side, side), bool)
    canvas[box.y0 + offset : box.y1 + offset, box.x0 + offset : box.x1 + offset] = True
    return canvas


# Scales -----------------------------------------------------------------------------------------------------------


@given(value=coordinates, scale=scales, origin=st.integers(-(10**6), 10**6))
def test_to_scaled_and_back_is_identity(value: float, scale: float, origin: int) -> None:
    back = from_scaled(to_scaled(value, scale, origin), scale, origin)

    assert back == pytest.approx(value, abs=1e-6)


@given(scale=st.integers(1, 64), origin=st.integers(-1000, 1000), index=st.integers(0, 500))
def test_pixel_centre_is_the_mean_of_the_pixels_under_it(scale: int, origin: int, index: int) -> None:
    covered = np.arange(origin + index * scale, origin + (index + 1) * scale)

    assert from_scaled(index, scale, origin) == pytest.approx(covered.mean())


@given(value=coordinates, origin=coordinates)
def test_scale_1_only_shifts(value: float, origin: float) -> None:
    assert to_scaled(value, 1.0, origin) == pytest.approx(value - origin, abs=1e-6)


@given(left=coordinates, right=coordinates, scale=scales)
def test_distances_shrink_by_the_scale(left: float, right: float, scale: float) -> None:
    shrunk = to_scaled(left, scale) - to_scaled(right, scale)

    assert shrunk * scale == pytest.approx(left - right, abs=1e-5)


# Boxes ------------------------------------------------------------------------------------------------------------


@given(box=boxes())
def test_shape_and_area_are_those_of_its_pixels(box: Box) -> None:
    assert box.shape == (max(0, box.y1 - box.y0), max(0, box.x1 - box.x0))
    assert box.area == np.count_nonzero(drawn(box))
    assert box.empty == (box.area == 0)


@given(one=boxes(), other=boxes())
def test_intersection_is_that_of_the_pixels(one: Box, other: Box) -> None:
    np.testing.assert_array_equal(drawn(one.intersect(other)), drawn(one) & drawn(other))


@given(one=boxes(), other=boxes())
def test_hull_covers_both_and_is_the_smallest(one: Box, other: Box) -> None:
    hull = one.hull(other)

    assert hull.covers(one)
    assert hull.covers(other)
    pixels = np.argwhere(drawn(one) | drawn(other)) - 300
    if pixels.size:
        (y0, x0), (y1, x1) = pixels.min(0), pixels.max(0) + 1
        assert hull == Box(int(y0), int(x0), int(y1), int(x1))


@given(one=boxes(), other=boxes())
def test_covers_means_that_no_pixel_sticks_out(one: Box, other: Box) -> None:
    assert one.covers(other) == (not np.any(drawn(other) & ~drawn(one)))


@given(box=boxes(), dy=whole, dx=whole)
def test_shift_there_and_back(box: Box, dy: int, dx: int) -> None:
    assert box.shift(dy, dx).shift(-dy, -dx) == box
    assert box.shift(dy, dx).shape == box.shape


@given(box=boxes(), outer=boxes())
def test_relative_to_finds_the_same_pixels_in_the_crop(box: Box, outer: Box) -> None:
    inner = box.intersect(outer)
    canvas = np.arange(700 * 700).reshape(700, 700)
    crop = canvas[outer.shift(300, 300).slices]

    if not inner.empty:
        np.testing.assert_array_equal(crop[inner.relative_to(outer).slices], canvas[inner.shift(300, 300).slices])


@given(box=boxes(), pixels=st.integers(0, 40))
def test_grow_and_shrink_is_identity(box: Box, pixels: int) -> None:
    assert box.grow(pixels).grow(-pixels) == box


@given(box=boxes(), y=st.floats(-250, 250), x=st.floats(-250, 250))
def test_contains_asks_for_the_pixel_under_the_point(box: Box, y: float, x: float) -> None:
    # Pixel i covers [i - 0.5, i + 0.5).
    inside = box.y0 - 0.5 <= y < box.y1 - 0.5 and box.x0 - 0.5 <= x < box.x1 - 0.5

    assert box.contains(y, x) == inside


@given(box=boxes(), height=st.integers(1, 300), width=st.integers(1, 300))
def test_clip_stays_inside_the_image_and_loses_nothing_of_it(box: Box, height: int, width: int) -> None:
    image = Box(0, 0, height, width)

    assert image.covers(box.clip((height, width)))
    np.testing.assert_array_equal(drawn(box.clip((height, width))), drawn(box) & drawn(image))


@given(box=boxes())
def test_centre_is_the_mean_of_the_pixel_centres(box: Box) -> None:
    if not box.empty:
        mean = np.argwhere(drawn(box)).mean(0) - 300
        assert box.centre == pytest.approx(tuple(mean))


@given(box=boxes(), size=st.integers(6, 64))
def test_tiles_cover_the_box_once_and_each_meets_it(box: Box, size: int) -> None:
    tiles = list(box.tiles(size))

    assert len(tiles) == len(set(tiles))
    parts = [Box(r * size, c * size, (r + 1) * size, (c + 1) * size).intersect(box) for r, c in tiles]
    assert all(not part.empty for part in parts)
    assert sum(part.area for part in parts) == box.area


# Levels -----------------------------------------------------------------------------------------------------------


@given(box=boxes(), factor=st.integers(1, 16), height=st.integers(16, 400), width=st.integers(16, 400))
def test_level_box_covers_the_box_with_as_few_pixels_as_it_can(box: Box, factor: int, height: int, width: int) -> None:
    level = Level(1, (math.ceil(height / factor), math.ceil(width / factor)), (factor, factor))
    wanted = box.clip((height, width))

    found = level_box(wanted, level)

    assert Box(0, 0, *level.shape).covers(found)
    back = Box(found.y0 * factor, found.x0 * factor, found.y1 * factor, found.x1 * factor)
    assert back.covers(wanted)
    if not wanted.empty:
        assert back.y0 > wanted.y0 - factor
        assert back.x0 > wanted.x0 - factor
        assert back.y1 < wanted.y1 + factor
        assert back.x1 < wanted.x1 + factor


@given(wanted=st.floats(0.1, 300), count=st.integers(1, 8))
def test_coarsest_level_never_shows_less_detail_than_asked(wanted: float, count: int) -> None:
    levels = tuple(Level(i, (1000 >> i, 1000 >> i), (float(2**i), float(2**i))) for i in range(count))

    level = coarsest_level_for(levels, wanted)

    assert level.index == 0 or max(level.scale) <= wanted * 1.001
    if level.index + 1 < count:
        assert max(levels[level.index + 1].scale) > wanted


def test_values_compare_by_content_and_cannot_be_changed() -> None:
    assert Box(1, 2, 3, 4) == Box(1, 2, 3, 4)
    assert len({Box(1, 2, 3, 4), Box(1, 2, 3, 4)}) == 1
    with pytest.raises(AttributeError):
        Box(1, 2, 3, 4).y0 = 5  # type: ignore[misc]


def test_whole_numbers_of_numpy_become_those_of_python() -> None:
    box, plane = Box(*np.array([1, 2, 3, 4])), Plane(np.uint8(5), np.int64(6))

    assert (box, plane) == (Box(1, 2, 3, 4), Plane(5, 6))
    assert {type(number) for number in (box.y0, box.x0, box.y1, box.x1, plane.t, plane.z)} == {int}

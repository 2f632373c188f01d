"""Scales of levels from their shapes, as writers round them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_relay.geometry import Box, level_box
from napari_relay.sources.levels import level_scale, make_levels

SIDES = st.integers(64, 200_000)
ROUNDING = st.sampled_from([math.floor, math.ceil, round])


@given(SIDES, SIDES, st.integers(0, 4), ROUNDING)
def test_scale_of_a_halved_level_is_whole_however_it_was_rounded(h: int, w: int, power: int, rounded: object) -> None:
    scale = 2**power
    shape = (max(1, rounded(h / scale)), max(1, rounded(w / scale)))  # type: ignore[operator]

    assert level_scale((h, w), shape) == (scale, scale)


@given(SIDES, SIDES, st.floats(1.3, 40), ROUNDING)
def test_levels_cover_the_image_within_a_pixel(h: int, w: int, scale: float, rounded: object) -> None:
    shape = (max(1, rounded(h / scale)), max(1, rounded(w / scale)))  # type: ignore[operator]

    _, level = make_levels([(h, w), shape])

    for axis, side in enumerate((h, w)):
        assert abs(level.shape[axis] * level.scale[axis] - side) <= level.scale[axis] + 1e-6
    assert level_box(Box(0, 0, h, w), level) == Box(0, 0, *level.shape)


@pytest.mark.parametrize(
    ("full", "reduced", "scale"),
    [
        ((2967, 2220), (741, 555), (4.0, 4.0)),
        ((1001, 1001), (126, 126), (8.0, 8.0)),
        ((300, 300), (100, 100), (3.0, 3.0)),
        ((100, 400), (100, 100), (1.0, 4.0)),
        ((17, 33), (1, 1), (32.0, 32.0)),
    ],
)
def test_scales_of_real_pyramids(full: tuple[int, int], reduced: tuple[int, int], scale: tuple[float, float]) -> None:
    assert level_scale(full, reduced) == scale


def test_a_stated_scale_is_taken_unless_the_shapes_contradict_it() -> None:
    shapes = [(1000, 1000), (400, 400), (250, 250)]

    levels = make_levels(shapes, [(1.0, 1.0), (2.5, 2.5), (2.0, 2.0)])

    assert [level.scale for level in levels] == [(1.0, 1.0), (2.5, 2.5), (4.0, 4.0)]

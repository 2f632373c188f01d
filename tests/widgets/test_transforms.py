"""Placing clicks and windows of pixels: exact for every transform that napari knows."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pint
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.layers import Image, Labels

from napari_relay.geometry import Plane
from napari_relay.widgets.transforms import (
    ROLL_BACK,
    TURN_2D,
    Frame,
    first_click_zoom,
    plane_of,
    refusal,
    world_to_data,
)

PIXELS = np.zeros((40, 60), np.uint8)
sizes = st.floats(0.05, 20)
shifts = st.floats(-1e4, 1e4)
angles = st.floats(-180, 180)
shears = st.floats(-0.8, 0.8)
places = st.tuples(st.floats(-0.5, 39.4), st.floats(-0.5, 59.4))


@st.composite
def transforms(draw: st.DrawFn) -> dict[str, object]:
    made: dict[str, object] = {}
    if draw(st.booleans()):
        made["scale"] = (draw(sizes), draw(sizes))
    if draw(st.booleans()):
        made["translate"] = (draw(shifts), draw(shifts))
    if draw(st.booleans()):
        made["rotate"] = draw(angles)
    if draw(st.booleans()):
        made["shear"] = [draw(shears)]
    if draw(st.booleans()):
        turn = np.deg2rad(draw(angles))
        size = draw(sizes)
        made["affine"] = np.array(
            [
                [size * np.cos(turn), -np.sin(turn), draw(shifts)],
                [np.sin(turn), size * np.cos(turn) + 2, draw(shifts)],
                [0, 0, 1],
            ]
        )
    return made


@given(transforms(), places)
@settings(deadline=None, max_examples=40)
def test_a_click_on_a_pixel_gives_that_pixel_back(transform: dict[str, object], place: tuple[float, float]) -> None:
    layer = Image(PIXELS, **transform)

    point = world_to_data(layer, layer.data_to_world(place), (1, 1))

    assert (point.y, point.x) == pytest.approx(place, abs=1e-5)
    assert point.plane == Plane()


def test_napari_places_a_layer_with_that_affine_so() -> None:
    image = Image(PIXELS, scale=(2, 3), translate=(5, 7), rotate=30)
    affine = Frame.of(image).window((10, 20), 4)

    window = Labels(np.zeros((8, 8), np.uint8), affine=affine)

    np.testing.assert_allclose(window.data_to_world((3, 5)), (affine @ (3, 5, 1))[:2])


@given(transforms(), st.tuples(st.integers(-50, 50), st.integers(-50, 50)), st.sampled_from([1, 2, 4, 8]), places)
@settings(deadline=None, max_examples=40)
def test_a_window_lies_over_the_pixels_that_it_shows(
    transform: dict[str, object], origin: tuple[int, int], step: int, place: tuple[float, float]
) -> None:
    image = Image(PIXELS, **transform)
    affine = Frame.of(image).window(origin, step)

    # The outer corner of the window's pixel (i, j) is the outer corner of the image's pixel origin + step * (i, j).
    for corner in ((0, 0), (3, 5), (8, 8)):
        ours = (affine @ (corner[0] - 0.5, corner[1] - 0.5, 1))[:2]
        theirs = image.data_to_world((origin[0] + step * corner[0] - 0.5, origin[1] + step * corner[1] - 0.5))
        np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-5)


@given(
    st.tuples(st.floats(0.5, 4), sizes, sizes),
    st.tuples(st.floats(-50, 50), shifts, shifts),
    st.integers(0, 6),
    places,
)
@settings(deadline=None, max_examples=40)
def test_the_plane_is_the_datas_not_the_sliders(
    scale: tuple[float, ...], translate: tuple[float, ...], z: int, place: tuple[float, float]
) -> None:
    layer = Image(np.zeros((7, 40, 60), np.uint8), scale=scale, translate=translate)

    point = world_to_data(layer, layer.data_to_world((z, *place)), (1, 7))

    assert point.plane == Plane(0, z)
    assert (point.y, point.x) == pytest.approx(place, abs=1e-5)


def test_a_layer_with_fewer_axes_takes_the_last_ones_of_the_viewer() -> None:
    layer = Image(PIXELS, scale=(2, 2))

    point = world_to_data(layer, (5.0, 9.0, 20.0, 30.0), (1, 1))

    assert (point.y, point.x) == (10, 15)


@pytest.mark.parametrize(
    ("leading", "sizes_tz", "plane"),
    [
        ((), (1, 1), Plane()),
        ((3.4,), (1, 9), Plane(0, 3)),
        ((3.6,), (9, 1), Plane(4, 0)),
        ((2.2, 5.0), (4, 9), Plane(2, 5)),
        ((-7.0, 99.0), (4, 9), Plane(0, 8)),
    ],
)
def test_leading_axes_name_a_plane_inside_the_image(
    leading: tuple[float, ...], sizes_tz: tuple[int, int], plane: Plane
) -> None:
    assert plane_of(leading, sizes_tz) == plane


def test_units_of_the_viewer_are_turned_into_the_layers() -> None:
    registry = pint.get_application_registry()
    layer = Image(PIXELS, scale=(0.5, 0.5), units=("um", "um"))

    point = world_to_data(layer, (5000.0, 10000.0), (1, 1), (registry.nanometer, registry.nanometer))

    assert (point.y, point.x) == pytest.approx((10, 20))


def test_views_that_show_other_axes_are_refused_with_what_to_do() -> None:
    flat, stack = Image(PIXELS), Image(np.zeros((7, 40, 60), np.uint8))

    assert refusal(flat, displayed=(0, 1), ndim=2, ndisplay=2) == ""
    assert refusal(stack, displayed=(1, 2), ndim=3, ndisplay=2) == ""
    assert refusal(flat, displayed=(2, 3), ndim=4, ndisplay=2) == ""
    assert refusal(stack, displayed=(0, 1), ndim=3, ndisplay=2) == ROLL_BACK
    assert refusal(flat, displayed=(1, 0), ndim=2, ndisplay=2) == ROLL_BACK
    assert refusal(stack, displayed=(0, 1, 2), ndim=3, ndisplay=3) == TURN_2D


def test_an_image_turned_out_of_its_plane_is_refused() -> None:
    turn = np.deg2rad(20)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    tilted = Image(np.zeros((7, 40, 60), np.uint8), affine=affine, name="tilted")

    assert "tilted" in refusal(tilted, displayed=(1, 2), ndim=3, ndisplay=2)
    assert "axes" in refusal(SimpleNamespace(ndim=5, name="much"), displayed=(3, 4), ndim=5, ndisplay=2)


def test_a_first_click_looks_at_what_the_canvas_shows() -> None:
    # 896 canvas pixels at 2 canvas pixels a micrometre and 0.5 micrometres a pixel are 896 level-0 pixels.
    assert first_click_zoom((896, 1200), 2.0, 0.5, 448) == 2.0
    assert first_click_zoom((0, 0), 1.0, 1.0, 448) > 0

"""Pixels of views: positions to a fraction of a pixel, borders, channels, contrast, keys."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_relay.errors import UsageError
from napari_relay.geometry import Box, Plane
from napari_relay.sources import open_image
from napari_relay.sources.array import open_array
from napari_relay.views import crops as crops_module
from napari_relay.views.crops import DEVIATION, MEAN, crop_key, global_key, read_crops, read_view
from napari_relay.views.mix import ChannelMix, channel_mix, default_mix
from napari_relay.views.policy import first_view, step_side, view_pair, whole_view
from napari_relay.views.stretch import Stretch, measure_stretch
from napari_relay.views.values import View, ViewPair

HERE = Plane()
TOLERANCE = 0.05
"""View pixels."""


def gradient(height, width, factor=1.0):
    """Two channels whose values are the level-0 position (y, x) of the pixel's centre."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return np.stack([(y + 0.5) * factor - 0.5, (x + 0.5) * factor - 0.5], axis=-1)


def positions(source, view):
    """Level-0 positions that the view's pixels show, [2, side, side], NaN outside the image."""
    longest = float(max(source.shape))
    stretch = Stretch((-2.0, -2.0), (longest, longest))
    shown = read_view(source, view, HERE, default_mix(source), stretch)
    values = shown * DEVIATION[:, None, None] + MEAN[:, None, None]
    inside = shown[0] != 0
    return np.where(inside, values[:2] * (longest + 2) - 2, np.nan)


def expected(source, view):
    centre = [view.to_image(i, i) for i in range(view.side)]
    y = np.array([c[0] for c in centre])[:, None] + np.zeros(view.side)
    x = np.array([c[1] for c in centre])[None, :] + np.zeros((view.side, 1))
    inside = (y >= -0.5) & (y < source.shape[0] - 0.5) & (x >= -0.5) & (x < source.shape[1] - 0.5)
    return np.where(inside, np.stack([y, x]), np.nan), inside


@settings(max_examples=25, deadline=None)
@given(
    st.integers(60, 700),
    st.integers(60, 700),
    st.integers(-6, 2),
    st.floats(0, 0.999),
    st.floats(0, 0.999),
)
def test_view_pixels_show_the_place_that_geometry_says(height, width, step, fy, fx):
    source = open_image(gradient(height, width), channel_names=("y", "x"))
    view = first_view(source.shape, (fy * height - 0.5, fx * width - 0.5), step_side(step) / 448)

    got = positions(source, view)
    want, inside = expected(source, view)

    assert (np.isnan(got[0]) == ~inside).all()
    # At the image's very border the filter sees copies of the last pixel; elsewhere it is exact.
    margin = 1.5 * max(view.scale, 1)
    deep = inside & (want[0] > margin) & (want[1] > margin)
    deep &= (want[0] < height - 1 - margin) & (want[1] < width - 1 - margin)
    assert deep.any()
    assert np.abs(got - want)[:, deep].max() < TOLERANCE * max(view.scale, 1)


@pytest.mark.parametrize("scales", [(1, 2, 4, 8), (1, 4, 16), (1, 3)])
def test_pixels_of_coarser_levels_lie_at_the_same_place(scales):
    full = 960
    source = open_image([gradient(full // s, full // s, s) for s in scales], channel_names=("y", "x"))
    for view in (View(Box(0, 0, full, full)), View(Box(-40, 120, 592, 752)), View(Box(256, 256, 512, 512))):
        got, (want, inside) = positions(source, view), expected(source, view)
        deep = inside & (np.abs(want - full / 2) < full / 2 - 8).all(axis=0)
        assert np.abs(got - want)[:, deep].max() < TOLERANCE * max(view.scale, 1)


def test_rgb_bytes_take_the_short_way_to_the_same_place():
    y, x = np.mgrid[:600, :600]
    image = np.stack([y // 4, x // 4, (y + x) // 8], axis=-1).astype(np.uint8)
    source = open_image(image)
    view = View(Box(37, 101, 485, 549))

    shown = read_view(source, view, HERE, default_mix(source), measure_stretch(source))

    values = (shown * DEVIATION[:, None, None] + MEAN[:, None, None]) * 255
    np.testing.assert_allclose(values, image[37:485, 101:549].transpose(2, 0, 1), atol=1e-3)


def test_neighbouring_views_show_the_same_pixels_where_they_overlap():
    image = np.random.default_rng(0).integers(0, 255, (900, 900), np.uint8)
    source = open_image(image)
    stretch, mix = measure_stretch(source), default_mix(source)

    a = read_view(source, View(Box(0, 0, 896, 896)), HERE, mix, stretch)
    b = read_view(source, View(Box(224, 0, 1120, 896)), HERE, mix, stretch)

    np.testing.assert_allclose(a[:, 112:447], b[:, :335], atol=2e-5)


def test_outside_of_the_image_is_exactly_zero_and_hides_nothing_inside():
    source = open_image(np.full((100, 60), 200, np.uint8))
    view = whole_view(source.shape)

    shown = read_view(source, view, HERE, default_mix(source), Stretch((0.0,), (200.0,)))

    edge = 448 * 60 // 100
    assert (shown[:, :, edge + 1 :] == 0).all()
    np.testing.assert_allclose(shown[:, :, :edge], ((1 - MEAN) / DEVIATION)[:, None, None] * np.ones((3, 448, edge)))
    far = read_view(source, View(Box(500, 500, 948, 948)), HERE, default_mix(source), Stretch.none(1))
    assert (far == 0).all()


def test_tiny_image_fills_its_view():
    source = open_image(np.arange(12, dtype=np.uint8).reshape(3, 4))

    crops = read_crops(source, view_pair(source.shape, whole_view((3, 4))), HERE, default_mix(source), Stretch.none(1))

    assert crops.global_ is None
    assert crops.local.shape == (3, 448, 448)
    assert (crops.local[:, : 3 * 8, : 4 * 8] != 0).all()


def test_nan_and_infinite_pixels_become_zero_and_spoil_no_neighbour():
    image = np.random.default_rng(1).random((200, 200)).astype(np.float32)
    image[50:60, 50:60] = np.nan
    image[80, 80], image[90, 90] = np.inf, -np.inf
    source = open_image(image)
    stretch = measure_stretch(source)

    shown = read_view(source, whole_view(source.shape), HERE, default_mix(source), stretch)

    assert np.isfinite(shown).all()
    black = -MEAN / DEVIATION
    np.testing.assert_allclose(shown[:, 123, 123], black, rtol=1e-5)
    assert 0 <= stretch.lo[0] < 0.01
    assert 0.99 < stretch.hi[0] <= 1


@pytest.mark.parametrize("fill", [np.nan, np.inf, 0, 7, -3e38, 1e-40])
def test_constant_and_all_nan_images_are_shown_as_black(fill):
    source = open_array(np.full((64, 64), fill, np.float32))  # open_image refuses an image that is all NaN

    shown = read_view(source, whole_view((64, 64)), HERE, default_mix(source), measure_stretch(source))

    np.testing.assert_allclose(shown, (-MEAN / DEVIATION)[:, None, None] * np.ones((3, 448, 448)), rtol=1e-5)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint16, np.int32, np.uint32, np.int64, np.float16, np.float64])
def test_any_dtype_is_stretched_between_its_percentiles(dtype):
    ramp = np.linspace(0, 100, 256 * 256).reshape(256, 256)
    image = (ramp > 50) if dtype is bool else ramp.astype(dtype)
    if dtype in (np.uint32, np.int64):
        image = image + dtype(4_000_000_000)
    source = open_image(image)

    shown = read_view(source, View(Box(0, 0, 256, 256)), HERE, default_mix(source), measure_stretch(source))

    grey = shown[0] * DEVIATION[0] + MEAN[0]
    assert grey.min() == pytest.approx(0, abs=0.02)
    assert grey.max() == pytest.approx(1, abs=0.02)
    assert abs(grey.mean() - 0.5) < 0.02


def test_large_crops_are_read_in_bands_with_the_same_result(monkeypatch):
    source = open_image(gradient(1500, 1300), channel_names=("y", "x"))
    view = View(Box(-100, 200, 3484, 3784))
    whole = positions(source, view)

    monkeypatch.setattr(crops_module, "BAND_VALUES", 60_000)
    banded = positions(source, view)

    assert (np.isnan(whole) == np.isnan(banded)).all()
    deep = ~np.isnan(whole) & (np.nan_to_num(whole) > 20) & (np.nan_to_num(whole) < 1280)
    assert np.abs(whole - banded)[deep].max() < 0.05


def test_planes_are_read_by_index():
    stack = np.zeros((2, 1, 3, 64, 64), np.uint16)  # t, c, z, y, x
    stack[1, 0, 2] = 1000
    source = open_image(stack)
    stretch = Stretch((0.0,), (1000.0,))

    dark, bright = (
        read_view(source, whole_view((64, 64)), plane, default_mix(source), stretch)[0, 0, 0]
        for plane in (Plane(0, 0), Plane(1, 2))
    )

    assert bright > dark


def test_keys_name_everything_that_the_pixels_depend_on():
    rng = np.random.default_rng(2)
    source = open_image(rng.integers(0, 255, (3000, 3000, 4), np.uint16))
    other = open_image(rng.integers(0, 255, (3000, 3000, 4), np.uint16))
    pair = view_pair(source.shape, first_view(source.shape, (1000, 1000), 1))
    moved = view_pair(source.shape, first_view(source.shape, (1200, 1000), 1))
    mix, stretch = default_mix(source), measure_stretch(source)
    fewer = ViewPair(pair.local, None)

    keys = {
        crop_key(source, pair, HERE, mix, stretch),
        crop_key(other, pair, HERE, mix, stretch),
        crop_key(source, moved, HERE, mix, stretch),
        crop_key(source, fewer, HERE, mix, stretch),
        crop_key(source, pair, Plane(0, 1), mix, stretch),
        crop_key(source, pair, Plane(1, 0), mix, stretch),
        crop_key(source, pair, HERE, channel_mix(source, [1, 2, 3]), stretch),
        crop_key(source, pair, HERE, mix, dataclasses.replace(stretch, hi=(300.0,) * 4)),
        global_key(source, pair, HERE, mix, stretch),
    }

    assert len(keys) == 9
    assert pair.global_ == moved.global_
    assert global_key(source, pair, HERE, mix, stretch) == global_key(source, moved, HERE, mix, stretch)
    assert global_key(source, fewer, HERE, mix, stretch) is None
    read = read_crops(source, pair, HERE, mix, stretch)
    assert read.key == crop_key(source, pair, HERE, mix, stretch)
    assert read.global_key == global_key(source, pair, HERE, mix, stretch)
    assert read.global_.shape == (3, 448, 448)


def test_custom_mix_changes_the_pixels():
    image = np.zeros((64, 64, 3), np.uint8)
    image[..., 1] = 255
    source = open_image(image)
    view, stretch = whole_view((64, 64)), measure_stretch(source)

    def shown(mix):
        return np.round(read_view(source, view, HERE, mix, stretch)[:, 9, 9] * DEVIATION + MEAN, 3).tolist()

    assert shown(default_mix(source)) == [0, 1, 0]
    assert shown(channel_mix(source, ["green", "red", "blue"])) == [1, 0, 0]
    assert shown(channel_mix(source, [1])) == [1, 1, 1]
    assert shown(channel_mix(source, [0, 1])) == [0, 1, 0.5]
    assert shown(channel_mix(source, [1, 1, 1], gains=[0.5, 0.25, 0])) == [0.5, 0.25, 0]
    assert shown(ChannelMix(((0.0, 0.0, 0.0),) * 3)) == [0, 0, 0]


def test_mix_of_another_image_is_refused():
    source = open_image(np.zeros((64, 64, 3), np.uint8))

    with pytest.raises(UsageError, match="3 channels, the channel mix 1"):
        read_view(source, whole_view((64, 64)), HERE, ChannelMix(((1.0,),) * 3), Stretch.none(3))


@pytest.mark.parametrize("side", [460, 493, 528, 560, 600, 650, 700, 800, 895, 950, 1200])
def test_whole_image_views_of_any_scale_are_exact(side):
    source = open_image(gradient(side, side), channel_names=("y", "x"))
    view = whole_view(source.shape)

    got, (want, inside) = positions(source, view), expected(source, view)

    deep = inside & (np.abs(want - side / 2) < side / 2 - 6).all(axis=0)
    assert np.abs(got - want)[:, deep].max() < TOLERANCE * view.scale

"""Training views: labels and pixels under scale, turns, placement, looks."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from training_sets import COLOURS, save

from napari_relay.geometry import Box, Plane
from napari_relay.sources import open_image
from napari_relay.views import policy
from napari_relay.views.crops import DEVIATION, MEAN, read_view
from napari_relay.views.mix import default_mix
from napari_relay.views.stretch import measure_stretch
from napari_relay.views.values import View
from relay_training.augment import LookLaw, apply_look, draw_look
from relay_training.data import (
    MEAN_COLOUR,
    ViewLaw,
    ViewSampler,
    turn_array,
    turned_box,
    turned_shape,
    view_image,
)
from relay_training.index import load_index
from relay_training.labels import block_mode, crop_labels
from relay_training.sampler import SetRule

PLAIN = LookLaw(colour_p=0, grey_p=0, stain_p=0, permute_p=0, drop_p=0, invert_p=0, blur_p=0, noise_p=0, jpeg_p=0)


def test_labels_at_their_own_scale_are_themselves_and_minus_one_outside():
    labels = np.random.default_rng(0).integers(-1, 4, (40, 30)).astype(np.int32)
    crop = crop_labels(labels, -8, -8, 64, 64)
    assert (crop[8:48, 8:38] == labels).all()
    assert (crop[:8] == -1).all()
    assert (crop[:, 38:] == -1).all()


def test_enlarged_labels_equal_bilinear_plus_one_half_of_each_object():
    labels = np.zeros((16, 16), np.int32)
    labels[3:9, 4:10], labels[9:13, 6:14] = 1, 2
    crop = crop_labels(labels, 2, 2, 12, 48)
    for label in (1, 2):
        mask = Image.fromarray((labels == label).astype(np.float32))
        smooth = np.asarray(mask.resize((48, 48), Image.Resampling.BILINEAR, box=(2, 2, 14, 14)))
        assert ((crop == label) == (smooth > 0.5))[np.abs(smooth - 0.5) > 1e-3].mean() > 0.99


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.integers(2, 4))
def test_block_mode_is_the_most_frequent_label_and_the_larger_of_equals(seed, block):
    labels = np.random.default_rng(seed).integers(-1, 3, (4 * block, 3 * block)).astype(np.int32)
    modes = block_mode(labels, block)
    for i in range(4):
        for j in range(3):
            cell = labels[i * block : (i + 1) * block, j * block : (j + 1) * block]
            values, counts = np.unique(cell, return_counts=True)
            assert modes[i, j] == values[counts == counts.max()].max()


@pytest.mark.parametrize("turn", range(8))
def test_a_turned_box_holds_the_turned_object(turn):
    values = np.zeros((7, 10), int)
    values[2:5, 6:9] = 1
    turned = turn_array(values, turn)
    box = turned_box(Box(2, 6, 5, 9), values.shape, turn)

    assert turned.shape == turned_shape(values.shape, turn)
    assert turned[box.slices].all()
    assert turned.sum() == 9


def test_a_view_over_the_border_shows_the_mean_colour_there_whatever_the_look():
    pixels = Image.new("RGB", (100, 60), (200, 0, 0))
    look = draw_look(np.random.default_rng(0), "microscopy", LookLaw(invert_p=1, jpeg_p=0, noise_p=0, blur_p=0))
    image = view_image(pixels, View(Box(0, 0, 100, 100)), look)

    assert (image[269:] == MEAN_COLOUR).all()  # 60 px are 268.8 view pixels
    assert (image[:269] == image[0, 0]).all()
    assert (image[0, 0] != (200, 0, 0)).any()


@pytest.mark.parametrize(
    "box", [Box(0, 0, 301, 301), Box(40, 30, 140, 130), Box(100, 180, 340, 420), Box(0, 0, 57, 57)]
)
def test_training_sees_what_the_product_shows(box):
    noise = np.random.default_rng(0).integers(0, 256, (25, 38, 3), dtype=np.uint8)
    array = np.asarray(Image.fromarray(noise).resize((301, 200), Image.Resampling.BICUBIC))
    with open_image(array) as source:
        shown = read_view(source, View(box), Plane(), default_mix(source), measure_stretch(source))
    expected = (shown.transpose(1, 2, 0) * DEVIATION + MEAN) * 255

    error = np.abs(view_image(Image.fromarray(array), View(box)) - expected)

    inside = (shown != 0).any(0)
    assert error[~inside].max(initial=0) <= 0.5  # the mean colour is rounded
    assert error[inside].mean() < 0.05
    assert error[inside].max() < 6  # at the border, where a pixel is cut


def test_image_and_labels_of_a_view_lie_on_each_other(sets):
    sampler = ViewSampler(load_index(sets), seed=3, look=PLAIN)
    for number in range(30):
        view = sampler.view(number)
        if view.picture not in (1, 2, 3):  # the others' colours do not tell the label
            continue
        colours = COLOURS[np.clip(view.labels, 0, 4)]
        certain = (view.labels > 0) & (view.labels < 5)
        wrong = (np.abs(view.image.astype(int) - colours).max(-1) > 60) & certain
        # Only the pixels of an outline are mixtures.
        assert wrong.sum() < 0.03 * certain.sum() + 200 / view.pair.local.scale


def test_views_are_a_function_of_seed_and_number_through_a_pickle(sets):
    sampler = ViewSampler(load_index(sets), seed=1)
    other = pickle.loads(pickle.dumps(sampler))
    for number in (5, 0, 17):
        a, b = sampler.view(number), other.view(number)
        assert (a.image == b.image).all()
        assert (a.labels == b.labels).all()
        assert a.geometry == b.geometry
    assert any((sampler.view(n).image != ViewSampler(sampler.index, seed=2).view(n).image).any() for n in range(3))


def test_a_view_lists_what_can_be_clicked_in_it(sets):
    sampler = ViewSampler(load_index(sets), seed=0)
    view = sampler.view(0)
    counts = {int(i): int((view.labels == i).sum()) for i in np.unique(view.labels) if i > 0}

    assert dict(zip(view.ids.tolist(), view.areas.tolist(), strict=True)) == counts
    assert view.image.shape == (448, 448, 3)
    assert view.image.dtype == np.uint8
    assert view.labels.dtype == view.labels_small.dtype == np.int32
    assert (view.labels_small == block_mode(view.labels, 4)).all()


def test_half_of_the_views_are_whole_pictures_anchored_in_the_corner(sets):
    index = load_index(sets)
    whole = ViewSampler(index, seed=0, law=ViewLaw(whole_p=1.0))
    for number in range(10):
        view = whole.view(number)
        side = int(index.shapes[view.picture].max())
        assert view.pair.local.box == Box(0, 0, side, side)
        assert view.global_image is None
        assert view.geometry[:3] == (0, 0, 0)


def test_object_views_hold_the_object_at_the_asked_size(sets):
    index = load_index(sets)
    sampler = ViewSampler(index, seed=0, law=ViewLaw(whole_p=0, cut_p=0, low=0.5, high=0.9), look=PLAIN)
    seen = 0
    for number in range(40):
        view = sampler.view(number)
        least = view.pair.local.box.height == 56  # as fine as it gets, however small the object
        if least or view.pair.local == policy.whole_view(tuple(index.shapes[view.picture])):
            continue
        rows, columns = np.nonzero(view.labels == view.focus)
        longest = max(np.ptp(rows), np.ptp(columns)) + 1
        seen += 1
        assert 0.48 * 448 <= longest <= 0.91 * 448
        assert view.focus > 0
    assert seen > 5


def test_cut_views_lie_inside_a_large_object(tmp_path):
    labels = np.zeros((400, 400), np.uint8)
    labels[20:380, 20:380] = 1
    save(tmp_path / "s", "x", labels)
    sampler = ViewSampler(load_index(tmp_path), seed=0, law=ViewLaw(whole_p=0, cut_p=1, cut=4.0))
    views = [sampler.view(n) for n in range(10)]
    assert all((v.labels == 1).mean() > 0.7 for v in views if v.pair.local.box.height < 330)
    assert any(v.pair.local.box.height < 330 for v in views)


def test_random_views_have_the_asked_scale_and_hold_the_middle_of_an_object(tmp_path):
    labels = np.zeros((900, 700), np.uint8)
    labels[500:540, 300:380] = 1
    save(tmp_path / "s", "x", labels)
    law = ViewLaw(whole_p=0, random_p=1, random_low=0.8, random_high=2.0)
    sampler = ViewSampler(load_index(tmp_path), seed=0, law=law, look=PLAIN)
    views = [sampler.view(n) for n in range(12)]

    assert all(1 / 2 <= v.pair.local.scale <= 1 / 0.79 for v in views)
    assert all(1 in v.ids for v in views)
    assert len({v.pair.local.box for v in views}) > 10


def test_the_wider_view_is_the_product_s_and_shows_the_same_place(sets):
    sampler = ViewSampler(load_index(sets), seed=0, law=ViewLaw(whole_p=0, low=0.6, global_p=1), look=PLAIN)
    wide = [view for view in map(sampler.view, range(40)) if view.global_image is not None]
    assert wide
    for view in wide:
        local, other = view.pair.local, view.pair.global_
        shape = tuple(sampler.index.shapes[view.picture])
        assert other in [policy.global_view(s, local) for s in (shape, shape[::-1])]
        y, x = (round(v) for v in other.to_view(*local.box.centre))
        here, there = view.image[214:234, 214:234].mean((0, 1)), view.global_image[y - 1 : y + 2, x - 1 : x + 2]
        if here.std() > 0 and np.ptp(view.image[200:248, 200:248], axis=(0, 1)).max() < 10:
            assert np.abs(there.mean((0, 1)) - here).max() < 12


def test_photographs_are_never_turned_and_other_pictures_are(sets):
    index = load_index(sets)
    for domain, upright in (("photo", True), ("microscopy", False)):
        rules = {name: SetRule(domain=domain) for name in ("plain", "regions")}
        sampler = ViewSampler(index, rules, seed=0, law=ViewLaw(whole_p=1), look=PLAIN)
        wide = []
        for number in range(12):
            view = sampler.view(number)
            rows, columns = np.nonzero(view.labels != -1)
            wide.append((np.ptp(columns) > np.ptp(rows)) == (view.set == "regions"))
        assert all(wide) == upright


def test_the_plain_look_changes_nothing_and_grey_makes_equal_channels():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    same = apply_look(draw_look(np.random.default_rng(0), "photo", PLAIN), image)
    grey = np.asarray(
        apply_look(draw_look(np.random.default_rng(0), "photo", LookLaw(grey_p=1, jpeg_p=0, noise_p=0)), image)
    )
    assert (np.asarray(same) == np.asarray(image)).all()
    assert (np.ptp(grey, axis=2) <= 1).all()


@pytest.mark.parametrize("domain", ["photo", "histology"])
def test_looks_stay_pictures(domain):
    image = Image.fromarray(np.tile(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], (64, 1, 3)))
    for seed in range(40):
        look = draw_look(np.random.default_rng(seed), domain)
        out = np.asarray(apply_look(look, image, ratio=2.0))
        assert out.shape == (64, 64, 3)
        assert out.std() > 8

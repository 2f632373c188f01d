"""Training data: reading the layouts, drawing objects, views and targets."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from napari_relay.errors import UsageError
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
from relay_training.data_config import read_data_config
from relay_training.index import build_index, find_entries, join, load_index, read_labels
from relay_training.labels import block_mode, crop_labels
from relay_training.sampler import ObjectLaw, ObjectSampler, SetRule
from relay_training.targets import TargetLaw, draw_target, touching

PLAIN = LookLaw(colour_p=0, grey_p=0, stain_p=0, permute_p=0, drop_p=0, invert_p=0, blur_p=0, noise_p=0, jpeg_p=0)
COLOURS = np.array([[30, 60, 90], [220, 40, 40], [40, 220, 40], [40, 40, 220], [200, 200, 60]], np.uint8)


def save(folder: Path, name: str, labels: np.ndarray, kind: str = "labels", suffix: str = "") -> None:
    """A picture whose colours tell the label, and its label map."""
    for part in ("images", kind):
        (folder / part).mkdir(parents=True, exist_ok=True)
    image = folder / "images" / f"{name}.png"
    if suffix in ("", ".a0"):
        Image.fromarray(COLOURS[np.where(labels > 4, 0, labels)]).save(image)
    Image.fromarray(labels).save(folder / kind / f"{name}{suffix}.png")


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sets: `regions` (8 bit with ignore, 16 bit, two annotators) and `plain` (masks of 0 and 255)."""
    root = tmp_path_factory.mktemp("sets")
    labels = np.zeros((200, 300), np.uint8)
    labels[20:60, 30:110], labels[100:180, 50:130], labels[100:180, 130:210] = 1, 2, 3
    labels[150:160, 60:70] = 255
    save(root / "regions", "a", labels)
    save(root / "regions", "b", labels.astype(np.uint16))
    save(root / "regions", "c", labels, suffix=".a0")
    save(root / "regions", "c", np.where(labels == 3, 2, labels).astype(np.uint8), suffix=".a1")
    mask = np.zeros((120, 90), np.uint8)
    mask[30:80, 20:60] = 255
    save(root / "plain", "m", mask, "masks")
    return root


# -- reading --------------------------------------------------------------------------------------


def test_the_index_lists_every_object_of_every_label_map(sets):
    index = load_index(sets)

    assert index.sets.tolist() == ["plain", "regions"]
    assert len(index.images) == 5  # c has two annotators
    assert np.bincount(index.picture).tolist() == [1, 3, 4, 3, 2]  # 255 is an object in 16 bit
    first = index.picture == 1
    assert index.label[first].tolist() == [1, 2, 3]
    assert index.area[first].tolist() == [3200, 6300, 6400]
    assert index.boxes[first][0].tolist() == [20, 30, 60, 110]
    assert index.shapes[1].tolist() == [200, 300]


def test_label_maps_know_ignore_by_their_depth_and_masks_are_one_object(sets):
    eight, sixteen = (read_labels(sets / "regions" / "labels" / f"{n}.png") for n in "ab")
    mask = read_labels(sets / "plain" / "masks" / "m.png", "masks")

    assert eight[155, 65] == -1
    assert sixteen[155, 65] == 255
    assert np.unique(mask).tolist() == [0, 1]
    assert eight.dtype == np.int32


def test_the_cached_index_is_the_same_and_is_made_again_when_a_file_changes(sets, tmp_path):
    root, cache = tmp_path / "sets", tmp_path / "cache" / "index.npz"
    labels = np.zeros((50, 50), np.uint8)
    labels[5:30, 5:30] = 1
    save(root / "one", "x", labels)
    made = load_index(root, cache)
    again = load_index(root, cache)
    labels[40:45, 40:45] = 2
    save(root / "one", "x", labels)
    cache_of_today = load_index(root, cache)
    cache.write_bytes(b"broken")

    assert again.boxes.tolist() == made.boxes.tolist()
    assert again.images.tolist() == made.images.tolist()
    assert len(cache_of_today) == 2
    assert len(load_index(root, cache)) == 2


def test_two_indexes_join_into_one(sets):
    whole = load_index(sets)
    joined = join(build_index(find_entries(sets / name)) for name in ("regions", "plain"))
    assert joined.sets.tolist() == whole.sets.tolist()
    assert sorted(joined.area.tolist()) == sorted(whole.area.tolist())
    assert [joined.set_name(p) for p in joined.picture] == ["regions"] * 12 + ["plain"]


def test_a_folder_without_sets_and_a_picture_without_labels_are_told(tmp_path):
    with pytest.raises(UsageError, match="holds no set"):
        find_entries(tmp_path)
    (tmp_path / "s" / "labels").mkdir(parents=True)
    (tmp_path / "s" / "images").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "s" / "images" / "x.png")
    with pytest.raises(UsageError, match="no label map"):
        find_entries(tmp_path)


# -- labels under scale ---------------------------------------------------------------------------


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


# -- turns and crops ------------------------------------------------------------------------------


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


# -- drawing objects ------------------------------------------------------------------------------


def test_objects_are_drawn_by_area_and_sets_by_weight(sets):
    index = load_index(sets)
    rules = {"regions": SetRule(weight=3, min_area_px=4000), "plain": SetRule(weight=1)}
    sampler = ObjectSampler(index, rules, ObjectLaw(least_px=1, most_px=100_000, crowd=0))
    p = sampler.object_probabilities
    regions = np.array([index.set_name(i) == "regions" for i in index.picture])

    assert p.sum() == pytest.approx(1)
    assert p[regions].sum() == pytest.approx(0.75)
    assert p[(index.area < 4000) & regions].sum() == 0
    two, three = p[(index.picture == 1) & (index.label == 2)], p[(index.picture == 1) & (index.label == 3)]
    assert two[0] / three[0] == pytest.approx((6300 / 6400) ** -0.25)
    drawn = np.bincount([sampler.draw_object(u) for u in np.random.default_rng(0).random(4000)], minlength=len(p))
    assert (np.abs(drawn - 4000 * p) < 3.5 * np.sqrt(4000 * p * (1 - p)) + 1e-9).all()


# -- views ----------------------------------------------------------------------------------------


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


# -- looks ----------------------------------------------------------------------------------------


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


# -- targets --------------------------------------------------------------------------------------

REGIONS = np.zeros((40, 40), np.int32)
REGIONS[:20, :20], REGIONS[:20, 20:30], REGIONS[20:30, :20], REGIONS[35:, 35:] = 1, 2, 3, 4
REGIONS[0, 0] = -1


def test_touching_objects_are_found_with_the_length_of_their_border():
    assert touching(REGIONS).tolist() == [[1, 2, 20], [1, 3, 20]]


def test_a_target_is_one_object_with_the_others_beside_it():
    law = TargetLaw(merge_p=0, pair_p=0)
    drawn = [draw_target(REGIONS, np.random.default_rng(s), "neighbours", law) for s in range(200)]
    for target in drawn:
        assert len(target.labels) == 1
        inside = target.labels[0] == REGIONS
        assert (target.mask == np.where(REGIONS < 0, -1, inside)).all()
        assert (target.others == ((REGIONS > 0) & ~inside)).all()
        assert (target.parts[0] == inside).all()
        assert not target.parts[1].any()
    areas = {1: 399, 2: 200, 3: 200, 4: 25}
    weight = {k: v**-0.25 for k, v in areas.items()}
    for label, w in weight.items():
        p = w / sum(weight.values())
        count = sum(t.labels[0] == label for t in drawn)
        assert abs(count - 200 * p) < 3.5 * (200 * p * (1 - p)) ** 0.5


def test_neighbours_merge_only_where_the_set_allows_it():
    law = TargetLaw(merge_p=1, pair_p=0)
    drawn = [draw_target(REGIONS, np.random.default_rng(s), "neighbours", law).labels for s in range(60)]
    allowed = {(1, 2), (1, 3), (1, 2, 3), (4,)}
    assert set(drawn) <= allowed
    assert len(set(drawn)) == 4
    assert all(len(draw_target(REGIONS, np.random.default_rng(s), "none", law).labels) == 1 for s in range(20))


def test_parts_merge_into_the_whole():
    law = TargetLaw(merge_p=1, pair_p=0)
    drawn = [draw_target(REGIONS, np.random.default_rng(s), "whole", law).labels for s in range(40)]
    assert drawn.count((1, 2, 3)) > 10


def test_a_pair_has_two_parts():
    target = draw_target(REGIONS, np.random.default_rng(0), "none", TargetLaw(pair_p=1))
    assert len(target.labels) == 2
    assert target.parts.any((1, 2)).all()
    assert ((target.parts.sum(0) == 1) == (target.mask == 1)).all()


def test_a_crop_without_a_large_object_has_no_target():
    assert draw_target(np.zeros((8, 8), np.int32), np.random.default_rng(0)) is None


# -- the configuration ----------------------------------------------------------------------------


def test_the_shipped_configuration_reads_and_balances_its_sets():
    config = read_data_config(Path(__file__).parents[2] / "training" / "configs" / "data.toml")
    assert len(config.sets) == 36
    assert config.sets["bsds"].merge == "neighbours"
    photos = sum(rule.weight for rule in config.sets.values() if rule.domain == "photo")
    assert 0.3 < photos / sum(rule.weight for rule in config.sets.values()) < 0.7


def test_the_published_setting_reads():
    config = read_data_config(Path(__file__).parents[2] / "training" / "configs" / "coco_lvis.toml")
    assert config.views.random_p == 1
    assert config.sets["lvis"].min_area_px == 1000


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[sets.a]\nwieght = 2", "wieght"),
        ("[view]\nlow = 1", "unknown table"),
        ('[sets.a]\nmerge = "all"', "merge"),
        ("[sets.a\n", "Cannot read"),
    ],
)
def test_a_wrong_configuration_is_told(tmp_path, text, word):
    path = tmp_path / "data.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=word):
        read_data_config(path)


def test_a_configuration_draws_from_the_sets_it_names_only(sets, tmp_path):
    path = tmp_path / "data.toml"
    path.write_text("[sets.plain]\nweight = 1.0\n[views]\nwhole_p = 0.5\n")
    index = load_index(sets)
    sampler = read_data_config(path).sampler(index)
    assert {sampler.view(n).set for n in range(8)} == {"plain"}
    path.write_text("[sets.nowhere]\n")
    with pytest.raises(UsageError, match="nowhere"):
        read_data_config(path).sampler(index)

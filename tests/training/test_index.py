"""The index of the training sets: which pictures and objects there are, and drawing from them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from training_sets import save

from napari_relay.errors import UsageError
from relay_training.index import build_index, find_entries, join, load_index, read_labels
from relay_training.sampler import ObjectLaw, ObjectSampler, SetRule


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

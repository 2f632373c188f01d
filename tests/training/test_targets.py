"""What is asked for in a training view: one object, several merged, or parts."""

from __future__ import annotations

import numpy as np

from relay_training.targets import TargetLaw, draw_target, touching

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

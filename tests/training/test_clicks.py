"""Simulated clicks: where they may lie, how many there are, and that a seed decides them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_relay.model.contrast import disks
from relay_training.clicks import (
    ABSENT,
    NEGATIVE,
    POSITIVE,
    ClickBatch,
    ClickLaw,
    initial_clicks,
    jitter,
    next_clicks,
)
from relay_training.prompts import DAMAGES, PreviousLaw, corrupt, disk_maps, previous_masks
from relay_training.regions import deep_half, deepest_pixel, dilate, draw_pixels, erode, sample_generators
from relay_training.robot import Robot

RITM = ClickLaw(single_p=0, centre_p=0, error_p=0, late_p=0, jitter_px=0)


def blobs(seed: int, batch: int = 4, side: int = 64) -> np.ndarray:
    """Smooth random masks, bool [B, side, side]."""
    noise = np.random.default_rng(seed).standard_normal((batch, side, side))
    return ndimage.gaussian_filter(noise, (0, 5, 5)) > 0.02


def target_of(seed: int, batch: int = 4, side: int = 64) -> torch.Tensor:
    """Targets with a strip of ignored pixels."""
    target = torch.from_numpy(blobs(seed, batch, side)).long()
    target[:, 20:24] = -1
    return target


def generators(count: int, seed: int = 0, epoch: int = 0) -> list[np.random.Generator]:
    return sample_generators(seed, epoch, range(count))


def under(target: torch.Tensor, clicks: ClickBatch, label: int) -> torch.Tensor:
    """Values of the target under all clicks of one sign."""
    row, slot = torch.nonzero(clicks.labels == label, as_tuple=True)
    y, x = (clicks.points[row, slot] + 0.5).floor().long().unbind(1)
    return target[row, y, x]


# -- regions --------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [64, 112, 130])
@pytest.mark.parametrize("radius", [0, 1, 3, 9])
def test_erosion_and_dilation_equal_repeated_three_by_three(radius, side):
    masks = blobs(1, side=side)
    square = np.ones((3, 3), bool)
    got_wide, got_thin = dilate(masks, np.full(4, radius)), erode(masks, np.full(4, radius))
    for mask, wide, thin in zip(masks, got_wide, got_thin, strict=True):
        expected = mask if radius == 0 else ndimage.binary_dilation(mask, square, radius)
        smaller = mask if radius == 0 else ndimage.binary_erosion(mask, square, radius, border_value=1)
        assert (wide == expected).all()
        assert (thin == smaller).all()


def test_each_sample_grows_by_its_own_radius():
    masks = blobs(2)
    radius = np.array([0, 2, 5, 1])
    together = dilate(masks, radius)
    assert all((together[i] == dilate(masks[i : i + 1], radius[i : i + 1])[0]).all() for i in range(4))


@pytest.mark.parametrize("side", [40, 64, 112, 200])
def test_the_deep_half_equals_alternating_erosions_of_each_mask(side):
    masks = blobs(3, 6, side)
    masks[4], masks[5] = False, True
    cross, square = ndimage.generate_binary_structure(2, 1), np.ones((3, 3), bool)

    depth, core = deep_half(masks)

    for mask, deepest, half in zip(masks, depth, core, strict=True):
        levels = [mask]
        while levels[-1].any():
            levels.append(ndimage.binary_erosion(levels[-1], cross if len(levels) % 2 else square))
        assert deepest == len(levels) - 1
        assert (half == levels[deepest // 2]).all()


def test_the_depth_is_near_the_euclidean_one_and_never_above_it():
    masks = blobs(4, 16, 112)
    depth, _ = deep_half(masks)
    exact = np.array([ndimage.distance_transform_edt(np.pad(mask, 1)).max() for mask in masks])
    assert (depth <= exact + 1e-6).all()
    assert (depth >= exact / 1.13 - 1).all()


def test_the_deepest_pixel_is_where_the_robot_clicks():
    for mask in blobs(5, 20):
        click = Robot(mask).next_click(np.zeros_like(mask))
        assert deepest_pixel(mask) == (click.y, click.x)
    assert deepest_pixel(np.ones((4, 4), bool)) == (1, 1)
    assert deepest_pixel(np.zeros((4, 4), bool)) == (-1, -1)


def test_drawn_pixels_are_uniform_over_the_region():
    region = np.zeros((2, 4, 5), bool)
    region[0, 1:3, 2:4] = True
    u = np.random.default_rng(0).random((2, 8000))

    points = draw_pixels(region, u)

    counts = np.zeros((4, 5))
    np.add.at(counts, tuple(points[0].T), 1)
    assert counts[~region[0]].sum() == 0
    assert np.abs(counts[region[0]] - 2000).max() < 3.5 * (8000 * 0.25 * 0.75) ** 0.5
    assert (points[1] == -1).all()


# -- disks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("point", "pixels"), [((30, 30), 81), ((0, 0), 26), ((-3, 30), 17), ((30, 70), 0)])
def test_a_disk_has_as_many_pixels_as_it_should(point, pixels):
    clicks = ClickBatch(torch.tensor([[point]]).float(), torch.tensor([[1]]))
    maps = disk_maps(clicks, 64, 64)
    inside = sum((y - point[0]) ** 2 + (x - point[1]) ** 2 <= 25 for y in range(64) for x in range(64))
    assert maps[0, 0].sum() == pixels == inside
    assert maps[0, 1].sum() == 0


def test_disk_maps_of_500_clicks_equal_the_brute_force_maps():
    rng = np.random.default_rng(0)
    points = torch.from_numpy(rng.integers(0, 128, (2, 500, 2))).float()
    labels = torch.from_numpy(rng.integers(-1, 2, (2, 500)))
    maps = disk_maps(ClickBatch(points, labels), 128, 128)
    clicks = torch.cat([points, labels[..., None].float()], 2)
    for channel, label in enumerate((POSITIVE, NEGATIVE)):
        brute = torch.cat([disks(clicks[:, i : i + 50], label, 128, 128, 5.0) for i in range(0, 500, 50)], 1)
        assert torch.equal(maps[:, channel], brute.amax(1))


# -- first clicks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("law", [RITM, ClickLaw(), ClickLaw(single_p=0, late_p=1, centre_p=0.5, error_p=0.5)])
def test_positive_clicks_are_never_outside_and_negative_ones_never_inside(law):
    target = target_of(3, 32)
    clicks = initial_clicks(target, generators(32), law, others=torch.from_numpy(blobs(4, 32)))

    assert (under(target, clicks, POSITIVE) == 1).all()
    assert (under(target, clicks, NEGATIVE) == 0).all()
    assert (clicks.labels[:, 0] == POSITIVE).all()
    assert clicks.labels.shape[1] <= 48


def test_numbers_of_clicks_follow_the_law():
    target = torch.zeros(500, 16, 16, dtype=torch.long)
    target[:, 4:12, 4:12] = 1
    law = ClickLaw(max_clicks=6, single_p=0, centre_p=0, error_p=0, late_p=0)
    batches = [initial_clicks(target, generators(500, epoch=e), law) for e in range(4)]
    for label, first, last in ((POSITIVE, 1, 6), (NEGATIVE, 0, 6)):
        counts = torch.cat([(b.labels == label).sum(1) for b in batches])
        weights = np.array([0.8**j for j in range(last - first + 1)])
        for number, p in zip(range(first, last + 1), weights / weights.sum(), strict=True):
            assert abs(int((counts == number).sum()) - 2000 * p) < 3 * (2000 * p * (1 - p)) ** 0.5


def test_negative_clicks_lie_in_their_places():
    target = torch.zeros(200, 40, 40, dtype=torch.long)
    target[:, 10:20, 10:20] = 1
    others = torch.zeros(200, 40, 40, dtype=torch.bool)
    others[:, 30:35, 30:35] = True
    for weights, allowed in (
        ((0, 1, 0), others[0]),
        ((0, 0, 1), torch.from_numpy(dilate(target[:1].numpy() == 1, np.array([1]))[0]) & (target[0] != 1)),
        ((1, 0, 0), target[0] == 0),
    ):
        law = ClickLaw(*(24, 0.8, 0, 0, 0, 0), background=weights[0], other=weights[1], border=weights[2], jitter_px=0)
        clicks = initial_clicks(target, generators(200), law, others=others)
        assert under(allowed[None].expand(200, -1, -1), clicks, NEGATIVE).all()
        assert (clicks.labels == NEGATIVE).any()


def test_other_falls_back_to_the_background_where_there_is_no_other_object():
    target = torch.zeros(50, 20, 20, dtype=torch.long)
    target[:, 5:9, 5:9] = 1
    law = ClickLaw(single_p=0, background=0, other=1, border=0)
    clicks = initial_clicks(target, generators(50), law, others=target == 1)
    assert (clicks.labels == NEGATIVE).sum() > 100


def test_a_single_click_alone_can_be_the_robot_s():
    target = torch.zeros(3, 33, 33, dtype=torch.long)
    target[:, 6:17, 8:19] = 1
    clicks = initial_clicks(target, generators(3), ClickLaw(single_p=1, centre_p=1, jitter_px=0))
    assert clicks.points.tolist() == [[[11, 13]]] * 3
    assert clicks.labels.tolist() == [[1]] * 3


def test_positive_clicks_keep_off_the_outline_where_the_object_is_large_enough():
    target = torch.zeros(100, 112, 112, dtype=torch.long)
    target[:50, 20:60, 20:60] = 1
    target[50:, 20:23, 20:23] = 1
    law = ClickLaw(single_p=0, centre_p=0, error_p=0, erode_p=1, erode_px=12, jitter_px=0)
    clicks = initial_clicks(target, generators(100), law)
    positive = clicks.points[:50][clicks.labels[:50] == POSITIVE]
    assert positive.min() >= 23
    assert positive.max() <= 56
    assert (under(target, clicks, POSITIVE) == 1).all()


def test_each_part_of_a_merged_target_gets_one_of_the_first_clicks():
    parts = torch.zeros(64, 2, 40, 40, dtype=torch.bool)
    parts[:, 0, 2:12, 2:12] = True
    parts[:32, 1, 25:35, 25:35] = True
    target = parts.any(1).long()
    clicks = initial_clicks(target, generators(64), RITM, parts=parts)
    assert (under(parts[:, 0].long(), ClickBatch(clicks.points[:, :1], clicks.labels[:, :1]), POSITIVE) == 1).all()
    second = ClickBatch(clicks.points[:32, 1:2], clicks.labels[:32, 1:2])
    assert (under(parts[:32, 1].long(), second, POSITIVE) == 1).all()
    assert (second.labels == POSITIVE).all()
    assert ((clicks.labels == POSITIVE).sum(1) <= 24).all()


def test_a_target_without_object_has_negative_clicks_only():
    clicks = initial_clicks(torch.zeros(40, 16, 16, dtype=torch.long), generators(40), RITM)
    assert (clicks.labels != POSITIVE).all()
    assert (clicks.labels == NEGATIVE).any()


def test_clicks_depend_on_the_seed_of_the_sample_and_not_on_its_batch():
    target, others = target_of(5, 8), torch.from_numpy(blobs(6, 8))
    logits = torch.randn(8, 64, 64, generator=torch.Generator().manual_seed(0))

    def run(rows: list[int]) -> list[list[float]]:
        rngs = sample_generators(1, 2, rows)
        first = initial_clicks(target[rows], rngs, ClickLaw(), others=others[rows])
        clicks = first.add(next_clicks(logits[rows], target[rows], rngs))
        return [clicks.points[i][clicks.labels[i] != ABSENT].flatten().tolist() for i in range(len(rows))]

    together = run(list(range(8)))
    assert together == [run([i])[0] for i in range(8)]
    assert together == run(list(range(8)))


# -- corrections ----------------------------------------------------------------------------------


def test_a_correction_lies_in_the_deeper_half_of_the_deeper_error():
    target = torch.zeros(1, 40, 40, dtype=torch.long)
    target[0, 5:25, 5:25] = 1
    shown = torch.full((1, 40, 40), -5.0)
    shown[0, 15:25, 5:25] = 5  # the upper half of the object is missed: 10 x 20
    shown[0, 30:36, 30:36] = 5  # and 6 x 6 are wrongly covered
    rngs = generators(1)
    points = torch.cat([next_clicks(shown, target, rngs).points for _ in range(100)])
    labels = {next_clicks(shown, target, rngs).labels.item() for _ in range(10)}

    assert labels == {POSITIVE}
    assert points[..., 0].min() >= 7  # distance > 2.5: rows 7 to 12, columns 7 to 22
    assert points[..., 0].max() <= 12
    assert points[..., 1].min() >= 7
    assert points[..., 1].max() <= 22


def test_a_tie_gives_a_negative_click_and_no_error_gives_none():
    target = torch.zeros(3, 20, 20, dtype=torch.long)
    target[:, 2:7, 2:7] = 1
    shown = torch.full((3, 20, 20), -5.0)
    shown[0, 12:17, 12:17] = 5
    shown[1][target[1] == 1] = 5
    target[2, 2:7, 2:7] = -1  # the only difference is ignored

    clicks = next_clicks(shown, target, generators(3), centre_p=1.0)

    assert clicks.labels[:, 0].tolist() == [NEGATIVE, ABSENT, ABSENT]
    assert clicks.points[:, 0].tolist() == [[14, 14], [-1, -1], [-1, -1]]


def test_of_equally_deep_errors_the_larger_one_is_corrected():
    target = torch.zeros(1, 20, 40, dtype=torch.long)
    target[0, 2:7, 2:30] = 1
    shown = torch.full((1, 20, 40), -5.0)
    shown[0, 12:17, 2:9] = 5
    assert next_clicks(shown, target, generators(1)).labels.item() == POSITIVE


def test_clicks_are_packed_and_scaled_to_view_pixels():
    first = ClickBatch(torch.tensor([[[3.0, 4.0], [-1, -1]], [[1, 1], [2, 2]]]), torch.tensor([[1, -1], [1, 0]]))
    second = ClickBatch(torch.tensor([[[7.0, 8.0]], [[-1, -1]]]), torch.tensor([[0], [-1]]))

    both = first.add(second)

    assert both.labels.tolist() == [[1, 0], [1, 0]]
    assert both.count.tolist() == [2, 2]
    assert both.as_input(112)[0].tolist() == [[13.5, 17.5, 1], [29.5, 33.5, 0]]
    assert second.as_input(112)[1].tolist() == [[-1, -1, -1]]


def test_jitter_moves_clicks_and_never_across_the_outline():
    target = target_of(7, 16)
    clicks = initial_clicks(target, generators(16), RITM)
    moved = jitter(clicks, target, generators(16, seed=9), 2.0)

    assert (under(target, moved, POSITIVE) == 1).all()
    assert (under(target, moved, NEGATIVE) == 0).all()
    distance = (moved.points - clicks.points)[clicks.labels != ABSENT].abs()
    assert distance.max() <= 2
    assert (distance.sum(1) > 0).float().mean() > 0.5


# -- previous masks -------------------------------------------------------------------------------


def square_logits() -> torch.Tensor:
    logits = torch.full((40, 40), -4.0)
    logits[10:30, 10:30] = 4
    return logits


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_mask_is_changed_in_its_way(damage):
    before = square_logits() > 0
    for seed in range(10):
        after = corrupt(square_logits(), np.random.default_rng(seed), 4.0, damage) > 0
        if damage in ("erode", "hole"):
            assert (after & ~before).sum() == 0
            assert after.sum() < before.sum()
        elif damage in ("dilate", "island"):
            assert (before & ~after).sum() == 0
            assert after.sum() > before.sum()
        else:
            assert after.sum() == before.sum()


def test_previous_masks_are_dropped_and_damaged_as_often_as_asked():
    logits = square_logits().expand(400, 1, 40, 40)
    masks, shown = previous_masks(logits, generators(400), PreviousLaw(drop_p=0.3, corrupt_p=0.2))
    changed = (masks != logits).flatten(1).any(1)

    assert abs(int((~shown).sum()) - 120) < 3 * (400 * 0.3 * 0.7) ** 0.5
    assert abs(int(changed.sum()) - 80) < 3 * (400 * 0.2 * 0.8) ** 0.5
    assert masks.shape == logits.shape


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_empty_or_full_previous_mask_survives_any_damage(damage):
    for value in (-3.0, 3.0):
        assert torch.isfinite(corrupt(torch.full((8, 8), value), np.random.default_rng(0), 4.0, damage)).all()

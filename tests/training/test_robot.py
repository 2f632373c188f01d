"""The robot clicks where the published rule clicks: one middle of the largest error at a time."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy import ndimage

from napari_relay.geometry import Box, Click
from relay_training.robot import Robot, intersection_over_union, mask_box


def square(shape: tuple[int, int], box: Box) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[box.slices] = True
    return mask


def blobs(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """A random mask: noise or smooth blobs, sparse or dense, often touching the border."""
    field = rng.normal(size=shape)
    sigma = rng.uniform(0, 6)
    if sigma > 0.5:
        field = ndimage.gaussian_filter(field, sigma)
    return np.asarray(field > np.quantile(field, rng.uniform(0, 1)))


def reference_click(truth: np.ndarray, shown: np.ndarray, ignore: np.ndarray, free: np.ndarray) -> Click | None:
    """The published rule, on the whole picture, with OpenCV's precise distance transform."""

    def distance(errors: np.ndarray) -> np.ndarray:
        padded = np.pad(errors, 1).astype(np.uint8)
        return np.asarray(cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE))[1:-1, 1:-1] * free

    missed, extra = distance(truth & ~shown & ~ignore), distance(~truth & shown & ~ignore)
    positive = bool(missed.max() > extra.max())
    chosen = missed if positive else extra
    if chosen.max() == 0:
        return None
    y, x = np.argwhere(chosen == chosen.max())[0].tolist()
    free[y, x] = False
    return Click(y, x, positive)


@pytest.fixture
def plain_opencv():
    """OpenCV without the vendor's library, whose square roots are off by an ulp and so break ties differently."""
    before = cv2.ipp.useIPP()
    cv2.ipp.setUseIPP(False)
    yield
    cv2.ipp.setUseIPP(before)


def test_clicks_equal_those_of_opencv_on_a_thousand_random_masks(plain_opencv):
    rng = np.random.default_rng(6)
    touching = 0

    for _ in range(1000):
        height, width = rng.integers(1, 70, 2).tolist()
        truth, ignore = blobs(rng, (height, width)), blobs(rng, (height, width)) & (rng.random() < 0.3)
        truth &= ~ignore
        touching += bool(truth[0].any() or truth[-1].any() or truth[:, 0].any() or truth[:, -1].any())
        robot, free = Robot(truth, ignore), np.ones((height, width), bool)

        for _ in range(3):
            shown = blobs(rng, (height, width))
            assert robot.next_click(shown) == reference_click(truth, shown, ignore, free)

    assert touching > 500


@pytest.mark.parametrize("side", [1, 3, 7, 51])
def test_first_click_on_a_square_of_odd_side_is_its_centre(side):
    truth = square((80, 90), Box(10, 20, 10 + side, 20 + side))

    click = Robot(truth).next_click(np.zeros_like(truth))

    assert click == Click(10 + side // 2, 20 + side // 2, True)


def test_object_that_touches_the_border_is_clicked_away_from_it():
    truth = square((60, 60), Box(0, 0, 21, 21))

    assert Robot(truth).next_click(np.zeros_like(truth)) == Click(10, 10, True)


def test_object_that_fills_the_picture_is_clicked_in_the_middle():
    truth = np.ones((11, 11), bool)

    assert Robot(truth).next_click(~truth) == Click(5, 5, True)


def test_tie_between_missed_and_extra_gives_a_negative_click():
    truth, shown = square((40, 40), Box(5, 5, 12, 12)), square((40, 40), Box(20, 20, 27, 27))

    assert Robot(truth).next_click(shown) == Click(23, 23, False)


def test_first_of_equally_deep_pixels_in_row_major_order_is_clicked():
    truth = square((40, 40), Box(20, 5, 25, 10)) | square((40, 40), Box(3, 30, 8, 35))

    assert Robot(truth).next_click(np.zeros_like(truth)) == Click(5, 32, True)


def test_larger_error_is_corrected_first():
    truth, shown = square((40, 40), Box(5, 5, 25, 25)), square((40, 40), Box(5, 5, 25, 35))
    shown[10:13, 10:13] = False

    assert Robot(truth).next_click(shown) == Click(9, 29, False)


def test_nothing_is_clicked_where_the_prediction_is_perfect():
    truth = square((40, 40), Box(5, 5, 25, 25))

    assert Robot(truth).next_click(truth.copy()) is None


def test_nothing_is_clicked_where_only_ignored_pixels_differ():
    truth, ignore = square((40, 40), Box(5, 5, 25, 25)), square((40, 40), Box(5, 25, 25, 30))

    assert Robot(truth, ignore).next_click(truth | ignore) is None


def test_neither_an_ignored_pixel_nor_a_pixel_twice_is_clicked():
    rng = np.random.default_rng(1)
    truth, ignore = blobs(rng, (40, 50)), rng.random((40, 50)) < 0.3
    robot = Robot(truth, ignore)

    clicks = [robot.next_click(blobs(rng, (40, 50))) for _ in range(200)]

    places = [(int(click.y), int(click.x)) for click in clicks if click is not None]
    assert len(places) > 150
    assert len(set(places)) == len(places)
    assert not any(ignore[place] for place in places)


def test_robot_ends_when_every_error_pixel_was_clicked():
    truth = square((10, 10), Box(3, 3, 4, 5))
    robot, nothing = Robot(truth), np.zeros_like(truth)

    assert [robot.next_click(nothing) for _ in range(3)] == [Click(3, 3, True), Click(3, 4, True), None]


def test_same_masks_give_the_same_clicks():
    masks = [blobs(np.random.default_rng(seed), (60, 60)) for seed in range(8)]
    first, second = Robot(masks[0]), Robot(masks[0])

    assert [first.next_click(m) for m in masks] == [second.next_click(m) for m in masks]


def test_iou_counts_no_ignored_pixel():
    truth, shown = square((10, 10), Box(0, 0, 4, 4)), square((10, 10), Box(0, 0, 4, 8))

    assert intersection_over_union(shown, truth, np.zeros_like(truth)) == 0.5
    assert intersection_over_union(shown, truth, square((10, 10), Box(0, 6, 10, 10))) == 16 / 24


def test_iou_of_two_empty_masks_is_one():
    nothing = np.zeros((5, 5), bool)

    assert intersection_over_union(nothing, nothing, nothing) == 1.0
    assert intersection_over_union(nothing, square((5, 5), Box(1, 1, 2, 2)), nothing) == 0.0


def test_mask_box_is_the_smallest_one():
    assert mask_box(np.zeros((4, 5), bool)).empty
    assert mask_box(square((9, 9), Box(2, 3, 7, 5))) == Box(2, 3, 7, 5)

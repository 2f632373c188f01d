"""Clicks needed, failures and mean IoU, against values counted by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_training.metrics import ObjectRun, boundary_iou, boundary_width, clicks_to_reach, iou_after, summarise


def run(ious: list[float], ms: list[float] | None = None, encodings: list[int] | None = None) -> ObjectRun:
    count = len(ious)
    times = tuple(ms or [1.0] * count)
    return ObjectRun("p", 1, tuple(ious), times, tuple(t / 2 for t in times), tuple(encodings or [0] * count))


def test_noc_is_the_first_click_that_reaches_the_target():
    ious = [0.5, 0.8, 0.9, 0.95]

    assert [clicks_to_reach(ious, target) for target in (0.8, 0.85, 0.9, 0.95)] == [2, 3, 3, 4]


def test_an_object_that_never_reaches_the_target_counts_twenty():
    assert clicks_to_reach([0.5] * 20, 0.8) == 20
    assert clicks_to_reach([0.5, 0.7], 0.8) == 20


def test_iou_that_fell_again_still_counts_as_reached():
    assert clicks_to_reach([0.5, 0.9, 0.6], 0.85) == 2


def test_an_object_that_stopped_keeps_its_last_iou():
    assert [iou_after([0.6, 0.96], n) for n in (1, 2, 3, 20)] == [0.6, 0.96, 0.96, 0.96]


def test_set_is_summarised_as_counted_by_hand():
    never = [0.5] * 20
    late = [0.5] * 19 + [0.86]
    fast = [0.9, 0.96]

    metrics = summarise([run(never), run(late), run(fast)])

    assert metrics.objects == 3
    assert metrics.noc == {80: (20 + 20 + 1) / 3, 85: (20 + 20 + 1) / 3, 90: (20 + 20 + 1) / 3, 95: (20 + 20 + 2) / 3}
    assert metrics.nof == {80: 1, 85: 1, 90: 2, 95: 2}
    assert metrics.ge20 == {80: 2, 85: 2, 90: 2, 95: 2}
    assert metrics.miou == pytest.approx({1: (0.5 + 0.5 + 0.9) / 3, 3: (1.0 + 0.96) / 3, 5: (1.0 + 0.96) / 3})
    assert metrics.auc == pytest.approx((20 * 0.5 + 19 * 0.5 + 0.86 + 0.9 + 19 * 0.96) / 60)


def test_cold_and_warm_clicks_are_timed_apart():
    cold = run([0.5, 0.6, 0.96], ms=[300.0, 40.0, 200.0], encodings=[1, 0, 1])
    warm = run([0.5, 0.96], ms=[30.0, 50.0], encodings=[0, 0])

    metrics = summarise([cold, warm])

    assert (metrics.first_ms, metrics.first_warm_ms) == (300.0, 30.0)
    assert (metrics.further_ms, metrics.cached_ms) == (50.0, 45.0)
    assert (metrics.first_cpu_ms, metrics.cached_cpu_ms) == (150.0, 22.5)
    assert metrics.encodings == 1.0


def test_objects_done_at_the_first_click_have_no_further_time():
    metrics = summarise([run([0.97], ms=[12.0])])

    assert (metrics.first_ms, metrics.first_warm_ms, metrics.further_ms) == (12.0, None, None)
    assert metrics.to_json()["further_ms"] is None


def test_falls_of_the_iou_are_counted():
    metrics = summarise([run([0.5, 0.4, 0.6, 0.3]), run([0.5, 0.96])])

    assert metrics.falls == 1.0
    assert metrics.fall == pytest.approx(0.2)


def test_run_survives_its_json_form():
    original = ObjectRun("p", 3, (0.123456789, 0.95), (3.2, 4.0), (3.1, 2.0), (1, 0), ((3, 4, True), (5, 6, False)))

    assert ObjectRun.from_json(original.to_json()) == original


# Boundary IoU ----------------------------------------------------------------------------------------------------


def published_band(mask: np.ndarray, width: int) -> np.ndarray:
    """The authors' code (`mask_to_boundary` of boundary-iou-api), with the width given."""
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=width)
    return (mask.astype(np.uint8) - eroded[1:-1, 1:-1]).astype(bool)


@given(st.integers(0, 2**31), st.integers(1, 9), st.floats(0.2, 0.95))
def test_boundary_iou_is_that_of_the_authors_code(seed, width, share):
    rng = np.random.default_rng(seed)
    masks = [cv2.blur(rng.random((40, 53)), (5, 5)) < share * 0.6 + 0.1 for _ in range(2)]

    bands = [published_band(mask, width) for mask in masks]

    union = (bands[0] | bands[1]).sum()
    assert boundary_iou(*masks, width) == pytest.approx((bands[0] & bands[1]).sum() / union if union else 1.0)


def test_boundary_iou_sees_an_outline_that_iou_does_not():
    truth = np.zeros((300, 300), bool)
    truth[50:250, 50:250] = True
    grown = np.zeros_like(truth)
    grown[47:253, 47:253] = True

    assert (truth & grown).sum() / (truth | grown).sum() > 0.94
    # Bands of 3 px that lie side by side, and of 6 px of which the inner half of one is the outer half of the other.
    assert boundary_iou(truth, grown, 3) == 0
    assert boundary_iou(truth, grown, 6) == pytest.approx((200**2 - 194**2) / (206**2 - 188**2))
    assert boundary_iou(truth, truth, 3) == 1
    assert boundary_iou(truth, np.zeros_like(truth), 3) == 0
    assert boundary_iou(np.zeros_like(truth), np.zeros_like(truth), 3) == 1


def test_ignored_pixels_do_not_count_in_boundary_iou():
    truth, wrong, ignore = (np.zeros((40, 40), bool) for _ in range(3))
    truth[10:30, 10:30] = True
    wrong[10:30, 5:30] = True
    ignore[:, :13] = True

    assert boundary_iou(truth, wrong, 2, ignore) == 1
    assert boundary_width((600, 800)) == 20
    assert boundary_width((10, 10)) == 1

"""Outlines and runs hold exactly the pixels that they were made of, in whatever arrangement."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask
from scipy import ndimage

from napari_relay.formats import run_lengths, runs
from napari_relay.formats.outlines import Polygon, TooComplexError, fill, fill_all, trace, trace_all
from napari_relay.geometry import Box

CHECKERBOARD = np.indices((6, 7)).sum(0) % 2 == 0
PINCHED = np.array([[1, 1, 1, 0], [1, 0, 1, 0], [1, 1, 0, 1], [0, 0, 1, 1]], bool)  # a hole that touches the outside
masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9))
places = st.tuples(st.integers(0, 40), st.integers(0, 40))


def area(ring: np.ndarray) -> float:
    following = np.roll(ring, -1, axis=0)
    return float((ring[:, 1] * following[:, 0] - following[:, 1] * ring[:, 0]).sum()) / 2


@given(masks, places)
@example(CHECKERBOARD, (0, 0))
@example(PINCHED, (3, 0))
def test_runs_hold_the_mask(mask, place):
    found = runs.from_mask(mask, *place)
    box = Box(*place, place[0] + mask.shape[0], place[1] + mask.shape[1])
    np.testing.assert_array_equal(runs.to_mask(found, box), mask)
    assert runs.area_of(found) == mask.sum()
    np.testing.assert_array_equal(runs.merge(found[::-1]), found)


@given(masks, places)
@example(CHECKERBOARD, (0, 0))
@example(PINCHED, (3, 0))
def test_filling_the_outlines_gives_the_runs_again(mask, place):
    found = runs.from_mask(mask, *place)
    np.testing.assert_array_equal(fill(trace(found), Box(0, 0, 60, 60)), found)


@given(masks)
@example(CHECKERBOARD)
@example(PINCHED)
def test_there_is_an_outline_a_part_and_every_ring_is_simple_and_turned_the_right_way(mask):
    polygons = trace(runs.from_mask(mask))

    assert len(polygons) == ndimage.label(mask)[1]
    assert sum(area(part.shell) + sum(map(area, part.holes)) for part in polygons) == mask.sum()
    for part in polygons:
        for ring in (part.shell, *part.holes):
            assert len({tuple(corner) for corner in ring.tolist()}) == len(ring)
            steps = np.abs(np.roll(ring, -1, axis=0) - ring)
            assert ((steps > 0).sum(axis=1) == 1).all()  # along one axis at a time
        assert area(part.shell) > 0
        assert all(area(hole) < 0 for hole in part.holes)


@given(masks)
@example(PINCHED)
def test_each_hole_stands_with_the_part_that_it_is_in(mask):
    for part in trace(runs.from_mask(mask)):
        alone = runs.to_mask(fill([part], Box(0, 0, 60, 60)), Box(0, 0, 60, 60))
        assert ndimage.label(alone)[1] == 1
        assert alone.sum() == area(part.shell) + sum(map(area, part.holes))


@given(st.lists(masks, max_size=5))
def test_many_at_once_are_as_one_by_one(many):
    found = [runs.from_mask(mask, 2 * index, index) for index, mask in enumerate(many)]
    together = trace_all(found)
    for alone, polygons in zip(map(trace, found), together, strict=True):
        assert [part.shell.tolist() for part in alone] == [part.shell.tolist() for part in polygons]
        assert [len(part.holes) for part in alone] == [len(part.holes) for part in polygons]
    for expected, filled in zip(found, fill_all(together, Box(0, 0, 60, 60)), strict=True):
        np.testing.assert_array_equal(filled, expected)


@given(masks, st.tuples(st.integers(0, 5), st.integers(0, 5)))
def test_run_lengths_are_those_of_pycocotools(mask, margin):
    shape = (mask.shape[0] + 4, mask.shape[1] + 7)
    whole = np.zeros(shape, np.uint8, order="F")
    whole[margin[0] % 5 : margin[0] % 5 + mask.shape[0], margin[1] : margin[1] + mask.shape[1]] = mask
    found = runs.from_mask(whole.astype(bool))

    counts = run_lengths.column_counts(found, shape)
    packed = coco_mask.frPyObjects({"counts": counts, "size": list(shape)}, *shape)

    assert packed["counts"] == coco_mask.encode(whole)["counts"]
    np.testing.assert_array_equal(run_lengths.from_column_counts(counts, shape), found)


@given(masks)
def test_large_objects_are_turned_by_their_outline(mask):
    found = runs.from_mask(mask, 3, 1)
    small, run_lengths._MASK_PIXELS = run_lengths._MASK_PIXELS, 0
    try:
        turned = run_lengths.transposed(found)
    finally:
        run_lengths._MASK_PIXELS = small
    np.testing.assert_array_equal(turned, run_lengths.transposed(found))


@given(masks)
@example(CHECKERBOARD)
def test_polygons_are_filled_by_pycocotools_without_a_pixels_difference(mask):
    polygons = trace(runs.from_mask(mask))
    if any(part.holes for part in polygons) or not polygons:
        return
    rings = [part.shell[:, ::-1].ravel().tolist() for part in polygons]
    packed = coco_mask.merge(coco_mask.frPyObjects(rings, *mask.shape))
    np.testing.assert_array_equal(coco_mask.decode(packed), mask)


def test_slanted_outlines_take_the_pixels_whose_centre_is_inside():
    y, x = np.ogrid[:40, :40]
    triangle = np.array([[2.0, 3.0], [2.0, 35.0], [37.0, 3.0]])
    inside = (y + 0.5 >= 2) & (x + 0.5 >= 3) & ((y + 0.5 - 2) / 35 + (x + 0.5 - 3) / 32 < 1)
    found = runs.to_mask(fill([Polygon(triangle)], Box(0, 0, 40, 40)), Box(0, 0, 40, 40))
    np.testing.assert_array_equal(found, inside)


def test_what_lies_outside_is_cut_off_and_not_filled_first():
    huge = Polygon(np.array([[-1e9, -1e9], [-1e9, 1e9], [1e9, 1e9], [1e9, -1e9]]))
    np.testing.assert_array_equal(fill([huge], Box(5, 6, 7, 9)), [[5, 6, 9], [6, 6, 9]])


def test_outlines_without_end_are_refused():
    zigzag = np.stack([np.tile([0.0, 1e5], 3000), np.arange(6000.0)], axis=1)
    with pytest.raises(TooComplexError):
        fill([Polygon(zigzag)], Box(0, 0, 100_000, 100_000))


def test_bands_give_what_one_piece_gives(monkeypatch):
    y, x = np.ogrid[:200, :200]
    mask = np.hypot(y - 99, x - 80) % 30 < 20
    found = runs.from_mask(mask)
    monkeypatch.setattr("napari_relay.formats.outlines._BAND", 50)
    np.testing.assert_array_equal(fill(trace(found), Box(0, 0, 200, 200)), found)


def test_iou():
    first, second = runs.from_mask(np.ones((4, 4), bool)), runs.from_mask(np.ones((4, 4), bool), 2, 0)
    assert runs.iou(first, second) == 8 / 24
    assert runs.iou(first, first) == 1
    assert runs.iou(runs.EMPTY, runs.EMPTY) == 1

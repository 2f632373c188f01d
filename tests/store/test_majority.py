"""The rule of the label pyramid, against a slow and plain version of it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_relay.geometry import Box
from napari_relay.store.majority import Blocks, majority_of_parts


def plain_level(labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Every level pixel by counting, straight from the words of the rule."""
    of_row = [(2 * j + 1) * shape[0] // (2 * labels.shape[0]) for j in range(labels.shape[0])]
    of_column = [(2 * j + 1) * shape[1] // (2 * labels.shape[1]) for j in range(labels.shape[1])]
    counts = [[Counter() for _ in range(shape[1])] for _ in range(shape[0])]
    for y, row in enumerate(of_row):
        for x, column in enumerate(of_column):
            if labels[y, x]:
                counts[row][column][int(labels[y, x])] += 1
    level = np.zeros(shape, np.uint32)
    for row in range(shape[0]):
        for column in range(shape[1]):
            level[row, column] = max(
                counts[row][column], key=lambda label, c=counts[row][column]: (c[label], label), default=0
            )
    return level


shapes = st.integers(1, 40).flatmap(lambda full: st.tuples(st.just(full), st.integers(1, full)))


@settings(max_examples=150, deadline=None)
@given(shapes, shapes, st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 5, 2**32 - 1]))
def test_reduce_follows_the_rule_for_any_two_shapes(rows, columns, seed, highest):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, highest, (rows[0], columns[0]), dtype=np.uint32, endpoint=True)
    labels[rng.random(labels.shape) < rng.random()] = 0
    blocks = Blocks(labels.shape, (rows[1], columns[1]))
    whole = Box(0, 0, rows[1], columns[1])

    level = blocks.reduce(labels[blocks.source_box(whole).slices], whole)

    assert blocks.source_box(whole) == Box(0, 0, *labels.shape)
    np.testing.assert_array_equal(level, plain_level(labels, (rows[1], columns[1])))


@settings(max_examples=150, deadline=None)
@given(shapes, shapes, st.data())
def test_a_box_of_level_pixels_covers_the_box_it_comes_from(rows, columns, data):
    blocks = Blocks((rows[0], columns[0]), (rows[1], columns[1]))
    y0, x0 = data.draw(st.integers(0, rows[0] - 1)), data.draw(st.integers(0, columns[0] - 1))
    y1, x1 = data.draw(st.integers(y0 + 1, rows[0])), data.draw(st.integers(x0 + 1, columns[0]))
    box = Box(y0, x0, y1, x1)

    level_box = blocks.level_box(box)

    assert Box(0, 0, rows[1], columns[1]).covers(level_box)
    assert blocks.source_box(level_box).covers(box)
    for inner in (Box(1, 0, 0, 0), Box(0, 1, 0, 0), Box(0, 0, -1, 0), Box(0, 0, 0, -1)):  # no pixel too many
        smaller = Box(*(a + b for a, b in zip(
            (level_box.y0, level_box.x0, level_box.y1, level_box.x1),
            (inner.y0, inner.x0, inner.y1, inner.x1), strict=True)))  # fmt: skip
        assert smaller.empty or not blocks.source_box(smaller).covers(box)


def test_ties_go_to_the_higher_id():
    labels = np.array([[3, 3, 9, 9], [0, 0, 0, 0]], np.uint32)
    assert Blocks((2, 4), (1, 1)).reduce(labels, Box(0, 0, 1, 1))[0, 0] == 9


def test_one_labelled_pixel_beats_any_background():
    labels = np.zeros((64, 64), np.uint32)
    labels[40, 3] = 5
    assert Blocks((64, 64), (1, 1)).reduce(labels, Box(0, 0, 1, 1))[0, 0] == 5


@pytest.mark.parametrize("parts", [1, 3, 7])
def test_a_block_counted_in_parts_gives_the_same(parts, rng):
    labels = rng.integers(0, 4, (50, 42), dtype=np.uint32)
    whole = Blocks(labels.shape, (1, 1)).reduce(labels, Box(0, 0, 1, 1))[0, 0]
    assert majority_of_parts(np.array_split(labels, parts)) == whole


def test_a_block_without_parts_is_background():
    assert majority_of_parts([]) == 0

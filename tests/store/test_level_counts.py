"""All levels from one read of level 0 are what the rule gives for each alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_relay.geometry import Box
from napari_relay.store.level_counts import reduce_levels
from napari_relay.store.majority import Blocks


def levels_by_pieces(labels: np.ndarray, levels: list[Blocks], side: int) -> list[np.ndarray]:
    """Every level, put together from pieces of level 0; no pixel of a level may come twice or not at all."""
    found = [np.zeros(blocks.shape, np.uint32) for blocks in levels]
    times = [np.zeros(blocks.shape, int) for blocks in levels]
    for row, column in Box(0, 0, *labels.shape).tiles(side):
        piece = Box(row * side, column * side, (row + 1) * side, (column + 1) * side).clip(labels.shape)
        for index, box, pixels in reduce_levels(levels, piece, lambda source: labels[source.slices]):
            found[index][box.slices] = pixels
            times[index][box.slices] += 1
    assert all((count == 1).all() for count in times)
    return found


sides = st.integers(1, 60)


@settings(max_examples=200, deadline=None)
@given(sides, sides, st.data(), st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 9, 2**32 - 1]), st.integers(3, 70))
def test_each_level_equals_the_level_computed_from_level_0(height, width, data, seed, highest, side):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, highest, (-(-height // 3), -(-width // 3)), dtype=np.uint32, endpoint=True)
    labels = coarse.repeat(3, 0).repeat(3, 1)[:height, :width].copy()
    noisy = rng.random(labels.shape) < rng.random()
    labels[noisy] = rng.integers(0, highest, noisy.sum(), dtype=np.uint32, endpoint=True)
    labels[rng.random(labels.shape) < rng.random()] = 0
    shapes = []
    for _ in range(data.draw(st.integers(1, 4))):
        last = shapes[-1] if shapes else labels.shape
        shapes.append((data.draw(st.integers(1, last[0])), data.draw(st.integers(1, last[1]))))
    levels = [Blocks(labels.shape, shape) for shape in shapes]

    found = levels_by_pieces(labels, levels, side)

    for blocks, pixels in zip(levels, found, strict=True):
        np.testing.assert_array_equal(pixels, blocks.reduce(labels, Box(0, 0, *blocks.shape)))


@pytest.mark.parametrize("shape", [(256, 256), (255, 257), (313, 100)])
def test_halved_levels_whose_blocks_do_not_lie_inside_each_other(shape):
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 6, shape, dtype=np.uint32).repeat(1, 0)
    labels[40:120, 30:90] = 7
    shapes = [shape]
    while max(shapes[-1]) > 1:
        shapes.append(((shapes[-1][0] + 1) // 2, (shapes[-1][1] + 1) // 2))
    levels = [Blocks(shape, smaller) for smaller in shapes[1:]]

    found = levels_by_pieces(labels, levels, 64)

    for blocks, pixels in zip(levels, found, strict=True):
        np.testing.assert_array_equal(pixels, blocks.reduce(labels, Box(0, 0, *blocks.shape)))


def test_a_piece_reads_level_0_once_and_little_beyond_its_border():
    reads: list[Box] = []
    levels = [Blocks((3000, 3000), (3000 >> k, 3000 >> k)) for k in range(1, 6)]

    def read(box: Box) -> np.ndarray:
        reads.append(box)
        return np.zeros(box.shape, np.uint32)

    list(reduce_levels(levels, Box(1024, 1024, 2048, 2048), read))

    (box,) = reads
    assert Box(1024 - 32, 1024 - 32, 2048 + 33, 2048 + 33).covers(box)

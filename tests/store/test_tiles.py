"""Mask tiles: any mask comes back as it was, damage is noticed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_relay.errors import EmptyProposalError, ProjectDamagedError, UsageError
from napari_relay.geometry import Box
from napari_relay.store.schema import TILE
from napari_relay.store.tiles import MaskTile, assemble, checked_mask, pack, split, tight_box, unpack


@st.composite
def masks(draw):
    """A box anywhere and a mask in it, of every awkward kind."""
    height, width = draw(st.integers(1, 1200)), draw(st.integers(1, 1200))
    near_grid = st.integers(0, 4).flatmap(lambda n: st.integers(-2, 2).map(lambda d: max(0, n * TILE + d)))
    y, x = draw(near_grid), draw(near_grid)
    kind = draw(st.sampled_from(["full", "one pixel", "checkerboard", "frame", "noise", "sparse"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    mask = np.zeros((height, width), bool)
    if kind == "full":
        mask[:] = True
    elif kind == "one pixel":
        mask[rng.integers(height), rng.integers(width)] = True
    elif kind == "checkerboard":
        mask[:] = np.add.outer(np.arange(height), np.arange(width)) % 2 == 0
    elif kind == "frame":
        mask[[0, -1]] = True
        mask[:, [0, -1]] = True
    else:
        mask[:] = rng.random(mask.shape) < (0.5 if kind == "noise" else 1e-4)
    return Box(y, x, y + height, x + width), mask


@settings(max_examples=60, deadline=None)
@given(masks())
def test_a_mask_cut_into_tiles_comes_back_as_it_was(given_mask):
    box, mask = given_mask
    tiles = list(split(box, mask))

    np.testing.assert_array_equal(assemble(tiles, box), mask)
    wider = box.grow(700)
    padded = np.pad(mask, 700)
    np.testing.assert_array_equal(assemble(tiles, wider), padded)
    assert len({(tile.row, tile.column) for tile in tiles}) == len(tiles)
    assert all(unpack(tile.bits).any() for tile in tiles)
    assert all(unpack(tile.bits).all() == (tile.bits is None) for tile in tiles)


@settings(max_examples=60, deadline=None)
@given(masks())
def test_the_tight_box_holds_every_pixel_and_touches_them_on_each_side(given_mask):
    box, mask = given_mask
    tight = tight_box(box, mask)
    inside = mask[tight.relative_to(box).slices] if not tight.empty else np.zeros((0, 0), bool)
    assert inside.sum() == mask.sum()
    if not tight.empty:
        assert all(side.any() for side in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))


def test_a_full_tile_stores_nothing_but_the_flag():
    (tile,) = split(Box(512, 0, 1024, 512), np.ones((512, 512), bool))
    assert tile == MaskTile(1, 0, None)


def test_packed_bits_are_rows_with_the_leftmost_pixel_in_the_highest_bit():
    import zstandard

    pixels = np.zeros((TILE, TILE), bool)
    pixels[1, 0] = pixels[1, 9] = True
    raw = zstandard.decompress(pack(pixels))
    assert len(raw) == TILE * TILE // 8
    assert raw[64:66] == bytes([0b10000000, 0b01000000])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_damaged_bits_are_reported_with_their_place(seed):
    rng = np.random.default_rng(seed)
    bits = bytearray(pack(rng.random((TILE, TILE)) < 0.5))
    at = int(rng.integers(4, len(bits)))
    bits[at] ^= 1 << int(rng.integers(8))
    with pytest.raises(ProjectDamagedError, match=r"object 7, tile \(1, 2\)"):
        unpack(bytes(bits), "object 7, tile (1, 2)")


@pytest.mark.parametrize("bits", [b"", b"nonsense", pack(np.ones((TILE, TILE), bool))[:-1]])
def test_bits_that_are_no_tile_are_reported(bits):
    with pytest.raises(ProjectDamagedError):
        unpack(bits)


def test_a_frame_of_another_size_is_reported():
    import zstandard

    for size in (10, TILE * TILE // 8 + 1, 50_000_000):
        with pytest.raises(ProjectDamagedError):
            unpack(zstandard.compress(bytes(size)))


@pytest.mark.parametrize(
    ("box", "mask", "error"),
    [
        (Box(0, 0, 4, 4), np.zeros((4, 4), bool), EmptyProposalError),
        (Box(0, 0, 0, 0), np.zeros((0, 0), bool), EmptyProposalError),
        (Box(0, 0, 4, 4), np.ones((4, 5), bool), UsageError),
        (Box(0, 0, 4, 4), np.ones((4, 4), np.uint8), UsageError),
        (Box(-1, 0, 3, 4), np.ones((4, 4), bool), UsageError),
        (Box(98, 98, 102, 102), np.ones((4, 4), bool), UsageError),
    ],
)
def test_masks_that_cannot_be_kept_are_refused(box, mask, error):
    with pytest.raises(error):
        checked_mask(box, mask, (100, 100))


def test_empty_pixels_may_hang_over_the_border():
    mask = np.zeros((10, 10), bool)
    mask[5:, 5:] = True
    box, tight = checked_mask(Box(-5, -5, 5, 5), mask, (100, 100))
    assert box == Box(0, 0, 5, 5)
    assert tight.all()


@given(st.integers(0, 511), st.integers(0, 511), st.integers(1, 512), st.integers(1, 512), st.integers(0, 9))
def test_a_part_of_a_tile_is_that_part_of_the_whole(y0: int, x0: int, height: int, width: int, seed: int) -> None:
    part = Box(y0, x0, min(512, y0 + height), min(512, x0 + width))
    pixels = np.random.default_rng(seed).random((512, 512)) < 0.5

    np.testing.assert_array_equal(unpack(pack(pixels), "", part), pixels[part.slices])
    assert unpack(None, "", part).shape == part.shape

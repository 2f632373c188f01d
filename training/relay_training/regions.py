"""Regions of pixels, a batch at a time: grown, shrunk, their depth, pixels drawn from them.

Masks are bool arrays [B, H, W]. Inside, the pixels of a row are the bits of 64-bit words, so that one
operation of numpy moves, joins or cuts 64 pixels of every sample (measured in
`benchmarks/click_simulation.py`). Randomness comes in as uniform numbers, one row a sample: a sample's
clicks do not depend on who shares its batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Generators = Sequence[np.random.Generator]
"""One generator a sample."""
Masks = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]
Uniforms = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]

_ONE, _LAST = np.uint64(1), np.uint64(63)


def sample_generators(seed: int, epoch: int, indices: Sequence[int]) -> list[np.random.Generator]:
    """Generators that depend on (seed, epoch, index) only, whichever process or batch a sample lands in."""
    return [np.random.default_rng((seed, epoch, int(index))) for index in indices]


def uniforms(rngs: Generators, count: int) -> Uniforms:
    """Numbers in [0, 1), [B, count]; row b is drawn from generator b."""
    return np.stack([rng.random(count) for rng in rngs])


def areas(masks: Masks) -> Numbers:
    """Pixels of each mask, int64 [B]."""
    counted: Numbers = np.count_nonzero(masks.reshape(len(masks), -1), axis=1)
    return counted


def dilate(masks: Masks, radius: Numbers) -> Masks:
    """Dilation by a square of side 2 r + 1, `radius` [B] of its own for each sample (= r times 3 x 3)."""
    words, width = _pack(masks), masks.shape[2]
    for step in range(1, int(radius.max(initial=0)) + 1):
        go_on = radius >= step
        words[go_on] = _step(words[go_on], np.bitwise_or, square=True)
    return _unpack(words, width)


def erode(masks: Masks, radius: Numbers) -> Masks:
    """Erosion by a square of side 2 r + 1, `radius` [B]; the frame does not erode (as OpenCV's `erode`)."""
    return ~dilate(~masks, radius)


def deep_half(masks: Masks) -> tuple[Numbers, Masks]:
    """Depth of each mask and its pixels that lie deeper than half of it.

    Depth counts erosions, crosses and squares in turn, the frame counting as outside: distance in an
    octagonal metric, at most an eighth below the Euclidean one.

    Returns
    -------
    tuple
        int64 [B], 0 for an empty mask; bool [B, H, W].
    """
    words, width = _pack(masks), masks.shape[2]
    depth: Numbers = np.asarray(words.any((1, 2))).astype(np.int64)
    core = words.copy()
    alive, levels = np.flatnonzero(depth), [words]
    while alive.size:
        level = np.zeros_like(words)
        level[alive] = _step(levels[-1][alive], np.bitwise_and, square=len(levels) % 2 == 0)
        levels.append(level)
        survives = level[alive].any((1, 2))
        depth[alive] = np.where(survives, len(levels), len(levels) - 1)
        # levels[k] holds what is deeper than k; a mask that ended now is deeper than half of its depth there.
        ended = alive[~survives]
        core[ended] = levels[(len(levels) - 1) // 2][ended]
        alive = alive[survives]
    return depth, _unpack(core, width)


def deepest_pixel(mask: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Pixel (y, x) of one mask [H, W] with the largest Euclidean distance to the outside, the frame
    counting as outside.

    The first in row-major order of equals: where the robot clicks. (-1, -1) for an empty mask.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if rows.size == 0:
        return -1, -1
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    # Nothing outside the box is True, so one ring of False bounds every distance as the whole frame would.
    distance = ndimage.distance_transform_edt(np.pad(mask[box], 1))[1:-1, 1:-1].astype(np.float32)
    y, x = divmod(int(distance.argmax()), distance.shape[1])
    return int(rows[0]) + y, int(columns[0]) + x


def draw_pixels(regions: Masks, u: Uniforms, wanted: npt.NDArray[np.bool_] | None = None) -> Numbers:
    """Pixels drawn uniformly from each sample's region, with replacement.

    Parameters
    ----------
    regions : bool [B, H, W].
    u : float64 [B, n] in [0, 1).
    wanted : bool [B, n], optional
        Which are needed; samples without any are not looked at.

    Returns
    -------
    int64 [B, n, 2]
        (y, x); (-1, -1) where the region is empty or the pixel is not wanted.
    """
    flat = np.full(u.shape, -1, np.int64)
    wanted = np.ones(u.shape, bool) if wanted is None else wanted
    rows = regions.reshape(len(regions), -1)
    for row in np.flatnonzero(wanted.any(1)).tolist():
        places = rows[row].nonzero()[0]
        if places.size:
            flat[row] = places[(u[row] * places.size).astype(np.int64)]
    flat[~wanted] = -1
    y, x = np.divmod(flat, regions.shape[2])
    return np.where(flat[..., None] < 0, -1, np.stack([y, x], axis=-1))


def _step(words: Words, op: np.ufunc, *, square: bool) -> Words:
    """Each pixel joined by `op` (or, and) with its four or, `square`, eight neighbours; outside everything
    is 0.
    """
    left, right = words << _ONE, words >> _ONE
    left[..., 1:] |= words[..., :-1] >> _LAST
    right[..., :-1] |= words[..., 1:] << _LAST
    across = op(op(words, left), right)
    column = across if square else words
    out: Words = across.copy()
    op(out[:, 1:], column[:, :-1], out=out[:, 1:])
    op(out[:, :-1], column[:, 1:], out=out[:, :-1])
    if op is np.bitwise_and:
        out[:, 0] = out[:, -1] = 0
    return out


def _pack(masks: Masks) -> Words:
    """[B, H, W] -> words [B, H, ceil(W / 64)], the first pixel in the lowest bit; bits past the row are 0."""
    missing = -masks.shape[2] % 64
    padded = np.pad(masks, ((0, 0), (0, 0), (0, missing))) if missing else masks
    return np.packbits(padded, axis=2, bitorder="little").view("<u8").astype(np.uint64)


def _unpack(words: Words, width: int) -> Masks:
    octets = np.ascontiguousarray(words.astype("<u8")).view(np.uint8)
    return np.unpackbits(octets, axis=2, count=width, bitorder="little").view(bool)

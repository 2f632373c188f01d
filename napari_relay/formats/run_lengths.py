"""COCO's run lengths: a mask column by column, background and object in turn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from napari_relay.formats.checking import Place
from napari_relay.formats.outlines import Polygon, fill, trace
from napari_relay.formats.runs import EMPTY, Runs, box_of, from_mask, merge, to_mask
from napari_relay.geometry import Box

_MASK_PIXELS = 1 << 22


def column_counts(runs: Runs, shape: tuple[int, int]) -> list[int]:
    """Run lengths of an object over a picture of `shape`, background first; made from the object's own box."""
    size = shape[0] * shape[1]
    columns = transposed(runs)  # (column, first row, row after)
    # A stretch that reaches the bottom goes on at the top of the next column, after no background.
    bounds = (columns[:, :1] * shape[0] + columns[:, 1:]).ravel()
    lengths: list[int] = np.diff(np.concatenate([[0], bounds, [size]])).tolist()
    return lengths if lengths[-1] else lengths[:-1]


def from_column_counts(counts: Sequence[int] | npt.NDArray[np.int64], shape: tuple[int, int]) -> Runs:
    """The object of run lengths over a picture of `shape`, which they must fill exactly."""
    return transposed(from_row_counts(counts, shape[0]))


def from_row_counts(counts: Sequence[int] | npt.NDArray[np.int64], width: int) -> Runs:
    """The object of run lengths that go row by row over a picture of that width, background first."""
    bounds = np.cumsum(np.asarray(counts, np.int64))
    starts, ends = bounds[0::2][: len(bounds) // 2], bounds[1::2]
    keep = ends > starts
    starts, ends = starts[keep], ends[keep]
    if not len(starts):
        return EMPTY
    first = starts // width
    n_rows = (ends - 1) // width - first + 1
    which = np.repeat(np.arange(len(starts)), n_rows)
    row = first[which] + np.arange(len(which)) - np.repeat(np.cumsum(n_rows) - n_rows, n_rows)
    left = np.maximum(starts[which], row * width) - row * width
    right = np.minimum(ends[which], (row + 1) * width) - row * width
    return merge(np.column_stack([row, left, right]))


def transposed(runs: Runs) -> Runs:
    """The same pixels with rows and columns exchanged."""
    box = box_of(runs)
    if box.area <= _MASK_PIXELS:
        return from_mask(np.ascontiguousarray(to_mask(runs, box).T), box.x0, box.y0)
    # A mask of a large object would be larger than the file it stands in; its outline is not.
    turned = [Polygon(part.shell[:, ::-1], tuple(hole[:, ::-1] for hole in part.holes)) for part in trace(runs)]
    return fill(turned, Box(box.x0, box.y0, box.x1, box.y1))


def unpack(text: str, place: Place) -> list[int]:
    """Run lengths of pycocotools' text: groups of 5 bits, differences from the run before the last.

    pycocotools decodes into a picture only, of the size that the file claims; this needs the text's own length.
    """
    counts: list[int] = []
    value = bits = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or bits > 35:
            raise place.bad(f"the character {character!r} has no place in it")
        value |= (code & 0x1F) << bits
        bits += 5
        if code & 0x20:
            continue
        if code & 0x10:
            value -= 1 << bits
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        if counts[-1] < 0:
            raise place.bad("a run has a length below 0")
        value = bits = 0
    if bits:
        raise place.bad("it ends within a number")
    return counts

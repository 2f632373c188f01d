"""Where a line cuts a mask into parts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy import ndimage
from skimage.draw import line as line_pixels

from napari_relay.geometry import Box
from napari_relay.store.tiles import tight_box
from napari_relay.store.values import Mask

Part = tuple[Box, Mask]
Point = tuple[float, float]


def parts_by_line(box: Box, mask: Mask, line: Sequence[Point]) -> list[Part]:
    """Cut a mask along a line of level-0 points; the parts, largest first. Pixels on the line go to the part that is
    nearest, so that none is lost; where the line does not cut through, there is one part.

    Parameters
    ----------
    box, mask : bool [y, x] over its box.
    line : (y, x) of its corners; the line may begin and end anywhere.
    """
    barrier = _barrier(box, line) & mask
    eight = np.ones((3, 3), bool)
    # Pieces that were apart before the cut stay with each other: only what the line divides is divided.
    whole, _ = ndimage.label(mask, eight)
    labels, count = ndimage.label(mask & ~barrier, eight)
    owners = np.zeros(count + 1, int)  # the piece that each label is of
    owners[labels[labels > 0]] = whole[labels > 0]
    pieces = np.bincount(owners[1:], minlength=int(whole.max()) + 1)
    divided = [label for label in range(1, count + 1) if pieces[owners[label]] > 1]
    if not divided:
        return [(box, mask)]
    nearest = ndimage.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
    labels = np.where(mask, labels[tuple(nearest)], 0)
    labels[(labels > 0) & (owners[labels] != whole)] = 0  # a pixel of the line that lies nearer to another piece
    rest = mask.copy()
    parts = sorted((labels == label for label in divided), key=lambda part: int(part.sum()), reverse=True)
    for other in parts[1:]:
        rest &= ~other
    parts[0] = rest
    return [_cropped(box, part) for part in parts]


def _barrier(box: Box, line: Sequence[Point]) -> Mask:
    """The pixels of a line over `box`, thick enough that pixels on both sides touch nowhere, not at corners either."""
    barrier = np.zeros(box.shape, bool)
    for (y0, x0), (y1, x1) in pairwise(line):
        ends = (round(value) for value in (y0 - box.y0, x0 - box.x0, y1 - box.y0, x1 - box.x0))
        rows, columns = line_pixels(*ends)
        for down in (0, 1):
            inside = (rows + down >= 0) & (rows + down < box.height) & (columns >= 0) & (columns < box.width)
            barrier[rows[inside] + down, columns[inside]] = True
    return barrier


def _cropped(box: Box, mask: Mask) -> Part:
    tight = tight_box(box, mask)
    return tight, mask[tight.relative_to(box).slices]

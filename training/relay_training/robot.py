"""The robot user: clicks the middle of the largest error, as the interactive-segmentation literature does.

One rule for every model that is compared. Distances are exact Euclidean ones compared in float32, which
gives the clicks of OpenCV's precise `distanceTransform`, the literature's reference (the tests compare with
it).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_relay.geometry import Box, Click

Mask = npt.NDArray[np.bool_]

MAX_CLICKS = 20
"""Clicks after which an object counts as failed."""
STOP_IOU = 0.95
"""IoU at which the robot is content."""


def mask_box(mask: Mask) -> Box:
    """Smallest box that holds all True pixels of `mask` [y, x]; an empty box when there is none."""
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return Box(0, 0, 0, 0)
    columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
    return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)


def intersection_over_union(prediction: Mask, truth: Mask, ignore: Mask) -> float:
    """IoU of two masks [y, x] over the pixels that are not ignored; 1 when both are empty there."""
    box = mask_box(prediction | truth).slices
    counted = ~ignore[box]
    seen, wanted = prediction[box] & counted, truth[box] & counted
    union = int(np.count_nonzero(seen | wanted))
    return int(np.count_nonzero(seen & wanted)) / union if union else 1.0


class Robot:
    """Clicks one object until it is content; made anew for each object.

    Parameters
    ----------
    truth : bool [y, x]
        The object's pixels.
    ignore : bool [y, x], optional
        Pixels that count neither way and are never clicked.
    """

    def __init__(self, truth: Mask, ignore: Mask | None = None) -> None:
        self._ignore = np.zeros_like(truth) if ignore is None else ignore
        self._truth = truth & ~self._ignore
        self._taken: list[tuple[int, int]] = []

    def next_click(self, prediction: Mask) -> Click | None:
        """The next click for what the model shows now.

        Parameters
        ----------
        prediction : bool [y, x]
            The mask shown; all False before the first click.

        Returns
        -------
        Click or None
            The middle of the deepest error: positive where the object is missed by more than any other
            place is wrongly covered, else (also on a tie) negative. None when no error can be clicked any
            more.
        """
        missed, missed_at = self._deepest(self._truth & ~prediction)
        extra, extra_at = self._deepest(prediction & ~self._truth & ~self._ignore)
        if missed == 0 and extra == 0:
            # The published rule would click (0, 0) negative here.
            return None
        positive = bool(missed > extra)
        y, x = missed_at if positive else extra_at
        self._taken.append((y, x))
        return Click(float(y), float(x), positive)

    def _deepest(self, errors: Mask) -> tuple[np.float32, tuple[int, int]]:
        """Largest distance to a pixel without error, and the first pixel in row-major order that has it."""
        box = mask_box(errors)
        if box.empty:
            return np.float32(0), (0, 0)
        # The image's border counts as a border of the error, and nothing outside the errors' box is an error:
        # one ring of False round the box therefore bounds every distance exactly as the whole image would.
        padded = np.pad(errors[box.slices], 1)
        distance = ndimage.distance_transform_edt(padded)[1:-1, 1:-1].astype(np.float32)
        for y, x in self._taken:
            if box.contains(y, x):
                distance[y - box.y0, x - box.x0] = 0
        row, column = divmod(int(np.argmax(distance)), box.width)
        return distance[row, column], (box.y0 + row, box.x0 + column)

"""Clicks of a request to the head's tensor, thinned where there are more than it should see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from napari_relay.errors import ClickError
from napari_relay.views.values import VIEW_SIDE, ViewClick

LIMIT = 64
LATEST = 8


def _farthest(points: npt.NDArray[np.float32], count: int, start: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Indices of `count` points spread out by farthest-point sampling, beginning with `start`."""
    chosen = list(start)
    distance = np.min(((points[:, None] - points[None, chosen]) ** 2).sum(-1), axis=1)
    while len(chosen) < count:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, ((points - points[chosen[-1]]) ** 2).sum(-1))
    return np.sort(np.array(chosen))


def thin(points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """At most 64 of one sign's points [n, 2]: the 8 latest and a spread-out choice of the others."""
    if len(points) <= LIMIT:
        return points
    return points[_farthest(points, LIMIT, np.arange(len(points) - LATEST, len(points)))]


def click_array(clicks: Sequence[ViewClick]) -> npt.NDArray[np.float32]:
    """[1, n, 3] (y, x, label) of the clicks inside the view.

    Raises ClickError for coordinates that are not finite, or when no click lies inside the view.
    """
    rows = np.array([(c.y, c.x, float(c.positive)) for c in clicks], np.float32).reshape(-1, 3)
    if not np.isfinite(rows).all():
        raise ClickError("A click has a coordinate that is not a finite number.", "Give numbers in pixels.")
    inside = ((rows[:, :2] >= -0.5) & (rows[:, :2] < VIEW_SIDE - 0.5)).all(axis=1)
    rows = rows[inside]
    if len(rows) == 0:
        raise ClickError("No click lies inside the view.", "Click inside the image.")
    kept = [np.insert(thin(rows[rows[:, 2] == s, :2]), 2, s, axis=1) for s in (1.0, 0.0)]
    return np.concatenate(kept)[None].astype(np.float32)

"""The views that an object is learned from, and what is known of each of their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_relay.geometry import Box, Click, Plane
from napari_relay.views import (
    Crops,
    View,
    ViewPair,
    first_view,
    follow_view,
    global_view,
    read_crops,
    view_pair,
    whole_view,
)
from napari_relay.views.values import LOGIT_SIDE, VIEW_SIDE
from relay_training.data import turn_array, turned_box
from relay_training.finetune.material import Example, OpenMaterial, number_of
from relay_training.labels import block_mode

LEAST_SIDE = 56
BAND = 28
"""View rows whose labels are read at a time, so that a wide view never holds all of its level-0 pixels."""


@dataclass(frozen=True, slots=True)
class Look:
    """A view pair of a plane, turned (`data.turn_array`). Equal ones share an encoding."""

    source: int
    plane: Plane
    pair: ViewPair
    turn: int = 0


def looks_at(
    example: Example, shape: tuple[int, int], count: int, seed: int, object_px: float | None = None
) -> list[Look]:
    """`count` views of an object: that of its first click (`object_px` as in `views.first_view`), the one that follows
    the object's mask, and jittered and turned ones."""
    box = example.box
    at = next(((c.y, c.x) for c in example.clicks if c.positive and box.contains(c.y, c.x)), box.centre)
    first = first_view(shape, at, None, object_px)
    followed = follow_view(shape, first, box, False)
    found = [Look(example.source, example.plane, view_pair(shape, view)) for view in (first, followed)]
    rng = np.random.default_rng((seed, number_of(example.name) >> 1))
    while len(found) < count:
        share = 0.15 * (0.85 / 0.15) ** rng.random()
        view = _view(shape, box, share, (rng.random(), rng.random()))
        wide = global_view(shape, view) if rng.random() < 0.75 else None
        found.append(Look(example.source, example.plane, ViewPair(view, wide), int(rng.integers(8))))
    return list(dict.fromkeys(found[:count]))


def _view(shape: tuple[int, int], box: Box, share: float, where: tuple[float, float]) -> View:
    """A view of which the box's longest side takes `share`, the box anywhere in it."""
    side = 4 * round(max(LEAST_SIDE, max(box.shape) / share) / 4)
    if side * 2**0.25 >= max(shape):
        return whole_view(shape)
    corner = []
    for start, extent, limit, u in zip((box.y0, box.x0), box.shape, shape, where, strict=True):
        corner.append(min(max(round(start - u * (side - extent)), 0), max(0, limit - side)))
    return View(Box(corner[0], corner[1], corner[0] + side, corner[1] + side))


def read_look(material: OpenMaterial, look: Look) -> Crops:
    """Its pixels; the key names image, views, contrast and turn."""
    crops = read_crops(material.source, look.pair, look.plane, material.mix, material.stretch)
    if look.turn == 0:
        return crops
    shape = material.source.shape

    def turned(view: View) -> View:
        return View(turned_box(view.box, shape, look.turn), view.side)

    def pixels(array: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.ascontiguousarray(turn_array(array.transpose(1, 2, 0), look.turn).transpose(2, 0, 1))

    wide = look.pair.global_
    return replace(
        crops,
        key=f"{crops.key}-{look.turn}",
        pair=ViewPair(turned(look.pair.local), None if wide is None else turned(wide)),
        local=pixels(crops.local),
        global_=None if crops.global_ is None else pixels(crops.global_),
        global_key=None,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What is known of the pixels of a view at a quarter of its resolution, turned as the view is.

    labels : int32 [112, 112]: an object's id, 0 nothing, -1 outside the image.
    rejected : bool [112, 112], what rejected proposals cover and no object.
    """

    labels: npt.NDArray[np.int32]
    rejected: npt.NDArray[np.bool_]


def read_labels(material: OpenMaterial, look: Look, rejected: Sequence[Example]) -> Seen:
    """Labels of a view; `rejected` are the rejected proposals of its project."""
    view = look.pair.local
    labels = np.concatenate([_band(material, view, look.plane, row) for row in range(0, VIEW_SIDE, BAND)])
    refused = np.zeros((LOGIT_SIDE, LOGIT_SIDE), bool)
    for example in rejected:
        if example.plane == look.plane and not example.box.intersect(view.box).empty:
            refused |= mask_in_view(material, example.id, view) > 0
    small = block_mode(labels, VIEW_SIDE // LOGIT_SIDE)
    return Seen(turn_array(small, look.turn), turn_array(refused & (small == 0), look.turn))


def mask_in_view(material: OpenMaterial, object_id: int, view: View) -> npt.NDArray[np.int32]:
    """One object's own pixels, int32 [112, 112] of 0 and 1, whatever lies on top of it."""
    stored = material.project.object(object_id)
    out = np.zeros((VIEW_SIDE, VIEW_SIDE), np.int32)
    inside = stored.box.intersect(view.box)
    if inside.empty:
        return out[::4, ::4]
    rows, columns = _pixels(view, 0, VIEW_SIDE)
    in_y = (rows >= inside.y0) & (rows < inside.y1)
    in_x = (columns >= inside.x0) & (columns < inside.x1)
    mask = stored.mask_in(inside)
    out[np.ix_(in_y, in_x)] = mask[np.ix_(rows[in_y] - inside.y0, columns[in_x] - inside.x0)]
    return block_mode(out, VIEW_SIDE // LOGIT_SIDE)


def clicks_in_look(clicks: Sequence[Click], look: Look, shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Recorded clicks that lie in a view, float32 [n, 3]: (y, x) in pixels of 112 x 112, and 1 or 0 for the sign."""
    view, rows = look.pair.local, []
    for click in clicks:
        y, x = (_turned_point((click.y, click.x), shape, look.turn))
        side = View(turned_box(view.box, shape, look.turn), LOGIT_SIDE)
        vy, vx = side.to_view(y, x)
        if -0.5 <= vy < LOGIT_SIDE - 0.5 and -0.5 <= vx < LOGIT_SIDE - 0.5:
            rows.append((vy, vx, float(click.positive)))
    return np.array(rows, np.float32).reshape(-1, 3)


def _turned_point(point: tuple[float, float], shape: tuple[int, int], turn: int) -> tuple[float, float]:
    """A point in the image after `turn_array`; `shape` is that before."""
    (y, x), (height, width) = point, shape
    for _ in range(turn % 4):
        y, x = width - 1 - x, y
        height, width = width, height
    return (y, width - 1 - x) if turn >= 4 else (y, x)


def _pixels(view: View, first: int, last: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Level-0 rows of the view rows [first, last) and level-0 columns of all view columns, the nearest ones."""
    step = view.scale
    rows = np.floor(view.box.y0 + (np.arange(first, last) + 0.5) * step).astype(np.int64)
    columns = np.floor(view.box.x0 + (np.arange(view.side) + 0.5) * step).astype(np.int64)
    return rows, columns


def _band(material: OpenMaterial, view: View, plane: Plane, first: int) -> npt.NDArray[np.int32]:
    """Labels of some view rows, int32 [BAND, 448]."""
    rows, columns = _pixels(view, first, first + BAND)
    height, width = material.source.shape
    out = np.full((len(rows), len(columns)), -1, np.int32)
    in_y, in_x = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    if not (in_y.any() and in_x.any()):
        return out
    y, x = rows[in_y], columns[in_x]
    box = Box(int(y[0]), int(x[0]), int(y[-1]) + 1, int(x[-1]) + 1)
    labels = material.project.labels(box, plane).astype(np.int32)
    out[np.ix_(in_y, in_x)] = labels[np.ix_(y - box.y0, x - box.x0)]
    return out

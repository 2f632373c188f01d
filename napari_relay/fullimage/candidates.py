"""From the answers to many clicks in one view to candidates: masks in level-0 pixels, filtered, each object once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_relay.fullimage.plan import Place
from napari_relay.fullimage.sees import Mask, Masks
from napari_relay.geometry import Box
from napari_relay.session.fields import Field
from napari_relay.session.region import Region
from napari_relay.views.values import LOGIT_SIDE, VIEW_SIDE, Float32, View

CELL = VIEW_SIDE // LOGIT_SIDE
EIGHT = np.ones((3, 3), bool)


@dataclass(frozen=True, slots=True)
class Filters:
    """What a mask must have to become a candidate.

    min_iou : predicted IoU. min_stability : IoU of the masks at probabilities 0.4 and 0.6. min_area : view pixels.
    max_share : of the view's area. nested : intersection over the smaller of two masks, above which they are one
    object. diameter : usual longest side of an object in level-0 pixels, or None: others are less likely.
    """

    min_iou: float = 0.7
    min_stability: float = 0.85
    min_area: float = 50.0
    max_share: float = 0.6
    nested: float = 0.5
    diameter: float | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Candidate:
    """A mask that may be an object.

    place, number : the view that it was seen in, and its rank there. score : predicted IoU x stability, times what
    speaks for its size. cut : whether its view's border cuts it. vector : its mean in the contrast space, or None.
    """

    place: Place
    number: int
    box: Box
    mask: Mask
    score: float
    cut: bool = False
    vector: Float32 | None = None

    @property
    def area(self) -> int:
        return int(np.count_nonzero(self.mask))


def stability(logits: Float32) -> Float32:
    """IoU of the masks at probabilities 0.6 and 0.4 of logits [..., h, w]; 0 where the larger one is empty."""
    margin = math.log(0.6 / 0.4)
    inner = (logits > margin).sum(axis=(-2, -1))
    outer = (logits > -margin).sum(axis=(-2, -1))
    share: Float32 = (inner / np.maximum(outer, 1)).astype(np.float32)
    return share


def good_masks(masks: Masks, points: Float32, filters: Filters) -> tuple[Float32, Float32]:
    """The masks that pass the filters, best first: logits [m, 112, 112] without what hangs nowhere together with the
    click, and scores [m].

    points : the positive clicks, float32 [n, 2] (y, x) in view pixels.
    """
    count = masks.logits.shape[1]
    logits = np.nan_to_num(masks.logits, nan=-10.0).reshape(-1, LOGIT_SIDE, LOGIT_SIDE)
    clicked = np.repeat(points, count, axis=0)
    steady, scores = stability(logits), masks.scores.ravel()
    areas = (logits > 0).sum(axis=(-2, -1)) * CELL**2
    good = (scores > filters.min_iou) & (steady > filters.min_stability)
    good &= (areas >= filters.min_area) & (areas <= filters.max_share * VIEW_SIDE**2)
    kept = [_clicked_part(logits[i], clicked[i]) for i in np.flatnonzero(good)]
    values = (scores * steady)[good]
    order = np.argsort(-np.round(values, 6), kind="stable")
    order = np.array([i for i in order if (kept[i] > 0).sum() * CELL**2 >= filters.min_area], np.intp)
    if len(order) == 0:
        return np.zeros((0, LOGIT_SIDE, LOGIT_SIDE), np.float32), np.zeros(0, np.float32)
    return np.stack([kept[i] for i in order]), values[order].astype(np.float32)


def _clicked_part(logits: Float32, point: Float32) -> Float32:
    """The component under the click, or the largest one where the click is on none."""
    labels, count = ndimage.label(logits > 0, EIGHT)
    if count <= 1:
        return logits
    y, x = (int(np.clip((value + 0.5) // CELL, 0, LOGIT_SIDE - 1)) for value in point)
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    wanted = labels[y, x] or int(areas.argmax())
    return np.where((logits > 0) & (labels != wanted), np.float32(-4.0), logits)


def candidates_of(
    shape: tuple[int, int], place: Place, view: View, logits: Float32, scores: Float32, filters: Filters
) -> list[Candidate]:
    """The masks of one view, in level-0 pixels, each object once.

    Masks that touch three sides of the view are ground, not object. What the border of the view cuts, where the image
    goes on behind it, is marked.
    """
    found: list[tuple[float, Region, bool]] = []
    for one, score in zip(logits, scores, strict=True):
        touched = _touched(shape, view, one > 0)
        if sum(touched) >= 3:
            continue
        field = Field(view, one)
        box = field.positive_box().clip(shape)
        if box.empty:
            continue
        region = Region(box, field.at(box) > 0).cropped()
        if not region.box.empty:
            weight = size_weight(region.box, filters.diameter)
            found.append((float(score) * weight, region, any(_inner(shape, view, touched))))
    order = sorted(range(len(found)), key=lambda i: (-round(found[i][0], 6), i))
    boxes = [found[i] for i in order]
    kept: list[Candidate] = []
    for score, region, cut in boxes:
        if all(shared_share(region.box, region.mask, c.box, c.mask) <= filters.nested for c in kept):
            kept.append(Candidate(place, len(kept), region.box, region.mask, score, cut))
    return kept


def size_weight(box: Box, diameter: float | None) -> float:
    """1 for an object of the usual longest side, less for others (0.6 at twice or half of it)."""
    if diameter is None:
        return 1.0
    octaves = math.log2(max(box.shape) / diameter)
    return math.exp(-0.5 * octaves**2)


def shared_area(box: Box, mask: Mask, other_box: Box, other: Mask) -> int:
    """Pixels that two masks have in common."""
    common = box.intersect(other_box)
    if common.empty:
        return 0
    return int(
        np.count_nonzero(mask[common.relative_to(box).slices] & other[common.relative_to(other_box).slices])
    )


def shared_share(box: Box, mask: Mask, other_box: Box, other: Mask) -> float:
    """Pixels in common over those of the smaller mask."""
    shared = shared_area(box, mask, other_box, other)
    return shared / min(np.count_nonzero(mask), np.count_nonzero(other)) if shared else 0.0


def _touched(shape: tuple[int, int], view: View, mask: Mask) -> tuple[bool, bool, bool, bool]:
    """Which borders (top, left, bottom, right) of view or image a mask [112, 112] reaches."""
    cell = view.box.height / LOGIT_SIDE
    y1 = min(LOGIT_SIDE, max(1, math.ceil((shape[0] - view.box.y0) / cell)))
    x1 = min(LOGIT_SIDE, max(1, math.ceil((shape[1] - view.box.x0) / cell)))
    sides = (mask[0, :x1], mask[:y1, 0], mask[y1 - 1, :x1], mask[:y1, x1 - 1])
    top, left, bottom, right = (bool(side.any()) for side in sides)
    return top, left, bottom, right


def _inner(shape: tuple[int, int], view: View, touched: tuple[bool, bool, bool, bool]) -> list[bool]:
    """Those of the touched borders behind which the image goes on."""
    box = view.box
    goes_on = (box.y0 > 0, box.x0 > 0, box.y1 < shape[0], box.x1 < shape[1])
    return [a and b for a, b in zip(touched, goes_on, strict=True)]

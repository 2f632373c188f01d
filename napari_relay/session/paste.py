"""From the logits of a view to the object's mask: rim, components, level-0 pixels.

Everything but the last step happens at the resolution of the view (448 x 448), so its cost does not depend on
the size of the object. The last step works strip by strip in the mask's own box.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from napari_relay.geometry import Click
from napari_relay.session.fields import AnyArray, Field, Mask, span_inside
from napari_relay.session.region import NOWHERE, Region
from napari_relay.views.policy import RIM
from napari_relay.views.values import LOGIT_SIDE, VIEW_SIDE, Float32, View, ViewClick

UNKNOWN = -10.0
"""Logit of places that an earlier view did not show; as certain as the decoder gets."""
DROPPED = -4.0
"""Logit that a dropped component gets where it is fed back: clearly not object, but no wall."""
SMALL_SHARE = 0.01
"""Components up to this share of the largest one are dropped, unless clicked or there before."""
RIM_CELLS = RIM * LOGIT_SIDE // VIEW_SIDE
EIGHT = np.ones((3, 3), bool)


def carried_logits(field: Field, region: Region, view: View) -> Float32:
    """Previous logits as seen from another view: float32 [112, 112].

    Outside the old view a kept mask is certainly object and everything else certainly not.
    """
    if view == field.view:
        return field.logits
    rows, columns, inside = _overlap(field, view)
    out = np.where(region.at(rows, columns), np.float32(-UNKNOWN), np.float32(UNKNOWN))
    out[inside] = field.sample(rows[inside[0]], columns[inside[1]])
    return out


def blended(shape: tuple[int, int], view: View, logits: Float32, previous: Field | None, region: Region) -> Field:
    """New logits with a rim that fades into what was known before.

    Faded are 16 view pixels at the borders behind which the image goes on, where an earlier view or a kept mask
    says something.
    """
    logits = np.nan_to_num(logits, nan=UNKNOWN)
    if previous is None:
        return Field(view, logits)
    rows, columns, inside = _overlap(previous, view)
    known = region.at(rows, columns)
    known[inside] = True
    weight = np.where(known, _rim_weight(shape, view), np.float32(1))
    mixed = weight * logits + (1 - weight) * carried_logits(previous, region, view)
    return Field(view, mixed.astype(np.float32))


def keep_components(
    shape: tuple[int, int], field: Field, clicks: Sequence[Click], before: Region | None
) -> tuple[Field, Field]:
    """Drop components that nobody asked for.

    Kept are components with a positive click, of the mask before, or with more than 1 % of the largest one's area;
    on the first click (`before` is None) the clicked component alone, if the click is inside one.

    Returns
    -------
    The field [112, 112] to feed back, and the field [448, 448] whose positive samples are the mask.
    """
    fine = enlarged(field)
    rows, columns = fine.centres()
    foreground = np.zeros(fine.logits.shape, bool)
    in_image = span_inside(rows, 0, shape[0]), span_inside(columns, 0, shape[1])
    np.greater(fine.logits[in_image], 0, out=foreground[in_image])
    labels, count = ndimage.label(foreground, EIGHT)
    if count <= 1:
        return field, fine
    keep = np.zeros(count + 1, bool)
    keep[_labels_at(labels, fine.view, clicks)] = True
    keep[0] = False
    if before is not None or not keep.any():
        areas = np.bincount(labels.ravel(), minlength=count + 1)
        areas[0] = 0
        keep |= areas > SMALL_SHARE * areas.max()
    if before is not None:
        keep |= np.bincount(labels[before.at(rows, columns)], minlength=count + 1) > 0
        keep[0] = False
    if keep[1:].all():
        return field, fine
    kept = keep[labels]
    return _without(field, fine, foreground & ~kept, kept)


def paste(shape: tuple[int, int], fine: Field, before: Region) -> Region:
    """The mask in level-0 pixels: positive samples inside view and image; outside the view what was there before."""
    view_box = fine.view.box.clip(shape)
    inside = fine.positive_box().intersect(view_box)
    kept = NOWHERE if view_box.covers(before.box) else before.box
    box = inside.hull(kept)
    if box.empty:
        return Region.nothing()
    mask = before.within(box) if not kept.empty else np.zeros(box.shape, bool)
    mask[view_box.intersect(box).relative_to(box).slices] = False
    for strip, logits in fine.strips(inside):
        np.greater(logits, 0, out=mask[strip.relative_to(box).slices])
    return Region(box, mask).cropped()


def enlarged(field: Field) -> Field:
    """The field at view pixels: [448, 448]."""
    view = field.view
    grid = Field(view, np.empty((view.side, view.side), np.float32))
    return Field(view, field.sample(*grid.centres()))


def clicks_in_view(view: View, clicks: Sequence[Click]) -> list[ViewClick]:
    """Clicks in view pixels; those outside the view are left out."""
    placed = [ViewClick(*view.to_view(click.y, click.x), click.positive) for click in clicks]
    return [c for c in placed if -0.5 <= c.y < view.side - 0.5 and -0.5 <= c.x < view.side - 0.5]


def _overlap(field: Field, view: View) -> tuple[Float32, Float32, tuple[slice, slice]]:
    """Centres of the view's cells, and the part of them that lies in the field's view."""
    rows, columns = Field(view, np.empty((LOGIT_SIDE, LOGIT_SIDE), np.float32)).centres()
    box = field.view.box
    return rows, columns, (span_inside(rows, box.y0, box.y1), span_inside(columns, box.x0, box.x1))


def _rim_weight(shape: tuple[int, int], view: View) -> Float32:
    """1 inside, falling to 0 over the rim at borders behind which the image goes on: [112, 112]."""
    index = np.arange(LOGIT_SIDE, dtype=np.float32) + 0.5
    rising = np.clip(index / RIM_CELLS, 0, 1)
    falling, flat = rising[::-1], np.ones_like(rising)
    box = view.box
    rows = np.minimum(rising if box.y0 > 0 else flat, falling if box.y1 < shape[0] else flat)
    columns = np.minimum(rising if box.x0 > 0 else flat, falling if box.x1 < shape[1] else flat)
    return np.minimum(rows[:, None], columns[None, :])


def _labels_at(labels: AnyArray, view: View, clicks: Sequence[Click]) -> list[int]:
    """Labels under the positive clicks, 0 for those on the ground."""
    inside = clicks_in_view(view, [click for click in clicks if click.positive])
    return [int(labels[math.floor(click.y + 0.5), math.floor(click.x + 0.5)]) for click in inside]


def _without(field: Field, fine: Field, dropped: Mask, kept: Mask) -> tuple[Field, Field]:
    """Both fields with the dropped view pixels made negative."""
    # No view pixel of a dropped component touches a kept one (they would be one component), so bilinear samples
    # round it stay negative and the kept border stays where it is.
    flat = np.where(dropped, np.float32(DROPPED), fine.logits)
    size = fine.logits.shape[0] // field.logits.shape[0]
    blocks = (field.logits.shape[0], size, field.logits.shape[1], size)
    hit = dropped.reshape(blocks).any(axis=(1, 3)) & ~kept.reshape(blocks).any(axis=(1, 3))
    logits = np.where(hit, np.minimum(field.logits, np.float32(DROPPED)), field.logits)
    return Field(field.view, logits), Field(fine.view, flat)

"""Taking up an object that was accepted before: its mask becomes the step that the next click goes on from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from napari_relay.geometry import Box, Click
from napari_relay.session.fields import Field, Mask
from napari_relay.session.paste import UNKNOWN
from napari_relay.session.proposal import Proposal
from napari_relay.session.region import Region
from napari_relay.session.steps import Step, planned_pair
from napari_relay.views import ViewPair, first_view, follow_view, view_pair
from napari_relay.views.policy import Shape
from napari_relay.views.values import LOGIT_SIDE, View


def resumed_step(
    shape: Shape, box: Box, mask: Mask, clicks: Sequence[Click], views: ViewPair | None, score: float
) -> Step:
    """The step of an object as it was kept.

    Parameters
    ----------
    shape : (height, width) of the image.
    box, mask : its pixels, bool of the box's shape.
    clicks, views : what it came from; without clicks (it was drawn or imported) one is put into its middle, without
        views those are taken that frame it.
    score : predicted IoU; 1 where nobody predicted it.
    """
    clicks = tuple(clicks) or (middle(box, mask),)
    pair = views or _framing(shape, box, clicks)
    own = mask.copy()
    own.setflags(write=False)
    proposal = Proposal(box, own, score, 0, 1, pair, _certain(pair.local, box, mask), native=True)
    return Step(clicks, proposal, planned_pair(shape, proposal, clicks))


def drawn_step(shape: Shape, clicks: Sequence[Click], region: Region, base: Step | None) -> Step:
    """The step of a mask that was drawn, from the views of the step before where there is one.

    Parameters
    ----------
    region : the mask, in its smallest box; may have no pixel.
    """
    clicks = tuple(clicks)
    pair = base.proposal.views if base is not None else _framing(shape, region.box, clicks)
    region.mask.setflags(write=False)
    score = 1.0 if base is None else base.proposal.score
    field = _certain(pair.local, region.box, region.mask)
    proposal = Proposal(region.box, region.mask, score, 0, 1, pair, field, native=True)
    return Step(clicks, proposal, planned_pair(shape, proposal, clicks))


def middle(box: Box, mask: Mask) -> Click:
    """A click on the pixel of a mask that lies farthest from its outline."""
    # Of a mask of many megapixels a coarser one is good enough, as long as something of it is left.
    step = max(1, max(mask.shape) // 1024)
    coarse = mask[::step, ::step] if mask[::step, ::step].any() else mask
    step = step if coarse is not mask else 1
    depth = ndimage.distance_transform_edt(np.pad(coarse, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(np.argmax(depth)), depth.shape)
    return Click(float(box.y0 + int(row) * step), float(box.x0 + int(column) * step))


def _framing(shape: Shape, box: Box, clicks: Sequence[Click]) -> ViewPair:
    start = first_view(shape, (clicks[0].y, clicks[0].x), 1.0)
    return view_pair(shape, follow_view(shape, start, box, False, clicks))


def _certain(view: View, box: Box, mask: Mask) -> Field:
    """The mask as logits of a view: as certain as the decoder gets."""
    empty = Field(view, np.zeros((LOGIT_SIDE, LOGIT_SIDE), np.float32))
    rows, columns = empty.centres()
    inside = Region(box, mask).at(rows, columns)
    return Field(view, np.where(inside, np.float32(-UNKNOWN), np.float32(UNKNOWN)))

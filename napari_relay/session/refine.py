"""A coarse mask's border, predicted again at native resolution.

A proposal made at scale s > 1 knows its border to a few s level-0 pixels. The tiles along that border are
predicted again with finer views, the coarse mask as previous mask, the user's clicks and two clicks sampled far
from the border. Only a band round the coarse border may change, and a tile whose answer has little to do with the
coarse mask keeps it: a tile sees texture, not the object.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_relay.geometry import Box, Click
from napari_relay.session.fields import AnyArray, Field, Mask, span_inside
from napari_relay.session.paste import UNKNOWN, clicks_in_view, keep_components
from napari_relay.session.region import Region
from napari_relay.views.values import LOGIT_SIDE, VIEW_SIDE, Float32, Prediction, View, ViewClick

Shape = tuple[int, int]
Predict = Callable[[View, list[ViewClick], Float32], Prediction]

STAGE_RATIO = 4.0
"""Views get finer by at most this factor at a time."""
BAND = 8
"""View pixels of the coarser view by which its border may move."""
AGREEMENT = 0.5
"""Least IoU of a tile's answer with the coarse mask."""
CELL = VIEW_SIDE // LOGIT_SIDE
CERTAIN = -UNKNOWN


@dataclass(frozen=True, slots=True)
class RefineProgress:
    """`done` of `total` tiles at `scale` level-0 pixels per view pixel."""

    done: int
    total: int
    scale: float


def refined_region(
    shape: Shape, coarse_scale: float, region: Region, clicks: Sequence[Click], predict: Predict
) -> Generator[RefineProgress, None, Region]:
    """Refine a mask down to scale 1.

    Parameters
    ----------
    shape : (height, width) of level 0.
    coarse_scale : scale of the view that the mask comes from.
    region : the mask.
    clicks : the user's.
    predict : predicts a local view from clicks and previous logits.

    Returns
    -------
    The refined mask, by the generator's return value.
    """
    stages = max(1, math.ceil(math.log(coarse_scale, STAGE_RATIO) - 1e-9))
    for stage in range(1, stages + 1):
        before = coarse_scale ** (1 - (stage - 1) / stages)
        scale = coarse_scale ** (1 - stage / stages)
        region = yield from _stage(shape, scale, math.ceil(BAND * before), region, clicks, predict)
    return region


def _stage(
    shape: Shape, scale: float, band: int, region: Region, clicks: Sequence[Click], predict: Predict
) -> Generator[RefineProgress, None, Region]:
    """One pass with views of `scale`; the border may move by `band` level-0 pixels."""
    quarter = round(VIEW_SIDE / 4 * scale)
    cells = list(_border_cells(shape, region, 2 * quarter, band))
    box = region.box.grow(band).clip(shape)
    mask = region.within(box)
    for done, cell in enumerate(cells):
        yield RefineProgress(done, len(cells), scale)
        centre = Box(cell.y0, cell.x0, cell.y0 + 2 * quarter, cell.x0 + 2 * quarter)
        fine = _tile(shape, View(centre.grow(quarter)), band, region, clicks, predict)
        inside = cell.intersect(box)
        if fine is not None and not inside.empty:
            mask[inside.relative_to(box).slices] = fine.at(inside) > 0
    yield RefineProgress(len(cells), len(cells), scale)
    return Region(box, mask).cropped()


def _border_cells(shape: Shape, region: Region, side: int, band: int) -> Generator[Box, None, None]:
    """Cells of a fixed grid, cut at the image's border, within `band` of the mask's border."""
    if region.box.empty:
        return
    for row, column in region.box.grow(band).clip(shape).tiles(side):
        cell = Box(row * side, column * side, (row + 1) * side, (column + 1) * side).clip(shape)
        seen = region.within(cell.grow(band).clip(shape))
        if seen.any() and not seen.all():
            yield cell


def _tile(
    shape: Shape, view: View, band: int, region: Region, clicks: Sequence[Click], predict: Predict
) -> Field | None:
    """Logits at view pixels of a tile, or None where the coarse mask is to stay."""
    grid = Field(view, np.zeros((LOGIT_SIDE, LOGIT_SIDE), np.float32))
    rows, columns = grid.centres()
    coarse = region.at(rows, columns)
    inside = np.zeros_like(coarse)
    inside[span_inside(rows, 0, shape[0]), span_inside(columns, 0, shape[1])] = True
    depth = _depth(coarse)  # in cells, below 0 outside the mask
    asked = clicks_in_view(view, clicks) + _sampled_clicks(depth, inside)
    if not any(click.positive for click in asked):
        return None
    reach = band / grid.cell
    answer = predict(view, asked, _soft(coarse, reach)).logits[0]
    logits = np.where(np.abs(depth) <= reach, np.nan_to_num(answer, nan=UNKNOWN), np.copysign(CERTAIN, depth))
    found = (logits > 0) & inside
    union = np.count_nonzero(found | (coarse & inside))
    if np.count_nonzero(found & coarse) < AGREEMENT * union:
        return None
    return keep_components(shape, Field(view, logits.astype(np.float32)), clicks, region)[1]


def _depth(coarse: Mask) -> AnyArray:
    """Distance to the mask's border in cells: above 0 inside, below 0 outside; the tile's frame is no border."""
    inner = ndimage.distance_transform_edt(coarse) if not coarse.all() else np.full(coarse.shape, np.inf)
    outer = ndimage.distance_transform_edt(~coarse) if coarse.any() else np.full(coarse.shape, np.inf)
    depth: AnyArray = np.where(coarse, inner, -outer)
    return depth


def _sampled_clicks(depth: AnyArray, inside: Mask) -> list[ViewClick]:
    """The deepest place inside and the deepest outside the mask, in the image; none where it is a sliver."""
    found = []
    for sign in (1, -1):
        value = np.where(inside, np.minimum(sign * depth, LOGIT_SIDE), -1)
        y, x = np.unravel_index(int(np.argmax(value)), value.shape)
        if value[y, x] >= 2:
            half = (CELL - 1) / 2
            found.append(ViewClick(float(y * CELL + half), float(x * CELL + half), sign > 0))
    return found


def _soft(coarse: Mask, reach: float) -> Float32:
    """A mask as logits: certain away from its border, doubtful across the band that it may be wrong by."""
    share = ndimage.uniform_filter(coarse.astype(np.float32), max(3, round(reach)), mode="nearest")
    soft: Float32 = 2 * CERTAIN * (share - 0.5)
    return soft.astype(np.float32)

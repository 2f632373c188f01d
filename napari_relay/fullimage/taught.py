"""What the objects that somebody has accepted teach a search for every object: how sure the model is of such objects,
how large they are, and what they look like.

The thresholds of `Filters` are those of photos. On stained tissue the model gives true masks lower marks, and whoever
has accepted some objects has shown which marks are theirs: each is clicked once, as a search would click it, and the
thresholds come down to what nearly all of the true masks reach. They never go up: no object is lost by accepting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from napari_relay.fullimage.candidates import Candidate, Filters, shared_area, stability
from napari_relay.fullimage.joining import seam_click
from napari_relay.fullimage.plan import Grid, Place, place_of
from napari_relay.fullimage.sees import Sees
from napari_relay.fullimage.work import Work
from napari_relay.session.fields import Field
from napari_relay.sources import Source
from napari_relay.store import StoredObject
from napari_relay.views.values import Float32, View

MOST = 16
"""Objects that are clicked."""
LEAST = 4
"""Fewer true masks say nothing about a threshold."""
TRUE = 0.6
"""IoU with the accepted mask from which an answer counts as the object's."""
REACHED = 0.1
"""Share of the true masks that may lie below the threshold."""
SLACK = 0.02
LEAST_IOU, LEAST_STABILITY = 0.4, 0.5
"""As far as the thresholds come down."""


def taught_filters(source: Source, objects: Sequence[StoredObject], work: Work, sees: Sees) -> Filters:
    """The filters of a job, fitted to objects that were accepted.

    Parameters
    ----------
    objects : accepted ones, on the plane of the job.
    """
    grid = work.grids[min(work.grids)]
    usual = work.filters
    if len(objects) < LEAST:
        return usual
    sized = replace(usual, diameter=float(np.median([max(stored.box.shape) for stored in objects])))
    chosen = [objects[i] for i in np.unique(np.linspace(0, len(objects) - 1, MOST).round().astype(int))]
    marks = np.array([one for stored in chosen if (one := _marks(source, stored, grid, work, sees)) is not None])
    if len(marks) < LEAST:
        return sized
    low_iou, low_stability = (float(value) - SLACK for value in np.quantile(marks, REACHED, axis=0))
    return replace(
        sized,
        min_iou=min(usual.min_iou, max(LEAST_IOU, round(low_iou, 3))),
        min_stability=min(usual.min_stability, max(LEAST_STABILITY, round(low_stability, 3))),
    )


def _marks(source: Source, stored: StoredObject, grid: Grid, work: Work, sees: Sees) -> tuple[float, float] | None:
    """Predicted IoU and stability of the answer to a click into an object that fits it best; None where none fits."""
    view = grid.view(place_of(grid, stored.box))
    crops = work.crops(source, view)
    sees.look(crops)
    click = seam_click(Candidate(Place(grid.step, 0, 0), 0, stored.box, stored.mask, 1.0))
    point = np.array([[[*view.to_view(click.y, click.x), 1]]], np.float32)
    masks = sees.ask(crops, point)
    fits = [_fit(source.shape, view, logits, stored) for logits in masks.logits[0]]
    best = int(np.argmax(fits))
    if fits[best] < TRUE:
        return None
    return float(masks.scores[0, best]), float(stability(masks.logits[0, best]))


def _fit(shape: tuple[int, int], view: View, logits: Float32, stored: StoredObject) -> float:
    """IoU of an answer and the object's own mask."""
    field = Field(view, logits)
    box = field.positive_box().clip(shape)
    if box.empty:
        return 0.0
    mask = field.at(box) > 0
    shared = shared_area(box, mask, stored.box, stored.mask)
    return shared / max(1, int(np.count_nonzero(mask)) + stored.area - shared)

"""Find similar: what resembles a few accepted objects and not their surroundings, as ranked candidates.

A click kernel (`model.contrast`) doubles as a query: a place's score is its cosine to the nearest object prototype less
that to the nearest background prototype. Local maxima above a threshold, set by leaving each example out in turn,
become self-clicks, with the most background-like places beside them as negative clicks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.cluster.vq import kmeans2

from napari_relay.fullimage.candidates import Candidate, Filters, candidates_of, good_masks
from napari_relay.fullimage.plan import Place
from napari_relay.fullimage.sees import Mask, Sees
from napari_relay.geometry import Box
from napari_relay.session.region import Region
from napari_relay.views.values import VIEW_SIDE, Crops, Float32, View

CLUSTERS = 4
"""Most prototypes of each kind that are kept from one call."""
SLACK = 0.1
"""By how much a place may resemble the objects less than the least typical example does."""
FLOOR = -0.2
STEEPNESS = 20.0
"""Of the step from unlike to like: 0.1 in cosine is the way from one half to 0.88."""
MOST = 200
"""Most self-clicks in a view."""
SIZE_RANGE = 3.0
"""A candidate's longest side is at most this many times longer or shorter than the examples'."""


@dataclass(frozen=True, eq=False, slots=True)
class Example:
    """An object as its view shows it: unit vectors [n, D] of its tokens and [m, D] of what surrounds it, its click
    kernel [D], its longest side in level-0 pixels."""

    inside: Float32
    around: Float32
    kernel: Float32
    diameter: float


@dataclass(frozen=True, eq=False, slots=True)
class Examples:
    """What to look for: prototypes of objects [p, D] and of ground [b, D], unit vectors; threshold of the score; the
    usual longest side in level-0 pixels; half-octave step of the views that they come from."""

    objects: Float32
    ground: Float32
    threshold: float
    diameter: float
    step: int

    def scores(self, vectors: Float32) -> Float32:
        """Score of unit vectors [..., D]: -2 .. 2."""
        like = (vectors @ self.objects.T).max(axis=-1)
        unlike = (vectors @ self.ground.T).max(axis=-1) if len(self.ground) else np.zeros_like(like)
        result: Float32 = (like - unlike).astype(np.float32)
        return result


def example(space: Float32, view: View, box: Box, mask: Mask, others: Mask, kernel: Float32) -> Example:
    """An object in the contrast space of a view.

    Parameters
    ----------
    space : unit vectors [h, w, D]. kernel : the click kernel of `object_clicks`.
    others : bool [h, w], tokens that belong to any object or lie outside the image: no ground.
    """
    own = token_mask(view, box, mask, space.shape[0])
    reach = ndimage.binary_dilation(own, iterations=4)
    near = ndimage.binary_dilation(own, iterations=1)
    ground = reach & ~near & ~others
    return Example(space[own], space[ground], kernel, float(max(box.shape)))


def object_clicks(view: View, box: Box, mask: Mask, side: int) -> Float32:
    """Positive clicks [k, 3] (y, x, label) in view pixels, one on each token of an object, 32 at most."""
    own = np.argwhere(token_mask(view, box, mask, side))
    own = own[:: max(1, -(-len(own) // 32))]
    pixels = VIEW_SIDE / side
    return np.concatenate([(own + 0.5) * pixels - 0.5, np.ones((len(own), 1))], axis=1).astype(np.float32)


def token_mask(view: View, box: Box, mask: Mask, side: int) -> npt.NDArray[np.bool_]:
    """Tokens of a view [side, side] whose middle lies in a mask; at least the one nearest to its middle."""
    cell = view.box.height / side
    rows = (np.arange(side) + 0.5) * cell - 0.5 + view.box.y0
    columns = (np.arange(side) + 0.5) * cell - 0.5 + view.box.x0
    own = Region(box, mask).at(rows, columns)
    if not own.any():
        y, x = box.centre
        own[int(np.abs(rows - y).argmin()), int(np.abs(columns - x).argmin())] = True
    return own


def learn(found: Sequence[Example], step: int, ground: Sequence[Float32] = ()) -> Examples:
    """Prototypes from one or more examples.

    Parameters
    ----------
    step : of the views that they come from.
    ground : further vectors [m, D] that are no object: of rejected proposals, of painted background.
    """
    kernels = np.stack([one.kernel for one in found])
    around = np.concatenate([one.around for one in found])
    backs = [_prototypes(part, CLUSTERS) for part in (around, *ground) if len(part)]
    background = np.concatenate(backs) if backs else np.zeros((0, kernels.shape[1]), np.float32)
    prototypes = _prototypes(kernels, CLUSTERS)
    trial = Examples(prototypes, background, 0.0, float(np.median([one.diameter for one in found])), step)
    return replace(trial, threshold=_threshold(found, kernels, trial))


def reject(examples: Examples, vectors: Float32) -> Examples:
    """The same with rejected candidates' vectors [m, D] as further background."""
    if len(vectors) == 0:
        return examples
    return replace(examples, ground=np.concatenate([examples.ground, _prototypes(vectors, CLUSTERS)]))


def accept(examples: Examples, vectors: Float32) -> Examples:
    """The same with accepted candidates' vectors [m, D] as further examples."""
    if len(vectors) == 0:
        return examples
    return replace(examples, objects=np.concatenate([examples.objects, _prototypes(vectors, CLUSTERS)]))


def in_view(
    examples: Examples, shape: tuple[int, int], place: Place, crops: Crops, sees: Sees, filters: Filters
) -> list[Candidate]:
    """Candidates of one view; their score says how sure it is that they are such objects, 0..1."""
    view = crops.pair.local
    space = sees.look(crops)
    peaks = _peaks_in(examples, shape, view, space)
    if len(peaks) == 0:
        return []
    clicks = _with_negatives(space, peaks, examples)
    masks = sees.ask(crops, clicks[:, :1])
    points = np.ascontiguousarray(clicks[:, 0, :2])
    logits, scores = good_masks(masks, points, filters)
    doubtful = sees.ask(crops, clicks) if clicks.shape[1] > 1 else None
    if doubtful is not None:
        more, more_scores = good_masks(doubtful, points, filters)
        logits, scores = np.concatenate([logits, more]), np.concatenate([scores, more_scores])
    sized = replace(filters, diameter=examples.diameter)
    return [
        _ranked(one, examples, space, view)
        for one in candidates_of(shape, place, view, logits, scores, sized)
        if 1 / SIZE_RANGE <= max(one.box.shape) / examples.diameter <= SIZE_RANGE
    ]


def places(examples: Examples, shape: tuple[int, int], view: View, space: Float32) -> Float32:
    """Where to click for what is like the examples, the most like first: float32 [n, 2], (y, x) in view pixels."""
    pixels = VIEW_SIDE / space.shape[0]
    clicks: Float32 = ((_peaks_in(examples, shape, view, space) + 0.5) * pixels - 0.5).astype(np.float32)
    return clicks


def _peaks_in(examples: Examples, shape: tuple[int, int], view: View, space: Float32) -> npt.NDArray[np.intp]:
    score = examples.scores(space)  # [h, w]
    score[~_inside(shape, view, space.shape[0])] = -2
    cell = view.box.height / space.shape[0]
    return _peaks(score, max(1, round(0.25 * examples.diameter / cell)), examples.threshold)


def likeness(examples: Examples, vectors: Float32) -> Float32:
    """How like the objects a candidate's mean vector [..., D] is, 0..1: one half for the least typical example."""
    return sureness(examples.scores(vectors), examples.threshold)


def sureness(scores: Float32, threshold: float) -> Float32:
    """Likeness 0..1 of scores: one half at `SLACK` above the threshold."""
    sure: Float32 = (1 / (1 + np.exp(-STEEPNESS * (scores - threshold - SLACK)))).astype(np.float32)
    return sure


def _ranked(one: Candidate, examples: Examples, space: Float32, view: View) -> Candidate:
    vector = _unit(space[token_mask(view, one.box, one.mask, space.shape[0])].mean(axis=0))
    return replace(one, vector=vector, score=float(one.score * likeness(examples, vector)))


def _peaks(score: Float32, radius: int, threshold: float) -> npt.NDArray[np.intp]:
    """(row, column) of local maxima above the threshold, the highest first: [n, 2]."""
    highest = ndimage.maximum_filter(score, size=2 * radius + 1, mode="constant", cval=-2)
    found = np.argwhere((score >= highest) & (score > threshold))
    order = np.lexsort((found[:, 1], found[:, 0], -np.round(score[found[:, 0], found[:, 1]], 6)))
    return found[order[:MOST]]


def _with_negatives(space: Float32, peaks: npt.NDArray[np.intp], examples: Examples) -> Float32:
    """Clicks [n, 3, 3]: each peak, and at most two places of ground beside it; label -1 where there are none."""
    side = space.shape[0]
    pixels = VIEW_SIDE / side
    clicks = np.zeros((len(peaks), 3, 3), np.float32)
    clicks[:, :, 2] = -1
    clicks[:, 0, :2], clicks[:, 0, 2] = (peaks + 0.5) * pixels - 0.5, 1
    score = examples.scores(space)
    for number, (y, x) in enumerate(peaks):
        y0, x0 = max(0, y - 5), max(0, x - 5)
        part = score[y0 : y + 6, x0 : x + 6]
        lowest = np.argsort(part, axis=None, kind="stable")
        chosen: list[tuple[int, int]] = []
        for flat in lowest[:12]:
            at = (int(flat) // part.shape[1] + y0, int(flat) % part.shape[1] + x0)
            far = all(abs(at[0] - b[0]) + abs(at[1] - b[1]) > 4 for b in chosen)
            if score[at] < min(0.0, examples.threshold - 0.2) and far and max(abs(at[0] - y), abs(at[1] - x)) > 1:
                chosen.append(at)
            if len(chosen) == 2:
                break
        for column, at in enumerate(chosen, 1):
            clicks[number, column] = ((at[0] + 0.5) * pixels - 0.5, (at[1] + 0.5) * pixels - 0.5, 0)
    return clicks


def _threshold(found: Sequence[Example], kernels: Float32, all_of_them: Examples) -> float:
    """The lowest score that an example gets from the others; from its own tokens where it is alone."""
    if len(found) == 1:
        own = all_of_them.scores(found[0].inside)
        return max(FLOOR, float(np.median(own)) - 2 * SLACK)
    least = []
    for number, one in enumerate(found):
        rest = np.delete(kernels, number, axis=0)
        without = replace(all_of_them, objects=_prototypes(rest, CLUSTERS))
        least.append(float(np.max(without.scores(one.inside))))
    return max(FLOOR, min(least) - SLACK)


def _prototypes(vectors: Float32, count: int) -> Float32:
    """At most `count` unit vectors that stand for many [m, D]: all of few, else k-means centres."""
    if len(vectors) <= count:
        return _unit(np.asarray(vectors, np.float32))
    centres, labels = kmeans2(vectors.astype(np.float64), count, minit="++", seed=0)
    return _unit(centres[np.unique(labels)].astype(np.float32))


def _unit(vectors: Float32) -> Float32:
    length = np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    unit: Float32 = (vectors / length).astype(np.float32)
    return unit


def _inside(shape: tuple[int, int], view: View, side: int) -> npt.NDArray[np.bool_]:
    cell = view.box.height / side
    middle = (np.arange(side) + 0.5) * cell
    inside: npt.NDArray[np.bool_] = (middle + view.box.y0 < shape[0])[:, None] & (middle + view.box.x0 < shape[1])[None]
    return inside

"""The order of what was found to be similar, and how much of it is right, from what the user has said so far.

Every accepted proposal is a further example, every rejected one further background, at once: a proposal's score is its
likeness to the nearest of the former less that to the nearest of the latter, never counting itself. The vectors lie in
a file beside the project (`<project>.similar.npz`); without it the proposals keep the scores that they came with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression

from napari_relay.fullimage.candidates import Candidate
from napari_relay.fullimage.similar import Examples, likeness, sureness
from napari_relay.store import ObjectState, ProjectReader
from napari_relay.views.values import Float32

Ids = npt.NDArray[np.int64]
MOST_DECISIONS = 500
"""The latest decisions of each kind that become prototypes."""
Z = 1.96


@dataclass(frozen=True, slots=True)
class Precision:
    """Estimated share of right ones among `count` proposals at or above a threshold, of which `decided` were looked at:
    `share`, and the ends of its 95 % interval; all None before the first decision."""

    share: float | None
    low: float | None
    high: float | None
    count: int
    decided: int


@dataclass(frozen=True, eq=False, slots=True)
class Ranked:
    """Proposals of a search with their present scores, the most similar first.

    ids int64 [n], scores float32 [n], decisions int8 [n]: 1 accepted, 0 rejected, -1 still open.
    """

    ids: Ids
    scores: Float32
    decisions: npt.NDArray[np.int8]

    @property
    def open_ids(self) -> Ids:
        """Those that wait for somebody to look at them."""
        return self.ids[self.decisions < 0]

    def above(self, threshold: float) -> Ids:
        """Open ones with at least this score."""
        return self.ids[(self.decisions < 0) & (self.scores >= threshold)]

    def precision(self, threshold: float) -> Precision:
        """How many of those with at least this score are right, as far as the decisions tell."""
        above = self.scores >= threshold
        known = self.decisions >= 0
        count, decided = int(above.sum()), int((above & known).sum())
        if not known.any() or count == 0:
            return Precision(None, None, None, count, decided)
        chances = _calibrated(self.scores[known], self.decisions[known] > 0, self.scores)
        chances = np.where(known, self.decisions > 0, chances)
        share = float(chances[above].mean())
        low, high = _wilson(share, max(1, decided))
        return Precision(share, low, high, count, decided)


def similar_file(project: Path) -> Path:
    """Where the vectors of a project's latest search lie."""
    return project.with_name(f"{project.name}.similar.npz")


def save_search(project: Path, ids: Sequence[int], found: Sequence[Candidate], examples: Examples) -> None:
    """Keep the vectors of proposals for `rank`."""
    vectors = [one.vector for one in found if one.vector is not None]
    scores = np.array([one.score for one in found], np.float32)
    path = similar_file(project)
    partial = path.with_name(f"{path.name}.partial.npz")
    np.savez(
        partial,
        ids=np.array(ids, np.int64),
        vectors=np.array(vectors, np.float32),
        scores=scores,
        objects=examples.objects,
        ground=examples.ground,
        numbers=np.array([examples.threshold, examples.diameter]),
        step=examples.step,
    )
    partial.replace(path)


def rank(project: ProjectReader) -> Ranked | None:
    """Order the proposals of the latest search anew; None where there was none."""
    path = similar_file(project.path)
    if not path.exists():
        return None
    with np.load(path) as kept:
        ids, vectors, scores = kept["ids"], kept["vectors"], kept["scores"]
        threshold, diameter = (float(value) for value in kept["numbers"])
        examples = Examples(kept["objects"], kept["ground"], threshold, diameter, int(kept["step"]))
    states = {stored.id: stored.state for stored in project.rows([int(i) for i in ids])}
    here = np.array([int(i) in states for i in ids], bool)
    ids, vectors, scores = ids[here], vectors[here], scores[here]
    decisions = np.array([_decision(states[int(i)]) for i in ids], np.int8)
    fresh = _scores(examples, vectors, scores, decisions)
    order = np.lexsort((ids, -fresh))
    return Ranked(ids[order], fresh[order], decisions[order])


def _decision(state: str) -> int:
    if state == ObjectState.PROPOSED:
        return -1
    return 0 if state == ObjectState.REJECTED else 1


def _scores(examples: Examples, vectors: Float32, scores: Float32, decisions: npt.NDArray[np.int8]) -> Float32:
    """Present scores [n]: mask quality x likeness to objects and unlikeness to ground, itself left out."""
    if len(vectors) == 0:
        return np.zeros(0, np.float32)
    quality = scores / np.maximum(likeness(examples, vectors), 1e-6)
    like = (vectors @ examples.objects.T).max(axis=1)
    unlike = (vectors @ examples.ground.T).max(axis=1) if len(examples.ground) else np.zeros(len(vectors), np.float32)
    like = np.maximum(like, _nearest(vectors, np.flatnonzero(decisions == 1)))
    unlike = np.maximum(unlike, _nearest(vectors, np.flatnonzero(decisions == 0)))
    result: Float32 = np.clip(quality * sureness(like - unlike, examples.threshold), 0, 1).astype(np.float32)
    return result


def _nearest(vectors: Float32, chosen: npt.NDArray[np.intp]) -> Float32:
    """Largest cosine of each vector to the chosen others; -1 where there are none."""
    chosen = chosen[-MOST_DECISIONS:]
    cosines = np.full((len(vectors), len(chosen) + 1), -1.0, np.float32)
    cosines[:, :-1] = vectors @ vectors[chosen].T
    cosines[chosen, np.arange(len(chosen))] = -1.0
    nearest: Float32 = cosines.max(axis=1)
    return nearest


def _calibrated(scores: Float32, right: npt.NDArray[np.bool_], wanted: Float32) -> npt.NDArray[np.float64]:
    """Chance to be right at the scores `wanted`: isotonic regression on the decisions, with half a decision "wrong" at
    score 0 and half a one "right" at score 1."""
    x = np.concatenate([[0.0], scores, [1.0]])
    y = np.concatenate([[0.0], right, [1.0]]).astype(float)
    weights = np.concatenate([[0.5], np.ones(len(scores)), [0.5]])
    order = np.lexsort((y, x))
    fitted = isotonic_regression(y[order], weights=weights[order]).x
    chances: npt.NDArray[np.float64] = np.interp(wanted, x[order], fitted)
    return chances


def _wilson(share: float, count: int) -> tuple[float, float]:
    """95 % interval of a share of `count` (Wilson's score)."""
    middle = (share + Z**2 / (2 * count)) / (1 + Z**2 / count)
    half = Z / (1 + Z**2 / count) * np.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    return float(max(0.0, middle - half)), float(min(1.0, middle + half))

"""Training targets from a label crop: one object, or several that an annotator could mean as one.

In sets that divide the whole picture into regions any neighbours may be merged, in sets of parts the whole
of the parts is an object too; elsewhere two objects are now and then clicked together (RITM:
`merge_objects_prob`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MERGES = ("none", "neighbours", "whole")
"""What may be merged: nothing; neighbouring regions; neighbours or everything that hangs together."""


@dataclass(frozen=True, slots=True)
class TargetLaw:
    """How targets are drawn; probabilities a target.

    power, least_px, most_px : P(object) is proportional to its area, clipped to these pixels, to this power.
    merge_p : neighbours are merged where the set allows it (half of the time everything, in sets of parts).
    pair_p : two objects anywhere become one target with two parts.
    """

    power: float = -0.25
    least_px: int = 12
    most_px: int = 4000
    merge_p: float = 0.3
    pair_p: float = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """What is to be cut out.

    mask : int64 [H, W]: 1 object, 0 not, -1 ignore.
    others : bool [H, W], pixels of other objects.
    labels : numbers of the objects in the target.
    parts : bool [2, H, W], the separate objects of a pair; the second is empty for any other target.
    """

    mask: npt.NDArray[np.int64]
    others: npt.NDArray[np.bool_]
    labels: tuple[int, ...]
    parts: npt.NDArray[np.bool_]


def draw_target(
    labels: npt.NDArray[np.integer], rng: np.random.Generator, merge: str = "none", law: TargetLaw | None = None
) -> Target | None:
    """Draw a target from a label crop.

    Parameters
    ----------
    labels : integer [H, W]: 0 nothing, 1.. objects, -1 ignore.
    merge : one of `MERGES`, what the picture's set allows.

    Returns
    -------
    Target or None
        None where no object has `least_px` pixels.
    """
    law = law or TargetLaw()
    areas = np.bincount(np.maximum(labels, 0).ravel())
    areas[0] = 0
    found = np.flatnonzero(areas >= law.least_px)
    u, draws = rng.random(3), rng.random(8)  # always as many numbers, whatever happens below
    if found.size == 0:
        return None
    weights = np.clip(areas[found], law.least_px, law.most_px) ** law.power
    first = int(found[_pick(weights, u[0])])
    chosen = {first}
    second = np.zeros(labels.shape, bool)
    if merge != "none" and u[1] < law.merge_p:
        chosen |= _neighbours(labels, first, draws, whole=merge == "whole" and u[2] < 0.5)
    elif u[1] >= 1 - law.pair_p and found.size > 1:
        rest = found[found != first]
        other = int(rest[int(draws[0] * rest.size)])
        chosen.add(other)
        second = labels == other
    inside = np.isin(labels, sorted(chosen))
    mask = np.where(labels < 0, -1, inside.astype(np.int64))
    return Target(mask, (labels > 0) & ~inside, tuple(sorted(chosen)), np.stack([inside & ~second, second]))


def touching(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Pairs of objects that share an edge of pixels and the length of it, int64 [n, 3], the smaller number
    first.
    """
    across = np.stack([labels[:, :-1].ravel(), labels[:, 1:].ravel()])
    down = np.stack([labels[:-1].ravel(), labels[1:].ravel()])
    pairs = np.sort(np.concatenate([across, down], axis=1).astype(np.int64), axis=0)
    pairs = pairs[:, (pairs[0] > 0) & (pairs[0] != pairs[1])]
    unique, lengths = np.unique(pairs, axis=1, return_counts=True)
    return np.concatenate([unique, lengths[None]]).T


def _neighbours(
    labels: npt.NDArray[np.integer], first: int, draws: npt.NDArray[np.float64], *, whole: bool
) -> set[int]:
    """Objects to merge with `first`: all that hang together with it, or one to three, longer borders more
    often.
    """
    pairs = touching(labels)
    merged = {first}
    for number in range(len(pairs) + 1 if whole else 1 + int(draws[0] ** 2 * 3)):
        meets = [a in merged for a in pairs[:, 0].tolist()], [b in merged for b in pairs[:, 1].tolist()]
        edge = np.flatnonzero(np.array(meets[0], bool) ^ np.array(meets[1], bool))
        if edge.size == 0:
            break
        if whole:
            merged |= set(pairs[edge, :2].ravel().tolist())
        else:
            merged |= set(pairs[edge[_pick(pairs[edge, 2], draws[1 + number])], :2].tolist())
    return merged


def _pick(weights: npt.NDArray[np.floating | np.integer], u: float) -> int:
    """Index drawn with probability proportional to its weight."""
    limits = np.cumsum(weights, dtype=np.float64)
    return min(int(np.searchsorted(limits, u * limits[-1], side="right")), len(limits) - 1)

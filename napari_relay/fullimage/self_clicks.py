"""Where to click when nobody does: mean-shift clusters of the contrast space, one click a cluster.

A grid of clicks asks every part of the ground as often as the objects. Mean shift in the joint space of position and
likeness (Comaniciu and Meer, "Mean shift: a robust approach toward feature space analysis", PAMI 2002) gathers the
tokens of one object into one mode.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from napari_relay.views.values import VIEW_SIDE, Float32

REACH = 1.2
"""Bandwidth of positions in tokens: a third of an object of the usual size."""
LIKENESS = 0.12
"""Bandwidth of likeness: a cosine that is smaller by this counts 1/e."""
STEPS = 8
APART = 1.5
"""Tokens by which two clicks are at least apart."""

Float64 = npt.NDArray[np.float64]


def self_clicks(space: Float32, inside: npt.NDArray[np.bool_], limit: int) -> Float32:
    """Places to click, the most distinct first.

    Parameters
    ----------
    space : unit vectors of the tokens, float32 [h, w, D].
    inside : bool [h, w], tokens whose middle lies in the image and may be clicked.
    limit : at most that many.

    Returns
    -------
    float32 [n, 2], (y, x) in view pixels.
    """
    side = space.shape[0]
    vectors = space.reshape(-1, space.shape[2]).astype(np.float64)  # [N, D]
    places = np.stack(np.divmod(np.arange(len(vectors)), side), axis=1).astype(np.float64)  # [N, 2]
    usable = inside.ravel()
    if not usable.any():
        return np.zeros((0, 2), np.float32)
    modes, density = _shifted(places, vectors, usable)
    distinct = _distinctness(places, vectors, usable)
    # A click lies at the token nearest to its mode, so that it is on the object and not between its tokens.
    owner = ((modes[:, None] - places[None]) ** 2).sum(-1)
    owner[:, ~usable] = np.inf
    chosen = np.unique(owner[usable].argmin(axis=1))
    order = chosen[np.lexsort((chosen, -density[chosen], -np.round(distinct[chosen], 6)))]
    kept = _spread(places, order, limit)
    pixels = VIEW_SIDE / side
    clicks: Float32 = ((places[kept] + 0.5) * pixels - 0.5).astype(np.float32)
    return clicks


def _shifted(places: Float64, vectors: Float64, usable: npt.NDArray[np.bool_]) -> tuple[Float64, Float64]:
    """Where each token's mean shift ends [N, 2], and the density there [N]."""
    at, look = places.copy(), vectors.copy()
    density = np.zeros(len(places))
    for _ in range(STEPS):
        near = np.exp(-((at[:, None] - places[None]) ** 2).sum(-1) / (2 * REACH**2))
        weight = near * np.exp((look @ vectors.T - 1) / LIKENESS) * usable[None]
        density = weight.sum(axis=1)
        share = weight / np.maximum(density, 1e-12)[:, None]
        at, look = share @ places, share @ vectors
        look /= np.maximum(np.linalg.norm(look, axis=1, keepdims=True), 1e-12)
    return at, density


def _distinctness(places: Float64, vectors: Float64, usable: npt.NDArray[np.bool_]) -> Float64:
    """How little a token resembles what lies 3 to 6 tokens away, 0..2: [N]."""
    distance = np.abs(places[:, None] - places[None]).max(-1)
    ring = ((distance >= 3) & (distance <= 6) & usable[None]).astype(np.float64)
    around = ring @ vectors / np.maximum(ring.sum(axis=1), 1)[:, None]
    distinct: Float64 = 1 - (vectors * around).sum(axis=1)
    return distinct


def _spread(places: Float64, order: npt.NDArray[np.intp], limit: int) -> list[int]:
    """The first `limit` of the order that are apart from all before."""
    kept: list[int] = []
    for index in order:
        if all(np.hypot(*(places[index] - places[other])) >= APART for other in kept):
            kept.append(int(index))
            if len(kept) == limit:
                break
    return kept

"""Losses of tokens: click contrast (InfoNCE and soft-margin triplet) and token scores.

Tokens are [B, N, d]; what lies under a token is its foreground share in [0, 1], [B, N] (see `cell_shares`).
A sample to which a loss does not apply (no positive click, no token of one side) adds 0 and no gradient.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from relay_training.losses import IGNORE, Reduction

FOREGROUND_SHARE, BACKGROUND_SHARE = 0.9, 0.1


class Shares(NamedTuple):
    """Foreground share of each cell [B, h * w] and whether the cell counts [B, h * w] (bool)."""

    share: Tensor
    valid: Tensor


class Distances(NamedTuple):
    """Mean distance of the anchor to foreground and background tokens [B], and which samples have both [B]
    (bool).
    """

    positive: Tensor
    negative: Tensor
    used: Tensor


def cell_shares(target: Tensor, cells: int) -> Shares:
    """Foreground share of a `cells` x `cells` grid over the target [B, H, W] or [B, 1, H, W], row by row.

    A cell with an ignored pixel does not count. `cells` must divide H and W.
    """
    y = target.float().reshape(target.shape[0], 1, *target.shape[-2:])
    if y.shape[-2] % cells or y.shape[-1] % cells:
        raise ValueError(f"A grid of {cells} cells does not divide a target of {tuple(y.shape[-2:])}.")
    block = (y.shape[-2] // cells, y.shape[-1] // cells)
    known = (y != IGNORE).float()
    return Shares(
        F.avg_pool2d(y * known, block).flatten(1),
        F.avg_pool2d(known, block).flatten(1) > 1 - 0.5 / (block[0] * block[1]),
    )


def infonce(
    tokens: Tensor,
    share: Tensor,
    anchors: Tensor,
    anchor_valid: Tensor,
    negative_anchors: Tensor | None = None,
    negative_valid: Tensor | None = None,
    *,
    token_valid: Tensor | None = None,
    tau: float = 0.07,
    max_positives: int = 256,
    hard_negatives: int = 512,
    random_negatives: int = 256,
    generator: torch.Generator | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Multi-positive InfoNCE between clicks and tokens (after van den Oord et al.,
    arXiv 1807.03748, and SupCon, Khosla et al., NeurIPS 2020).

    `mean_a mean_{p in P} -log( e^{a.p/tau} / (e^{a.p/tau} + sum_{q in Q} e^{a.q/tau}) )`, plus the mirrored
    term with negative clicks as anchors and P, Q swapped.

    Parameters
    ----------
    tokens : Tensor
        [B, N, d] unit vectors.
    share : Tensor
        [B, N] foreground share; P = share >= 0.9, Q = share <= 0.1, others unused.
    anchors, anchor_valid : Tensor
        [B, A, d] unit vectors (positive click embeddings and their kernel) and [B, A] which exist.
    negative_anchors, negative_valid : Tensor, optional
        The same for negative clicks.
    token_valid : Tensor, optional
        [B, N], False for tokens that count neither way.
    max_positives, hard_negatives, random_negatives : int
        Per sample: at most so many positives (drawn at random), the negatives nearest to any anchor, and
        random ones of the rest.
    generator : torch.Generator, optional
        Of the random draws; the global one without it.
    reduction : "mean" over the samples that have the term, or "none" ([B], 0 for the others).
    """
    z = tokens.float()
    known = torch.ones_like(share, dtype=torch.bool) if token_valid is None else token_valid.bool()
    inside, outside = (share >= FOREGROUND_SHARE) & known, (share <= BACKGROUND_SHARE) & known
    limits = (max_positives, hard_negatives, random_negatives)
    loss, used = _infonce_term(z, inside, outside, anchors.float(), anchor_valid.bool(), tau, limits, generator)
    if negative_anchors is not None and negative_valid is not None:
        mirrored, also = _infonce_term(
            z, outside, inside, negative_anchors.float(), negative_valid.bool(), tau, limits, generator
        )
        loss, used = loss + mirrored, used | also
    return _over_used(loss, used, reduction)


def triplet(
    tokens: Tensor,
    share: Tensor,
    kernel: Tensor,
    valid: Tensor | None = None,
    *,
    token_valid: Tensor | None = None,
    raw: bool = False,
    reduction: Reduction = "mean",
) -> Tensor:
    """Soft-margin triplet on mean distances, `log(1 + exp(-(D- - D+)))` (Xu et al.: MST, TCSVT 2025,
    released loss).

    Parameters
    ----------
    tokens : Tensor
        [B, N, d].
    share : Tensor
        [B, N] foreground share (or 0 / 1 sampled by nearest neighbour, as released).
    kernel : Tensor
        [B, d], the click kernel; a zero one (no positive click) leaves its sample out.
    valid : Tensor, optional
        [B], samples that have a positive click.
    raw : bool
        False: unit vectors. True: as released, tokens of any length (give them with their position vectors).
    """
    d = triplet_distances(tokens, share, kernel, valid, token_valid=token_valid, raw=raw)
    return _over_used(F.softplus(d.positive - d.negative) * d.used, d.used, reduction)


def triplet_distances(
    tokens: Tensor,
    share: Tensor,
    kernel: Tensor,
    valid: Tensor | None = None,
    *,
    token_valid: Tensor | None = None,
    raw: bool = False,
) -> Distances:
    """D+ and D- of `triplet`."""
    z, anchor = tokens.float(), kernel.float()
    if not raw:
        z, anchor = F.normalize(z, dim=-1), F.normalize(anchor, dim=-1)
    known = torch.ones_like(share, dtype=torch.bool) if token_valid is None else token_valid.bool()
    inside, outside = (share >= FOREGROUND_SHARE) & known, (share <= BACKGROUND_SHARE) & known
    used = inside.any(1) & outside.any(1) & (kernel != 0).any(1)
    if valid is not None:
        used = used & valid.bool()
    distance = torch.linalg.vector_norm(anchor[:, None] - z, dim=-1)  # [B, N]
    return Distances(_masked_mean(distance, inside), _masked_mean(distance, outside), used)


def token_score_loss(
    scores: Tensor,
    share: Tensor,
    valid: Tensor | None = None,
    *,
    token_valid: Tensor | None = None,
    kind: Literal["focal", "mse"] = "focal",
    alpha: float = 0.25,
    gamma: float = 2.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """Focal BCE of token scores against the foreground share (Lin et al., ICCV 2017, with the soft-target
    focus |t - s|^gamma of Li et al., NeurIPS 2020); "mse" as in MST's 224 px release.

    Parameters
    ----------
    scores, share : Tensor
        [B, N] in [0, 1].
    valid : Tensor, optional
        [B], samples that have a positive click. Samples whose scores are all 0 are left out as well.
    """
    s, t = scores.float(), share.float()
    known = torch.ones_like(t, dtype=torch.bool) if token_valid is None else token_valid.bool()
    if kind == "mse":
        token = (s - t) ** 2
    else:
        safe = s.clamp(1e-6, 1 - 1e-6)
        entropy = -(t * safe.log() + (1 - t) * (1 - safe).log())
        token = (alpha * t + (1 - alpha) * (1 - t)) * (t - s).abs() ** gamma * entropy
    used = (scores != 0).any(1) & known.any(1)
    if valid is not None:
        used = used & valid.bool()
    return _over_used(_masked_mean(token, known) * used, used, reduction)


def _infonce_term(
    z: Tensor,
    positives: Tensor,
    negatives: Tensor,
    anchors: Tensor,
    anchor_valid: Tensor,
    tau: float,
    limits: tuple[int, int, int],
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor]:
    """One direction of `infonce`: loss [B] (0 where unused) and used [B]."""
    used = positives.any(1) & negatives.any(1) & anchor_valid.any(1)
    # An absent anchor may hold anything, NaN too: it must not touch the gradient.
    a = torch.where(anchor_valid[..., None], anchors, 0.0)
    similarity = torch.einsum("bad,bnd->ban", a, z) / tau  # [B, A, N]
    chosen = _limit_random(positives, limits[0], generator)
    rest = _hard_and_random(similarity.detach(), anchor_valid, negatives, limits[1], limits[2], generator)
    against = similarity.masked_fill(~rest[:, None], float("-inf"))
    against = torch.where(used[:, None, None], against, 0.0).logsumexp(dim=2, keepdim=True)  # [B, A, 1]
    pair = F.softplus(against - similarity)  # [B, A, N]
    per_anchor = (pair * chosen[:, None]).sum(2) / chosen.sum(1)[:, None].clamp_min(1)
    loss = (per_anchor * anchor_valid).sum(1) / anchor_valid.sum(1).clamp_min(1)
    return torch.where(used, loss, 0.0), used


def _limit_random(mask: Tensor, limit: int, generator: torch.Generator | None) -> Tensor:
    """At most `limit` True per row of `mask` [B, N], drawn at random."""
    if limit >= mask.shape[1] or int(mask.sum(1).max()) <= limit:
        return mask
    order = torch.rand(mask.shape, generator=generator, device=mask.device).masked_fill(~mask, -1.0)
    picked = torch.zeros_like(mask).scatter(1, order.topk(limit, dim=1).indices, True)
    return picked & mask


def _hard_and_random(
    similarity: Tensor,
    anchor_valid: Tensor,
    mask: Tensor,
    hard: int,
    extra: int,
    generator: torch.Generator | None,
) -> Tensor:
    """The `hard` tokens of `mask` nearest to any anchor, and `extra` random ones of the rest."""
    if int(mask.sum(1).max()) <= hard + extra:
        return mask
    nearness = similarity.masked_fill(~anchor_valid[..., None], float("-inf")).amax(1).masked_fill(~mask, float("-inf"))
    top = nearness.topk(min(hard, mask.shape[1]), dim=1).indices
    hardest = torch.zeros_like(mask).scatter(1, top, True) & mask
    return hardest | _limit_random(mask & ~hardest, extra, generator)


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum(1) / mask.sum(1).clamp_min(1)


def _over_used(loss: Tensor, used: Tensor, reduction: Reduction) -> Tensor:
    return loss.sum() / used.sum().clamp_min(1) if reduction == "mean" else loss

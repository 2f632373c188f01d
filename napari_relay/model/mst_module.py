"""The multi-scale token module of MST, as published.

Xu et al., "Adaptive multi-scale tokens for clicks" (MST, arXiv 2401.04403; IEEE TCSVT 2025), section on the multi-scale
token module, with the numbers of the released code. Small and large tokens are updated from the base tokens, scored by
their likeness to a click kernel, the best are chosen, and they refine the base tokens. The product has its own version
for a hierarchical encoder (`scales.py`); this one reproduces the paper's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_relay.errors import UsageError
from napari_relay.model.contrast import click_kernel
from napari_relay.model.layers import map_of, tokens_of
from napari_relay.model.scales import gather


@dataclass(frozen=True, slots=True)
class MSTConfig:
    """Sizes and choices; the defaults are those of the 448 px release (`main`) with gates that start shut.

    small_patch, large_patch : the text says 28 for large, the released code uses 32.
    before : blocks, counted from 1, that have a module in front.
    keep_ratio : one token in so many is chosen.
    reduction : stride of the convolution that thins the keys of the update; 1 = none.
    trim : drop up to 10 chosen tokens whose score is not above 0.65.
    kernel : `attention` (parameter-free self-attention of the clicked tokens, normalised) or their `mean`.
    gate : start of the gates; 1 in the 448 px release, where training never sees the plain network.
    last : `gated`, or `mlp`: no gate and an MLP behind it, with 8 heads (224 px release).
    """

    small_patch: int = 8
    large_patch: int = 32
    before: tuple[int, ...] = (4, 8, 12)
    keep_ratio: int = 16
    reduction: int = 4
    trim: bool = True
    kernel: Literal["attention", "mean"] = "attention"
    gate: float = 0.0
    last: Literal["gated", "mlp"] = "gated"

    def __post_init__(self) -> None:
        if self.large_patch not in (28, 32):
            raise UsageError(f"large_patch is {self.large_patch}.", "Choose 28 or 32.")

    @classmethod
    def release_224(cls) -> MSTConfig:
        """The 224 px release."""
        return cls(before=(1, 5, 9), keep_ratio=8, reduction=1, trim=False, kernel="mean", last="mlp")


@dataclass(frozen=True, eq=False)
class Chosen:
    """Tokens of one scale that were chosen, and what the losses look at.

    scores [B, N] in 0..1 of all tokens (all 0 without a positive click); index [B, k]; kept [B, k], False for slots
    that were trimmed; tokens [B, k, C], 0 where trimmed, and placed: the same plus their position vectors.
    """

    scores: Tensor
    index: Tensor
    kept: Tensor
    tokens: Tensor
    placed: Tensor


@dataclass(frozen=True, eq=False)
class Trace:
    """What one module did: the click kernel [B, C] (0 without a positive click), small and large tokens."""

    kernel: Tensor
    small: Chosen
    large: Chosen


class CrossAttention(nn.Module):
    """Pre-norm attention from tokens [B, N, C] to tokens [B, M, C]; q, k and v have no bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_query, self.norm_key = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.kv = nn.Linear(width, width, bias=False), nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, keys: Tensor, kept: Tensor) -> Tensor:
        """`kept` [B, M]: keys that count; a sample without any gets 0."""
        some = kept.any(dim=1)[:, None, None]
        mask = (kept[:, None] | ~some)[:, None]  # [B, 1, 1, M]; never empty, so that no softmax is 0 / 0
        k, v = self.kv(self.norm_key(keys)).chunk(2, dim=-1)
        y = attend(self.q(self.norm_query(x)), k, v, self.heads, mask)
        return self.out(y) * some


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """Multi-head attention of projected tokens [B, N, C]."""
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))  # [B, heads, N, d]
    return F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(2)


def two_layers(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))


class TokenUpdate(nn.Module):
    """Step 1: `x_m + Expert_m(Attn(Wq LN x_m, Wkv LN x_b))`, then an MLP; projections shared by the scales.

    With a reduction the base map is thinned first by a convolution and LN: 28 x 28 to 7 x 7 keys.
    """

    def __init__(self, width: int, reduction: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm_scale, self.norm_base = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.kv = nn.Linear(width, width, bias=False), nn.Linear(width, 2 * width, bias=False)
        self.reduce = nn.Conv2d(width, width, reduction, stride=reduction) if reduction > 1 else None
        self.norm_reduced = nn.LayerNorm(width) if reduction > 1 else nn.Identity()
        self.experts = nn.ModuleList(two_layers(width) for _ in range(2))
        self.norm_mlp, self.mlp = nn.LayerNorm(width), two_layers(width)

    def forward(self, scales: Sequence[Tensor], base: Tensor) -> list[Tensor]:
        keys = self.norm_base(base)
        if self.reduce is not None:
            keys = tokens_of(self.reduce(map_of(keys, round(keys.shape[1] ** 0.5))))
        k, v = self.kv(self.norm_reduced(keys)).chunk(2, dim=-1)
        updated = []
        for x, expert in zip(scales, self.experts, strict=True):
            x = x + expert(attend(self.q(self.norm_scale(x)), k, v, self.heads))
            updated.append(x + self.mlp(self.norm_mlp(x)))
        return updated


class MultiScaleModule(nn.Module):
    """One module: base tokens and both scales in, the same out, and a `Trace`."""

    def __init__(self, width: int, config: MSTConfig) -> None:
        super().__init__()
        self.config = config
        self.update = TokenUpdate(width, config.reduction)
        self.large_to_small = CrossAttention(width, 2)
        self.gamma = nn.Parameter(torch.full((width,), config.gate))
        gated = config.last == "gated"
        self.to_base = CrossAttention(width, 4 if gated else 8)
        self.gamma_base = nn.Parameter(torch.full((width,), config.gate)) if gated else None
        self.norm_last = None if gated else nn.LayerNorm(width)
        self.mlp_last = None if gated else two_layers(width)

    def forward(
        self, base: Tensor, scales: Sequence[Tensor], places: Sequence[Tensor], clicked: Tensor, positive: Tensor
    ) -> tuple[Tensor, list[Tensor], Trace]:
        """Refine base tokens [B, N, C].

        Parameters
        ----------
        scales : small and large tokens [B, Ns, C], [B, Nl, C].
        places : their position vectors [1, Ns, C], [1, Nl, C].
        clicked : base token under each click [B, n].
        positive : which clicks are positive [B, n]; padding and negative clicks build no kernel.
        """
        scales = self.update(scales, base)
        kernel = self.kernel(base, clicked, positive)
        small, large = (self.choose(x, p, kernel, positive) for x, p in zip(scales, places, strict=True))
        z = small.placed + self.gamma * self.large_to_small(small.placed, large.placed, large.kept)
        refined = self.to_base(base, z, small.kept)
        if self.gamma_base is not None:
            base = base + self.gamma_base * refined
        else:
            assert self.norm_last is not None
            assert self.mlp_last is not None
            base = base + refined
            base = base + self.mlp_last(self.norm_last(base))
        return base, scales, Trace(kernel, small, large)

    def kernel(self, base: Tensor, clicked: Tensor, positive: Tensor) -> Tensor:
        """Step 2: one vector [B, C] for the base tokens under positive clicks; 0 without one."""
        tokens = base.gather(1, clicked[..., None].expand(-1, -1, base.shape[-1]))
        if self.config.kernel == "attention":
            return click_kernel(tokens, positive)
        return (tokens * positive[..., None]).sum(1) / positive.sum(1, keepdim=True).clamp_min(1)

    def choose(self, x: Tensor, place: Tensor, kernel: Tensor, positive: Tensor) -> Chosen:
        """Steps 3-5: score, hard top-k, and a gather whose backward pass reaches the scores (straight-through)."""
        scores = (F.cosine_similarity(x, kernel[:, None], dim=-1) + 1) / 2 * positive.any(1, keepdim=True)
        k = max(1, x.shape[1] // self.config.keep_ratio)
        best, index = scores.topk(k, dim=1)  # best first
        count = (best > 0.65).sum(1, keepdim=True).clamp(max(1, k - 10), k) if self.config.trim else k
        # Without a positive click all scores are 0, and so is every row of the selection matrix.
        kept = (torch.arange(k, device=x.device)[None] < count) & (best > 0)
        rows = place.expand(len(x), -1, -1)
        return Chosen(
            scores, index, kept, gather(x, scores, index) * kept[..., None],
            gather(x + rows, scores, index) * kept[..., None],
        )  # fmt: skip

"""Multi-scale tokens: small (8 px) and large (32 px) tokens chosen by their likeness to the clicks refine the base.

After "Adaptive multi-scale tokens for clicks" (MST, arXiv 2401.04403). In the product the encoder's hierarchy gives
the small and large tokens; selection is a hard top-k with a straight-through gradient to the scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_relay.model.contrast import ClickKernels, cosine
from napari_relay.model.layers import Attention, tokens_of


@dataclass(frozen=True, eq=False)
class TokenScores:
    """What the losses and `explain` look at: scores [B, N] of all tokens of each scale, indices [B, k] of the small
    tokens that were chosen."""

    small: Tensor
    large: Tensor
    small_index: Tensor


def uncertain_band(previous: Tensor, side: int) -> Tensor:
    """Cells [B, side * side] whose previous probability is in (0.1, 0.9) or that touch its outline."""
    probability = F.adaptive_avg_pool2d(previous.float().sigmoid(), side)
    inside = (probability > 0.5).float()
    touches = F.max_pool2d(inside, 3, 1, 1) - inside + F.max_pool2d(1 - inside, 3, 1, 1) - (1 - inside)
    return (((probability > 0.1) & (probability < 0.9)) | (touches > 0)).flatten(1)


def choose(scores: Tensor, count: int, band: Tensor | None) -> Tensor:
    """Indices [B, count] of the best tokens; with a band half of them come from it (first), none twice."""
    if band is None:
        return scores.topk(count, dim=1).indices
    rank = scores.detach() + 2.0 * band
    first = rank.topk(count // 2, dim=1).indices
    rest = scores.detach().scatter(1, first, -1.0)
    return torch.cat([first, rest.topk(count - count // 2, dim=1).indices], dim=1)


def gather(tokens: Tensor, scores: Tensor, index: Tensor) -> Tensor:
    """Chosen tokens [B, k, C]. Forward: a plain gather; backward: the scores get a gradient too."""
    chosen = tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[-1]))
    picked = scores.gather(1, index)[..., None]
    return chosen + chosen.detach() * (picked - picked.detach())


class MultiScaleTokens(nn.Module):
    """Refine base tokens by chosen small and large tokens; the output gate `gamma` starts at 0."""

    def __init__(self, width: int, scale_width: int, contrast_width: int, small: int, large: int) -> None:
        super().__init__()
        self.count_small, self.count_large = small, large
        self.small_norm, self.small_in = nn.LayerNorm(128), nn.Linear(128, scale_width)
        self.large_in = nn.Linear(width, scale_width)
        self.position = nn.Linear(width, scale_width)
        self.norm_query, self.norm_base = nn.LayerNorm(scale_width), nn.LayerNorm(width)
        self.update = Attention(scale_width, scale_width, 4, key_width=width)
        self.to_space = nn.Linear(scale_width, contrast_width)
        self.doubt = nn.Parameter(torch.zeros(()))  # weight of the likeness to negative clicks
        self.norm_small, self.norm_large = nn.LayerNorm(scale_width), nn.LayerNorm(scale_width)
        self.large_to_small = Attention(scale_width, scale_width, 4)
        self.small_to_large = Attention(scale_width, scale_width, 4)
        self.norm_out, self.norm_scales = nn.LayerNorm(width), nn.LayerNorm(scale_width)
        self.out = Attention(width, scale_width, 4, key_width=scale_width)
        self.gamma = nn.Parameter(torch.zeros(width))

    def tokens(self, f8: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Click-independent tokens: small [B, 3136, C] of f8, large [B, 196, C] of the image embedding."""
        return self.small_in(self.small_norm(tokens_of(f8))), self.large_in(tokens_of(F.avg_pool2d(image, 2)))

    def _scores(self, tokens: Tensor, kernels: ClickKernels) -> Tensor:
        space = F.normalize(self.to_space(tokens).float(), dim=-1)
        both = cosine(space, torch.stack([kernels.kernel_positive, kernels.kernel_negative], dim=1))
        like, unlike = both.unbind(-1)
        score = (1 + like - self.doubt.float() * F.relu(unlike)) / 2
        return score.clamp(0, 1)

    def forward(
        self,
        x: Tensor,
        scales: tuple[Tensor, Tensor],
        codes: tuple[Tensor, Tensor],
        kernels: ClickKernels,
        previous: Tensor | None,
    ) -> tuple[Tensor, TokenScores]:
        """Base tokens [B, N, C] -> refined base tokens, and the scores for the losses.

        scales : `tokens(...)`; codes : position codes [1, Ns, C], [1, Nl, C]; previous : logits [B, 1, S, S] or None.
        """
        side = round(x.shape[1] ** 0.5)
        # 49 keys, as in the published reduction of 28 x 28 to 7 x 7: 3136 queries make this the module's main cost.
        keys = tokens_of(F.avg_pool2d(x.transpose(1, 2).unflatten(2, (side, side)), 4))
        keys = self.norm_base(keys)
        small, large = (t + self.update(self.norm_query(t), keys, keys) for t in scales)
        score_small = self._scores(small, kernels)
        score_large = self._scores(large, kernels)
        band = None if previous is None else uncertain_band(previous, round(small.shape[1] ** 0.5))
        index_small = choose(score_small, self.count_small, band)
        index_large = choose(score_large, self.count_large, None)
        z_small = self._placed(small, score_small, index_small, codes[0])
        z_large = self._placed(large, score_large, index_large, codes[1])
        q_small, q_large = self.norm_small(z_small), self.norm_large(z_large)
        z_small = z_small + self.large_to_small(q_small, q_large, q_large)
        z_large = z_large + self.small_to_large(q_large, q_small, q_small)
        z = self.norm_scales(torch.cat([z_small, z_large], dim=1))
        x = x + self.gamma * self.out(self.norm_out(x), z, z)
        return x, TokenScores(score_small, score_large, index_small)

    def _placed(self, tokens: Tensor, scores: Tensor, index: Tensor, code: Tensor) -> Tensor:
        chosen = gather(tokens, scores.to(tokens.dtype), index)
        return chosen + self.position(_rows(code.expand(len(tokens), -1, -1), index))


def _rows(x: Tensor, index: Tensor) -> Tensor:
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))

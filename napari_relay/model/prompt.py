"""Prompts to embeddings: clicks become tokens, the previous logits become a dense map.

Follows the prompt encoder of Segment Anything (Kirillov et al., ICCV 2023), whose weights the product starts from.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from napari_relay.model.layers import LayerNorm2d

PAD, NEGATIVE, POSITIVE = -1, 0, 1
"""Values of the last column of a click tensor [B, n, 3] = (y, x, label)."""


class PromptEncoder(nn.Module):
    """Clicks and previous logits to embeddings of `width` channels."""

    def __init__(self, width: int, view_side: int = 448, mask_channels: int = 16) -> None:
        super().__init__()
        self.view_side = view_side
        self.register_buffer("frequencies", torch.randn(2, width // 2))
        self.point = nn.Parameter(torch.randn(2, width) * 0.02)  # rows: negative, positive
        self.not_a_point = nn.Parameter(torch.randn(1, width) * 0.02)
        self.no_mask = nn.Parameter(torch.randn(1, width) * 0.02)
        self.mask = nn.Sequential(
            nn.Conv2d(1, mask_channels // 4, 2, stride=2),
            LayerNorm2d(mask_channels // 4),
            nn.GELU(),
            nn.Conv2d(mask_channels // 4, mask_channels, 2, stride=2),
            LayerNorm2d(mask_channels),
            nn.GELU(),
            nn.Conv2d(mask_channels, width, 1),
        )

    def position(self, yx: Tensor) -> Tensor:
        """Random Fourier code of points [..., 2] given as (y, x) in 0..1 -> [..., width]."""
        angles = 2 * math.pi * ((2 * yx.flip(-1).float() - 1) @ self.frequencies.float())
        return torch.cat([angles.sin(), angles.cos()], dim=-1).to(self.point.dtype)

    def grid(self, side: int) -> Tensor:
        """Position code of a `side` x `side` token grid: [1, side * side, width]."""
        at = (torch.arange(side, device=self.point.device) + 0.5) / side
        yx = torch.stack(torch.meshgrid(at, at, indexing="ij"), dim=-1)
        return self.position(yx.view(1, side * side, 2))

    def clicks(self, clicks: Tensor) -> tuple[Tensor, Tensor]:
        """Click tensor [B, n, 3] -> tokens [B, n + 1, width] and which of them count [B, n + 1].

        One "not a point" token stands at the end, as in the network that the weights come from; padded clicks do not
        count.
        """
        code = self.position((clicks[..., :2] + 0.5) / self.view_side)
        label = clicks[..., 2:]
        tokens = code + torch.where(label == POSITIVE, self.point[1], self.point[0])
        tokens = torch.cat([tokens, self.not_a_point.expand(len(clicks), 1, -1)], dim=1)
        valid = torch.cat([clicks[..., 2] != PAD, clicks.new_ones(len(clicks), 1, dtype=torch.bool)], dim=1)
        return tokens, valid

    def dense(self, previous: Tensor | None, has_previous: Tensor | None, batch: int, side: int) -> Tensor:
        """Previous logits [B, 1, 4 * side, 4 * side] -> [B, width, side, side].

        `has_previous` [B] tells which samples have one; the others, and all when `previous` is None, get the no-mask
        vector.
        """
        none = self.no_mask[:, :, None, None].expand(batch, -1, side, side)
        if previous is None:
            return none
        dense = self.mask(previous.to(self.no_mask.dtype))
        if has_previous is None:
            return dense
        return torch.where(has_previous[:, None, None, None], dense, none)

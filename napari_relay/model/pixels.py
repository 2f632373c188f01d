"""The pixel path: fine features of the first stages sharpen the decoder's logits.

Its output is added to the decoder's logits and its last layers start at 0. Everything that does not depend on a click
(`Fine`) is made once an encoding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_relay.model.layers import zero_


@dataclass(frozen=True, eq=False)
class Fine:
    """Click-independent features: stride 8 [B, 48, 56, 56], stride 4 [B, 32, 112, 112]."""

    stride8: Tensor
    stride4: Tensor


class PixelPath(nn.Module):
    """Refine logits at stride 4 (112 x 112 for a view of 448).

    stride 8: [64 channels of the decoder ; f8] -> 3x3 -> 64
    stride 4: [32 channels of the decoder ; stride 8 ; f4 ; cosine maps ; previous mask and click disks ; the logit]
    -> 3x3 -> 48 -> 3x3 -> 32 -> 1x1, added to the logit.
    """

    def __init__(self, decoder8: int = 64, decoder4: int = 32, cues: int = 7) -> None:
        super().__init__()
        self.f8 = nn.Sequential(nn.Conv2d(128, 48, 1), nn.GroupNorm(8, 48))
        self.f4 = nn.Sequential(nn.Conv2d(64, 32, 1), nn.GroupNorm(8, 32))
        self.mix8 = nn.Sequential(nn.Conv2d(decoder8 + 48, 64, 3, padding=1), nn.GroupNorm(8, 64), nn.GELU())
        self.down8 = nn.Conv2d(64, 24, 1)
        self.mix4 = nn.Conv2d(decoder4 + 24 + 32 + cues, 48, 3, padding=1)
        # The logit's share of the first convolution stands apart: the three masks of a first click share the rest.
        self.logit4 = nn.Conv2d(1, 48, 3, padding=1, bias=False)
        self.refine = nn.Conv2d(48, 32, 3, padding=1)
        self.out = zero_(nn.Conv2d(32, 1, 1))

    def fine(self, f4: Tensor, f8: Tensor) -> Fine:
        return Fine(self.f8(f8), self.f4(f4))

    def forward(self, fine: Fine, decoder8: Tensor, decoder4: Tensor, cues: Tensor, logits: Tensor) -> Tensor:
        """Logits [B, M, S, S] -> refined logits; cues [B, 7, S, S]."""
        b, m, side, _ = logits.shape
        stride8 = self.down8(self.mix8(torch.cat([decoder8, fine.stride8], dim=1)))
        up = F.interpolate(stride8, size=(side, side), mode="bilinear", align_corners=False)
        shared = self.mix4(torch.cat([decoder4, up, fine.stride4, cues], dim=1))
        # Squashed: the start's logits reach +-30, and only their sign and nearness to 0 matter here.
        own = self.logit4(torch.tanh(logits.flatten(0, 1)[:, None] / 4))
        hidden = F.gelu(shared.repeat_interleave(m, dim=0) + own if m > 1 else shared + own)
        update = self.out(F.gelu(self.refine(hidden)))
        return logits + update.view(b, m, side, side)

"""The click decoder: tokens and image attend to each other, the image is enlarged, each mask token reads one mask.

Follows the mask decoder of Segment Anything (Kirillov et al., ICCV 2023); the parameters carry its layout under names
of our own (`weights.py` renames). Our additions sit elsewhere (`pixels.py`, `scales.py`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_relay.model.layers import MLP, Attention, LayerNorm2d

MASKS = 4
"""Mask tokens: 0 is the single mask of later clicks, 1-3 are the alternatives of the first click."""


class TwoWayBlock(nn.Module):
    """Self-attention of the tokens, tokens to image, MLP of the tokens, image to tokens."""

    def __init__(self, width: int, heads: int, mlp_width: int, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = Attention(width, width, heads)
        self.token_to_image = Attention(width, width // 2, heads)
        self.image_to_token = Attention(width, width // 2, heads)
        self.mlp_in, self.mlp_out = nn.Linear(width, mlp_width), nn.Linear(mlp_width, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.norm3, self.norm4 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(
        self, tokens: Tensor, image: Tensor, token_code: Tensor, image_code: Tensor, valid: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        if self.first:
            tokens = self.self_attn(tokens, tokens, tokens, valid)
        else:
            q = tokens + token_code
            tokens = tokens + self.self_attn(q, q, tokens, valid)
        tokens = self.norm1(tokens)
        tokens = tokens + self.token_to_image(tokens + token_code, image + image_code, image)
        tokens = self.norm2(tokens)
        tokens = self.norm3(tokens + self.mlp_out(F.relu(self.mlp_in(tokens))))
        update = self.image_to_token(image + image_code, tokens + token_code, tokens, valid)
        return tokens, self.norm4(image + update)


class MaskDecoder(nn.Module):
    """Image tokens and click tokens to masks at stride 4."""

    def __init__(self, width: int, heads: int, mlp_width: int) -> None:
        super().__init__()
        self.iou_token = nn.Parameter(torch.randn(1, width) * 0.02)
        self.mask_tokens = nn.Parameter(torch.randn(MASKS, width) * 0.02)
        self.blocks = nn.ModuleList(TwoWayBlock(width, heads, mlp_width, first=i == 0) for i in range(2))
        self.final_attn = Attention(width, width // 2, heads)
        self.norm_final = nn.LayerNorm(width)
        self.up1 = nn.ConvTranspose2d(width, width // 4, 2, stride=2)
        self.up_norm = LayerNorm2d(width // 4)
        self.up2 = nn.ConvTranspose2d(width // 4, width // 8, 2, stride=2)
        self.mask_mlps = nn.ModuleList(MLP(width, width, width, width // 8) for _ in range(MASKS))
        self.iou_mlp = MLP(width, width, width, MASKS)

    def attend(
        self, image: Tensor, image_code: Tensor, clicks: Tensor, valid: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Image tokens [B, N, C], click tokens [B, n, C] -> output tokens [B, 5 + n, C] and image tokens."""
        own = torch.cat([self.iou_token, self.mask_tokens]).expand(len(image), -1, -1)
        tokens = code = torch.cat([own, clicks], dim=1)
        # Without padded clicks no mask is needed, and attention without one is faster.
        mask = None if bool(valid.all()) else F.pad(valid, (own.shape[1], 0), value=True)
        for block in self.blocks:
            tokens, image = block(tokens, image, code, image_code, mask)
        tokens = tokens + self.final_attn(tokens + code, image + image_code, image)
        return self.norm_final(tokens), image

    def enlarge(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Image map [B, C, s, s] -> stride 8 [B, C / 4, 2s, 2s] and stride 4 [B, C / 8, 4s, 4s]."""
        stride8 = F.gelu(self.up_norm(self.up1(image)))
        return stride8, F.gelu(self.up2(stride8))

    def masks(self, tokens: Tensor, stride4: Tensor, which: slice) -> tuple[Tensor, Tensor]:
        """Logits [B, M, 4s, 4s] of the mask tokens in `which`, and predicted IoU [B, M]."""
        chosen = range(MASKS)[which]
        weights = torch.stack([self.mask_mlps[i](tokens[:, 1 + i]) for i in chosen], dim=1)  # [B, M, C / 8]
        logits = (weights @ stride4.flatten(2)).unflatten(2, stride4.shape[2:])
        return logits, self.iou_mlp(tokens[:, 0])[:, which]

"""SimpleClick with MST: clicks enter before a plain ViT, and multi-scale tokens refine it on the way (early fusion).

SimpleClick (Liu et al., ICCV 2023, arXiv 2210.11006): image and prompt map (previous mask, positive and negative disks)
go through patch embeddings of the same shape and are added; a plain ViT, a simple feature pyramid, an all-MLP head.
MST (Xu et al., arXiv 2401.04403) puts `MultiScaleModule`s in front of some blocks. For reproduction and comparison: the
encoder runs again at every click, which the product (clicks enter after the encoder) does not do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from napari_relay.errors import UsageError
from napari_relay.model.adaptive_patch import AdaptivePatchEmbed, resize_positions
from napari_relay.model.contrast import disks
from napari_relay.model.layers import map_of, tokens_of
from napari_relay.model.mst_module import MSTConfig, MultiScaleModule, Trace
from napari_relay.model.prompt import NEGATIVE, POSITIVE


@dataclass(frozen=True, eq=False)
class ClickedMask:
    """logits [B, 1, S, S], and what each module did, in order."""

    logits: Tensor
    traces: tuple[Trace, ...] = ()


class MSTViT(nn.Module):
    """A click network around the parts of a timm ViT; with `config=None` it is SimpleClick alone.

    Parameters
    ----------
    body : timm `VisionTransformer`, whose patch embedding, blocks and position table (without the class token's row)
        are taken over.
    config : of the multi-scale modules.
    neck : channels of the pyramid at strides 4, 8, 16 and 32.
    """

    def __init__(
        self,
        body: Any,
        config: MSTConfig | None = None,
        *,
        neck: tuple[int, int, int, int] = (128, 256, 512, 1024),
        head_width: int = 256,
    ) -> None:
        super().__init__()
        if type(body) is not VisionTransformer or body.pos_embed is None:
            raise UsageError(
                f"MST needs a plain timm VisionTransformer with positions, not a {type(body).__qualname__}.",
                "Create one, for example vit_base_patch16_224.",
            )
        if config is not None and max(config.before, default=0) > len(body.blocks):
            raise UsageError(
                f"There is no block {max(config.before)} in a ViT of {len(body.blocks)} blocks.",
                "Put the modules before blocks that exist.",
            )
        width = body.embed_dim
        prefix = 0 if body.no_embed_class else body.num_prefix_tokens
        self.config = config
        self.patch_embed = AdaptivePatchEmbed(body.patch_embed.proj)
        self.prompt_embed = nn.Conv2d(3, width, self.patch_embed.size, stride=self.patch_embed.size)
        self.pos_embed = nn.Parameter(body.pos_embed.detach()[:, prefix:].clone())
        self.blocks = body.blocks
        self.scales = nn.ModuleDict()
        if config is not None:
            self.scales.update({str(at): MultiScaleModule(width, config) for at in config.before})
        self.neck = SimpleFPN(width, neck)
        self.head = MLPHead(neck, head_width)

    def forward(self, image: Tensor, clicks: Tensor, previous: Tensor | None = None) -> ClickedMask:
        """Square views and clicks to a mask.

        Parameters
        ----------
        image : normalised pixels [B, 3, S, S].
        clicks : [B, n, 3] (y, x, label) in pixels; label 1 positive, 0 negative, -1 padding.
        previous : probability of the last mask [B, 1, S, S], or None.
        """
        side = image.shape[-1]
        grid = side // self.patch_embed.size
        base = self.patch_embed(image) + tokens_of(self.prompt_embed(prompt_map(clicks, previous, side)))
        base = base + resize_positions(self.pos_embed, grid)
        scales, places = self._scales(image)
        clicked, positive = under_clicks(clicks, self.patch_embed.size, grid), clicks[..., 2] == POSITIVE
        traces = []
        for at, block in enumerate(self.blocks, 1):
            if str(at) in self.scales:
                base, scales, trace = self.scales[str(at)](base, scales, places, clicked, positive)
                traces.append(trace)
            base = block(base)
        logits = self.head(self.neck(map_of(base, grid)))
        return ClickedMask(F.interpolate(logits, size=(side, side), mode="bilinear"), tuple(traces))

    def _scales(self, image: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Small and large tokens with their positions added, and those positions."""
        if self.config is None:
            return [], []
        sizes = (self.config.small_patch, self.config.large_patch)
        places = [resize_positions(self.pos_embed, image.shape[-1] // size) for size in sizes]
        return [self.patch_embed(image, size) + p for size, p in zip(sizes, places, strict=True)], places


def prompt_map(clicks: Tensor, previous: Tensor | None, side: int) -> Tensor:
    """[B, 3, side, side]: previous mask (0 at first), disks of radius 5 of positive and of negative clicks."""
    before = clicks.new_zeros(len(clicks), 1, side, side) if previous is None else previous
    return torch.cat([before, *(disks(clicks, label, side, side) for label in (POSITIVE, NEGATIVE))], dim=1)


def under_clicks(clicks: Tensor, patch: int, grid: int) -> Tensor:
    """Index of the token under each click [B, n]; padding gets token 0 and must not be used."""
    cells = ((clicks[..., :2] + 0.5) / patch).floor().clamp(0, grid - 1).long()
    return cells[..., 0] * grid + cells[..., 1]


class SimpleFPN(nn.Module):
    """Maps at strides 4, 8, 16 and 32 from the last map of a plain ViT (ViTDet, Li et al., ECCV 2022; SimpleClick)."""

    def __init__(self, width: int, out: tuple[int, int, int, int]) -> None:
        super().__init__()
        first, second, last = max(out[0] * 2, width // 2), max(out[1], width // 2), max(out[3], width * 2)
        half = first // 2
        self.stride4 = nn.Sequential(*_double(width, first), nn.GELU(), *_double(first, half), *_narrow(half, out[0]))
        self.stride8 = nn.Sequential(*_double(width, second), *_narrow(second, out[1]))
        self.stride16 = nn.Sequential(*_narrow(width, out[2]))
        self.stride32 = nn.Sequential(
            nn.Conv2d(width, last, 2, stride=2), nn.GroupNorm(1, last), *_narrow(last, out[3])
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.stride4(x), self.stride8(x), self.stride16(x), self.stride32(x)]


def _double(into: int, out: int) -> list[nn.Module]:
    return [nn.ConvTranspose2d(into, out, 2, stride=2), nn.GroupNorm(1, out)]


def _narrow(into: int, out: int) -> list[nn.Module]:
    return [nn.Conv2d(into, out, 1), nn.GroupNorm(1, out), nn.GELU()]


class MLPHead(nn.Module):
    """1x1 of each map to one width, all to stride 4, joined, 1x1, 1x1 to a logit.

    The all-MLP head of SegFormer (Xie et al., NeurIPS 2021).
    """

    def __init__(self, into: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.enter = nn.ModuleList(nn.Sequential(nn.Conv2d(channels, width, 1), nn.ReLU()) for channels in into)
        self.mix = nn.Sequential(nn.Conv2d(len(into) * width, width, 1), nn.ReLU())
        self.out = nn.Conv2d(width, 1, 1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        size = maps[0].shape[-2:]
        same = [F.interpolate(f(x), size=size, mode="bilinear") for f, x in zip(self.enter, maps, strict=True)]
        return self.out(self.mix(torch.cat(same, dim=1)))

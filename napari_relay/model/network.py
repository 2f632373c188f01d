"""The click model: an encoder that never sees a click, and a head that turns clicks into masks.

`encode` is slow and done once a view; `prepare` makes what the head needs of it and no click changes; `predict` is done
at every click. At step 0 (all gates and last layers at 0) the logits equal those of the network the weights come from.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_relay.model.config import ModelConfig
from napari_relay.model.contrast import ClickKernels, ContrastSpace, disks
from napari_relay.model.decoder import MaskDecoder
from napari_relay.model.encoder import Encoding, RelayTinyViT
from napari_relay.model.layers import Attention, map_of, tokens_of, zero_
from napari_relay.model.pixels import Fine, PixelPath
from napari_relay.model.prompt import NEGATIVE, POSITIVE, PromptEncoder
from napari_relay.model.scales import MultiScaleTokens, TokenScores

FIRST, LATER = slice(1, 4), slice(0, 1)
"""Mask tokens of a first click (whole, part, sub-part) and of later ones."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """What the head makes of an encoding before any click: base tokens [B, 784, C] and, per part that is on, the
    contrast space [B, 784, D], small and large tokens, fine features."""

    base: Tensor
    space: Tensor | None
    scales: tuple[Tensor, Tensor] | None
    fine: Fine | None


@dataclass(frozen=True, eq=False)
class Output:
    """logits [B, M, 112, 112], predicted IoU [B, M], and what the losses look at."""

    logits: Tensor
    iou: Tensor
    space: Tensor | None = None
    kernels: ClickKernels | None = None
    scores: TokenScores | None = None


class Head(nn.Module):
    """Clicks and previous logits to masks, on an encoding. See `ClickModel`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.width
        self.config = config
        self.prompt = PromptEncoder(width)
        self.decoder = MaskDecoder(width, config.heads, config.decoder_mlp)
        if config.relay_tokens:
            self.relay_attn = Attention(width, width // 2, config.heads, key_width=width)
            self.relay_in = nn.Linear(320, width)
            self.relay_gate = nn.Parameter(torch.zeros(width))
        if config.similarity:
            self.contrast = ContrastSpace(160 + 320 + width, config.contrast_width)
            self.similarity_in = zero_(nn.Linear(4, width))
        if config.multi_scale:
            self.scales = MultiScaleTokens(
                width, config.scale_width, config.contrast_width, config.top_small, config.top_large
            )
        if config.pixel_path:
            self.pixels = PixelPath(width // 4, width // 8)

    def prepare(self, encoding: Encoding) -> Prepared:
        """Everything that no click changes; cached with the encoding under the head's hash."""
        base = tokens_of(encoding.image)
        if self.config.relay_tokens:
            rows = self.relay_in(encoding.relay)
            base = base + torch.tanh(self.relay_gate) * self.relay_attn(base, rows, rows)
        space = scales = fine = None
        if self.config.similarity:
            space = self.contrast(encoding.f16a, encoding.f16b, encoding.image)
        if self.config.multi_scale:
            scales = self.scales.tokens(encoding.f8, encoding.image)
        if self.config.pixel_path:
            fine = self.pixels.fine(encoding.f4, encoding.f8)
        return Prepared(base, space, scales, fine)

    def forward(
        self,
        prepared: Prepared,
        clicks: Tensor,
        previous: Tensor | None = None,
        has_previous: Tensor | None = None,
        which: slice = LATER,
    ) -> Output:
        """Masks of the tokens in `which`.

        Parameters
        ----------
        clicks : [B, n, 3] (y, x, label) in view pixels; label 1 positive, 0 negative, -1 padding.
        previous : logits of the last prediction [B, 1, 112, 112], or None.
        has_previous : [B] bool, where only some samples have one.
        """
        side = round(prepared.base.shape[1] ** 0.5)
        view_side = self.prompt.view_side
        dense = self.prompt.dense(previous, has_previous, len(clicks), side)
        x = prepared.base + tokens_of(dense)
        code, kernels, scores, maps = self.prompt.grid(side), None, None, None
        if prepared.space is not None:
            kernels = ContrastSpace.kernels(prepared.space, clicks, view_side)
            maps = kernels.maps(prepared.space)  # [B, N, 4]
            x = x + self.similarity_in(maps.to(x.dtype))
            if prepared.scales is not None:
                codes = (self.prompt.grid(side * 2), self.prompt.grid(side // 2))
                known = _known(previous, has_previous)
                x, scores = self.scales(x, prepared.scales, codes, kernels, known)
        tokens, valid = self.prompt.clicks(clicks)
        tokens, x = self.decoder.attend(x, code, tokens, valid)
        stride8, stride4 = self.decoder.enlarge(map_of(x, side))
        logits, iou = self.decoder.masks(tokens, stride4, which)
        if prepared.fine is not None:
            cues = self._cues(maps, clicks, previous, has_previous, logits.shape[-1]).to(logits.dtype)
            logits = self.pixels(prepared.fine, stride8, stride4, cues, logits)
        return Output(logits, iou, prepared.space, kernels, scores)

    def _cues(
        self, maps: Tensor | None, clicks: Tensor, previous: Tensor | None, has_previous: Tensor | None, side: int
    ) -> Tensor:
        """[B, 7, side, side]: four cosine maps, previous mask, disks of positive and negative clicks."""
        b = len(clicks)
        if maps is None:
            similar = clicks.new_zeros(b, 4, side, side)
        else:
            similar = map_of(maps, round(maps.shape[1] ** 0.5))
            similar = F.interpolate(similar, size=(side, side), mode="bilinear", align_corners=False)
        known = _known(previous, has_previous)
        before = clicks.new_zeros(b, 1, side, side) if known is None else known.float().sigmoid()
        points = [disks(clicks, label, side, self.prompt.view_side, 2.5) for label in (POSITIVE, NEGATIVE)]
        return torch.cat([similar.float(), before, *points], dim=1)


def _known(previous: Tensor | None, has_previous: Tensor | None) -> Tensor | None:
    """Previous logits with samples that have none set to "surely background"."""
    if previous is None or has_previous is None:
        return previous
    return torch.where(has_previous[:, None, None, None], previous, torch.full_like(previous, -20.0))


class ClickModel(nn.Module):
    """Encoder and head. See `model.RelayTinyViT` and `model.Head`."""

    def __init__(self, config: ModelConfig | None = None) -> None:
        super().__init__()
        self.config = config or ModelConfig()
        self.encoder = RelayTinyViT(self.config)
        self.head = Head(self.config)

    def forward(
        self,
        local: Tensor,
        clicks: Tensor,
        previous: Tensor | None = None,
        global_: Tensor | None = None,
        geometry: Tensor | None = None,
    ) -> Output:
        """Views [B, 3, 448, 448] and clicks to masks: three on a first click, one with previous logits."""
        prepared = self.head.prepare(self.encoder(local, global_, geometry))
        return self.head(prepared, clicks, previous, which=FIRST if previous is None else LATER)

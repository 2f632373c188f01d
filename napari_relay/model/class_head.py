"""Class heads: from an encoding, relay tokens included, to class logits at stride 4, without any click.

Three decoders after SETR (`semantic.py`; Zheng et al., IJCV 2024, arXiv 2207.09339), cut to the maps and the budget of
the product's encoder: a feature pyramid (`fpn`, the default), progressive up-sampling (`pup`) and multi-level
aggregation (`mla`). Group norm: a few views of one project are too few for batch statistics.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_relay.model.encoder import WIDTHS, Encoding
from napari_relay.model.layers import Attention, map_of, tokens_of

Kind = Literal["fpn", "pup", "mla"]
NECK = 256
DEEP = WIDTHS[2] + WIDTHS[3] + NECK
"""Channels of the three maps at stride 16 together."""


def block(into: int, out: int, kernel: int) -> nn.Sequential:
    """Convolution, group norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(into, out, kernel, padding=kernel // 2, bias=False), nn.GroupNorm(8, out), nn.ReLU(inplace=True)
    )


def resized(x: Tensor, side: int) -> Tensor:
    return F.interpolate(x, size=(side, side), mode="bilinear", align_corners=False)


class Fpn(nn.Module):
    """Laterals of strides 16, 8 and 4, summed from the deepest up, each smoothed, joined at stride 4."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.out = width
        self.lateral4, self.lateral8 = block(WIDTHS[0], width, 1), block(WIDTHS[1], width, 1)
        self.smooth = nn.ModuleList(block(width, width, 3) for _ in range(3))
        self.join = block(3 * width, width, 1)
        self.deep = width

    def forward(self, deep: Tensor, encoding: Encoding) -> Tensor:
        """Stride 16 [B, W, 28, 28] and the encoding -> [B, W, 112, 112]."""
        p8 = self.lateral8(encoding.f8) + resized(deep, encoding.f8.shape[-1])
        p4 = self.lateral4(encoding.f4) + resized(p8, encoding.f4.shape[-1])
        maps = [smooth(x) for smooth, x in zip(self.smooth, (deep, p8, p4), strict=True)]
        return self.join(torch.cat([resized(x, p4.shape[-1]) for x in maps], dim=1))


class Pup(nn.Module):
    """Progressive up-sampling: 3x3 and twice the size, two times, from stride 16 to stride 4."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.deep, self.out = width, 48
        self.steps = nn.ModuleList([block(width, 64, 3), block(64, 64, 3), block(64, self.out, 3)])

    def forward(self, deep: Tensor, encoding: Encoding) -> Tensor:
        """Stride 16 [B, W, 28, 28] -> [B, 48, 112, 112]."""
        side, x = encoding.f4.shape[-1], deep
        for factor, step in zip((2, 4, None), self.steps, strict=True):
            x = step(x)
            if factor is not None:
                x = resized(x, side * factor // 4)
        return x


class Mla(nn.Module):
    """Four streams (stride 8 halved, both stages at stride 16, the neck), summed from the deepest up, joined at
    stride 4."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.deep, self.out = width, 48
        self.enter = nn.ModuleList(block(into, width, 1) for into in (WIDTHS[3], WIDTHS[2], WIDTHS[1]))
        self.narrow = nn.ModuleList(
            nn.Sequential(block(width, width, 3), block(width, width // 2, 3)) for _ in range(4)
        )
        self.join = block(4 * (width // 2), self.out, 1)

    def forward(self, deep: Tensor, encoding: Encoding) -> Tensor:
        """Stride 16 [B, W, 28, 28] and the encoding -> [B, 48, 112, 112]."""
        total, streams = deep, [deep]
        maps = (encoding.f16b, encoding.f16a, F.avg_pool2d(encoding.f8, 2))
        for enter, x in zip(self.enter, maps, strict=True):
            total = total + enter(x)
            streams.append(total)
        side = encoding.f4.shape[-1]
        return self.join(torch.cat([resized(n(x), side) for n, x in zip(self.narrow, streams, strict=True)], dim=1))


class ClassHead(nn.Module):
    """Class logits [B, K, 112, 112] of an encoding.

    The maps at stride 16 read the relay tokens by attention, so that each place knows what lies around the view.

    Parameters
    ----------
    kind : fpn, pup or mla.
    classes : K, background included.
    """

    def __init__(self, kind: Kind, classes: int) -> None:
        super().__init__()
        self.kind, self.classes = kind, classes
        self.decoder: Fpn | Pup | Mla = {"fpn": Fpn, "pup": Pup, "mla": Mla}[kind]()
        # Whole channels are dropped: few views teach it, and no channel may become the only witness.
        self.enter = nn.Sequential(nn.Dropout2d(0.2), block(DEEP, self.decoder.deep, 1))
        self.relay = Attention(self.decoder.deep, self.decoder.deep, 4, key_width=WIDTHS[3])
        self.relay_norm = nn.LayerNorm(WIDTHS[3])
        self.classify = nn.Conv2d(self.decoder.out, classes, 1)

    def forward(self, encoding: Encoding) -> Tensor:
        """See the class."""
        deep = self.enter(torch.cat([encoding.f16a, encoding.f16b, encoding.image], dim=1))
        if encoding.relay.shape[1]:
            rows = self.relay_norm(encoding.relay)
            tokens = tokens_of(deep)
            deep = deep + map_of(self.relay(tokens, rows, rows), deep.shape[-1])
        return self.classify(self.decoder(deep, encoding))

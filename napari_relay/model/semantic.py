"""Semantic decoders of SETR on a plain ViT: naive, progressive up-sampling (PUP) and multi-level aggregation (MLA).

Zheng et al., "Vision Transformers: From Semantic Segmentation to Dense Prediction" (IJCV 2024, arXiv 2207.09339),
section on decoder designs, with the channels of the released code where text and code differ. Each has auxiliary heads
that train with weight `AUXILIARY_WEIGHT` and are not run in eval mode. Batch norm, as published, or group norm where
batches are small. Features are maps [B, C, H / 16, W / 16] of the blocks named by `taps`, counted from 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_relay.errors import UsageError
from napari_relay.model.layers import tokens_of

Norm = Literal["BN", "GN"]
Kind = Literal["naive", "pup", "mla"]
AUXILIARY_WEIGHT = 0.4
WIDTH = 256


@dataclass(frozen=True, eq=False)
class Scores:
    """Class logits [B, K, H, W] in the size of the input, and those of the auxiliary heads (none in eval mode)."""

    logits: Tensor
    auxiliary: tuple[Tensor, ...] = ()


class MapNorm(nn.LayerNorm):
    """Layer norm of a map's tokens: [B, C, h, w] -> the same."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(tokens_of(x))
        return y.transpose(1, 2).unflatten(2, x.shape[2:])


class ConvNorm(nn.Sequential):
    """Convolution, norm, ReLU."""

    def __init__(self, into: int, out: int, kernel: int, norm: Norm, *, bias: bool = True) -> None:
        layer = nn.BatchNorm2d(out) if norm == "BN" else nn.GroupNorm(min(32, out // 4), out)
        super().__init__(nn.Conv2d(into, out, kernel, padding=kernel // 2, bias=bias), layer, nn.ReLU(inplace=True))


def enlarge(x: Tensor, factor: int, *, corners: bool = False) -> Tensor:
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=corners)


class SimpleHead(nn.Module):
    """One transposed convolution, kernel = stride: the head of RelayToken (arXiv 2601.05927), shared by both views."""

    def __init__(self, width: int, classes: int, stride: int = 16) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(width, classes, stride, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(x)


class NaiveDecoder(nn.Module):
    """LN, 1x1 to 256, norm, ReLU, 1x1 to K, up x16."""

    def __init__(self, width: int, classes: int, norm: Norm) -> None:
        super().__init__()
        self.norm, self.mix = MapNorm(width), ConvNorm(width, WIDTH, 1, norm)
        self.classify = nn.Conv2d(WIDTH, classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return enlarge(self.classify(self.mix(self.norm(features[-1]))), 16)


class PupDecoder(nn.Module):
    """LN, then four 3x3 convolutions with norm and ReLU, the first three each followed by up x2; 1x1 to K, up x2."""

    def __init__(self, width: int, classes: int, norm: Norm) -> None:
        super().__init__()
        self.norm = MapNorm(width)
        self.steps = nn.ModuleList(ConvNorm(width if i == 0 else WIDTH, WIDTH, 3, norm) for i in range(4))
        self.classify = nn.Conv2d(WIDTH, classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        x = self.norm(features[-1])
        for step in self.steps[:3]:
            x = enlarge(step(x), 2)
        return enlarge(self.classify(self.steps[3](x)), 2)


class MlaDecoder(nn.Module):
    """Four blocks' maps, each with its own LN and 1x1 to 256; sums from the deepest up; 3x3, then 3x3 to 128 twice, up
    x4 (corners aligned), joined to 512 channels, 3x3 to K, up x4."""

    def __init__(self, width: int, classes: int, norm: Norm) -> None:
        super().__init__()
        self.norms = nn.ModuleList(MapNorm(width) for _ in range(4))
        self.enter = nn.ModuleList(ConvNorm(width, WIDTH, 1, norm, bias=False) for _ in range(4))
        self.smooth = nn.ModuleList(ConvNorm(WIDTH, WIDTH, 3, norm, bias=False) for _ in range(4))
        half = WIDTH // 2
        self.narrow = nn.ModuleList(
            nn.Sequential(ConvNorm(WIDTH, half, 3, norm, bias=False), ConvNorm(half, half, 3, norm, bias=False))
            for _ in range(4)
        )
        self.classify = nn.Conv2d(4 * half, classes, 3, padding=1)

    def streams(self, features: Sequence[Tensor]) -> list[Tensor]:
        """The four maps [B, 256, h, w], deepest first; the auxiliary heads read these."""
        streams, total = [], None
        for x, norm, enter, smooth in zip(features[::-1], self.norms, self.enter, self.smooth, strict=True):
            own = enter(norm(x))
            total = own if total is None else total + own
            streams.append(smooth(total))
        return streams

    def forward(self, streams: Sequence[Tensor]) -> Tensor:
        up = [enlarge(narrow(x), 4, corners=True) for narrow, x in zip(self.narrow, streams, strict=True)]
        return enlarge(self.classify(torch.cat(up, dim=1)), 4)


class AuxiliaryHead(nn.Module):
    """3x3 to 256, norm, ReLU (PUP: up x4), 1x1 to K, up to the image's size."""

    def __init__(self, width: int, classes: int, norm: Norm, *, up: int = 1) -> None:
        super().__init__()
        self.mix, self.up = ConvNorm(width, WIDTH, 3, norm), up
        self.classify = nn.Conv2d(WIDTH, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.mix(x)
        y = self.classify(enlarge(y, self.up) if self.up > 1 else y)
        return enlarge(y, 16 // self.up)


TAPS: dict[tuple[Kind, int], tuple[tuple[int, ...], tuple[int, ...]]] = {
    ("naive", 24): ((24,), (10, 15, 20)),
    ("pup", 24): ((24,), (10, 15, 20, 24)),
    ("mla", 24): ((6, 12, 18, 24), ()),
    ("naive", 12): ((12,), (5, 8, 10)),
    ("pup", 12): ((12,), (5, 8, 10, 12)),
    ("mla", 12): ((3, 6, 9, 12), ()),
}
"""Blocks that a decoder and its auxiliary heads read, by kind and depth.

Not published, hence ours: the auxiliary blocks of the naive decoder at depth 12 (PUP's without the last).
"""


class SemanticHead(nn.Module):
    """A decoder with its auxiliary heads.

    Parameters
    ----------
    kind : naive, pup or mla.
    width : channels of the backbone's maps.
    classes : K.
    depth : blocks of the backbone, 12 or 24.
    norm : BN (published; synchronise it over devices when training on several) or GN.
    auxiliary : with heads for training.
    """

    def __init__(
        self, kind: Kind, width: int, classes: int, depth: int = 12, *, norm: Norm = "BN", auxiliary: bool = True
    ) -> None:
        super().__init__()
        if (kind, depth) not in TAPS or norm not in get_args(Norm):
            raise UsageError(
                f"There is no decoder {kind!r} with norm {norm!r} for a backbone of {depth} blocks.",
                "Choose naive, pup or mla, BN or GN, and 12 or 24 blocks.",
            )
        main, extra = TAPS[kind, depth]
        self.kind, self._main = kind, main
        self._extra = extra if auxiliary else ()
        decoders = {"naive": NaiveDecoder, "pup": PupDecoder, "mla": MlaDecoder}
        self.decoder = decoders[kind](width, classes, norm)
        heads: list[nn.Module] = []
        if auxiliary and kind == "mla":
            heads = [nn.Conv2d(WIDTH, classes, 1, bias=False) for _ in range(4)]
        elif auxiliary:
            heads = [AuxiliaryHead(width, classes, norm, up=4 if kind == "pup" else 1) for _ in extra]
        self.auxiliary = nn.ModuleList(heads)

    @property
    def taps(self) -> tuple[int, ...]:
        """Blocks, counted from 1, whose maps `forward` wants."""
        return tuple(sorted({*self._main, *self._extra}))

    def forward(self, features: Sequence[Tensor]) -> Scores:
        """Maps [B, C, h, w] of the blocks in `taps` -> logits [B, K, 16 h, 16 w]."""
        by_block = dict(zip(self.taps, features, strict=True))
        maps: Sequence[Tensor] = [by_block[tap] for tap in self._main]
        if isinstance(self.decoder, MlaDecoder):
            maps = self.decoder.streams(maps)
        logits = self.decoder(maps)
        if not self.training:
            return Scores(logits)
        if self.kind == "mla":
            pairs = zip(self.auxiliary, maps if len(self.auxiliary) else (), strict=True)
            return Scores(logits, tuple(enlarge(head(x), 16) for head, x in pairs))
        pairs = zip(self.auxiliary, [by_block[tap] for tap in self._extra], strict=True)
        return Scores(logits, tuple(head(x) for head, x in pairs))


Backbone = Callable[[Tensor, tuple[int, ...]], Sequence[Tensor]]
"""Padded pixels [B, 3, H, W] and taps to maps [B, C, H / 16, W / 16]."""


def vit_maps(body: nn.Module) -> Backbone:
    """Maps of a timm ViT's blocks (patch 16, `dynamic_img_size=True`); class and register tokens are dropped.

    Raises UsageError for another patch size: the decoders enlarge 16 times.
    """
    patch = tuple(body.patch_embed.patch_size)  # type: ignore[union-attr, arg-type]
    if patch != (16, 16):
        raise UsageError(
            f"The backbone's patches have {patch[0]} pixels; the decoders need 16.", "Give a ViT of patch 16."
        )

    def maps(x: Tensor, taps: tuple[int, ...]) -> Sequence[Tensor]:
        return body.forward_intermediates(  # type: ignore[operator, no-any-return]
            x, indices=[tap - 1 for tap in taps], norm=False, intermediates_only=True
        )

    return maps


def segment(backbone: Backbone, head: SemanticHead, image: Tensor) -> Scores:
    """Class logits in the size of the image [B, 3, H, W], which is padded to multiples of 16 and cropped back.

    The padding is 0, the mean of a normalised image.
    """
    h, w = image.shape[-2:]
    padded = F.pad(image, (0, -w % 16, 0, -h % 16))
    scores = head(backbone(padded, head.taps))
    return Scores(scores.logits[..., :h, :w], tuple(a[..., :h, :w] for a in scores.auxiliary))


def sliding_window(score: Callable[[Tensor], Tensor], image: Tensor, window: int, stride: int) -> Tensor:
    """Logits [B, K, H, W] of a large image: windows on a grid, logits summed and divided by their count (SETR's test).

    The last window of a row or column is moved inwards; a shorter image is one window in that direction.
    """
    h, w = image.shape[-2:]
    total: Tensor | None = None
    count = image.new_zeros(1, 1, h, w)
    for y in _starts(h, window, stride):
        for x in _starts(w, window, stride):
            logits = score(image[..., y : y + window, x : x + window])
            if total is None:
                total = logits.new_zeros(*logits.shape[:2], h, w)
            total[..., y : y + window, x : x + window] += logits
            count[..., y : y + window, x : x + window] += 1
    assert total is not None
    return total / count


def _starts(side: int, window: int, stride: int) -> list[int]:
    last = max(side - window, 0)
    return [*range(0, last, stride), last]

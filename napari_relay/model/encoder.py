"""The product's encoder: timm's TinyViT-5M with relay tokens in the windows of its last two stages.

The encoder never sees a click, so its output can be cached. It is split where the frozen part ends: `stem` (patch
embedding, two stages, 2.7 GMAC a view of 448 pixels) and `trunk` (stages 3 and 4 with relay tokens, and the neck).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from timm.models.tiny_vit import tiny_vit_5m_224
from torch import Tensor, nn

from napari_relay.model.config import ModelConfig
from napari_relay.model.layers import LayerNorm2d
from napari_relay.model.relay import OTHER, OWN, RelayTokens, relay_block

WIDTHS = (64, 128, 160, 320)
JOINT = ("sequential", "mean")
"""Rules by which both views go through the blocks in lock-step (experiments; nothing can be cached)."""


@dataclass(frozen=True, eq=False)
class Stem:
    """Output of the first part: f4 [B, 64, 112, 112], f8 [B, 128, 56, 56], f16 [B, 160, 28, 28] (for a 448 view)."""

    f4: Tensor
    f8: Tensor
    f16: Tensor


@dataclass(frozen=True, eq=False)
class Encoding:
    """What the encoder made of a view pair; independent of clicks.

    f4 [B, 64, 112, 112], f8 [B, 128, 56, 56], f16a [B, 160, 28, 28], f16b [B, 320, 28, 28],
    image [B, 256, 28, 28] (the neck's output), relay [B, R, 320] (the local view's tokens after the last block).
    """

    f4: Tensor
    f8: Tensor
    f16a: Tensor
    f16b: Tensor
    image: Tensor
    relay: Tensor

    def map(self, fn: object) -> Encoding:
        """Apply `fn` (Tensor -> Tensor) to every field."""
        return replace(self, **{f.name: fn(getattr(self, f.name)) for f in fields(self)})  # type: ignore[operator]

    def nbytes(self) -> int:
        return sum(getattr(self, f.name).nbytes for f in fields(self))


class RelayTinyViT(nn.Module):
    """TinyViT-5M (Wu et al., ECCV 2022) at stride 16 with relay tokens (`relay.py`) and the neck of MobileSAM.

    Without relay tokens, or with shut gates, its output equals the plain network's.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        # Not by name through timm's registry: MobileSAM's package puts its own classes under these names there.
        body = tiny_vit_5m_224(pretrained=False, num_classes=0, drop_path_rate=0.0)
        # The last stage stays at stride 16: masks need resolution more than they need depth.
        body.stages[3].downsample.conv2.conv.stride = (1, 1)
        self.patch_embed, self.stages = body.patch_embed, body.stages
        self.neck = nn.Sequential(
            nn.Conv2d(WIDTHS[3], config.width, 1, bias=False),
            LayerNorm2d(config.width),
            nn.Conv2d(config.width, config.width, 3, padding=1, bias=False),
            LayerNorm2d(config.width),
        )
        self.relay = (
            RelayTokens(config.relay_tokens, (160, 320), (5, 10), (6, 2)) if config.relay_tokens else None
        )

    def train(self, mode: bool = True) -> RelayTinyViT:
        super().train(mode)
        for module in self.modules():
            # The start weights' batch norms are folded into the convolutions; their statistics must not move.
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def stem(self, x: Tensor) -> Stem:
        """x: normalised pixels [B, 3, S, S] -> features up to the input of stage 3."""
        f4 = self.stages[0](self.patch_embed(x))
        f8 = self.stages[1](f4)
        return Stem(f4, f8, self.stages[2].downsample(f8))

    def _blocks(self) -> list[nn.Module]:
        return [*self.stages[2].blocks, *self.stages[3].blocks]

    def _enter_last_stage(self, x: Tensor) -> Tensor:
        return self.stages[3].downsample(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

    def global_trajectory(self, f16: Tensor) -> list[Tensor]:
        """Relay states [B, R, C] of the global view after each of the eight blocks: all that a local view needs.

        `f16`: the global view's `Stem.f16`.
        """
        assert self.relay is not None
        x = f16.permute(0, 2, 3, 1) + self.relay.branch
        relay, states = self.relay.start(len(x)), []
        for i, (block, gates) in enumerate(zip(self._blocks(), self.relay.blocks, strict=True)):
            if i == 6:
                x, relay = self._enter_last_stage(x), self.relay.transition(relay)
            x, relay = relay_block(block, x, relay, None, gates)
            states.append(relay)
        return states

    def reads_global(self) -> bool:
        """Whether any gate to the global view is open; with all of them shut that view need not be encoded.

        In lock-step the view's own tokens carry what the other view told them.
        """
        row = OWN if self.config.relay_rule in JOINT else OTHER
        return self.relay is not None and any(bool(gates.gate[row].any()) for gates in self.relay.blocks)

    def _others(self, states: list[Tensor] | None, geometry: Tensor | None) -> list[Tensor | None]:
        """The second relay set of each block: the global states with the offset code added."""
        if states is None:
            return [None] * 8
        assert self.relay is not None
        if geometry is None:
            return list(states)
        code = self.relay.offset(geometry)  # [B, 1, 160]
        late = nn.functional.linear(code, self.relay.transition.weight)
        return [state + (code if i < 6 else late) for i, state in enumerate(states)]

    def trunk(
        self, stem: Stem, states: list[Tensor] | None = None, geometry: Tensor | None = None
    ) -> Encoding:
        """Stages 3 and 4 and the neck of the local view.

        states : the global view's trajectory, or None (k = 0).
        geometry : [B, 4] (dy, dx, log2 k, log2 scale) of `ViewPair.geometry`.
        """
        x = stem.f16.permute(0, 2, 3, 1)
        if self.relay is None:
            for block in self.stages[2].blocks:
                x = block(x)
            f16a, x = x, self._enter_last_stage(x)
            for block in self.stages[3].blocks:
                x = block(x)
            relay = x.new_zeros(len(x), 0, WIDTHS[3])
        else:
            relay, others, f16a = self.relay.start(len(x)), self._others(states, geometry), x
            for i, (block, gates) in enumerate(zip(self._blocks(), self.relay.blocks, strict=True)):
                if i == 6:
                    f16a, x, relay = x, self._enter_last_stage(x), self.relay.transition(relay)
                x, relay = relay_block(block, x, relay, others[i], gates)
        f16b = x.permute(0, 3, 1, 2)
        return Encoding(stem.f4, stem.f8, f16a.permute(0, 3, 1, 2), f16b, self.neck(f16b), relay)

    def joint(self, local: Stem, global_f16: Tensor) -> tuple[Encoding, Tensor]:
        """Both views in lock-step for the rules `sequential` and `mean`.

        Returns the local encoding and the global view's last map [B, 320, 28, 28].
        """
        assert self.relay is not None
        rule = self.config.relay_rule
        xl, xg = local.f16.permute(0, 2, 3, 1), global_f16.permute(0, 2, 3, 1) + self.relay.branch
        relay, f16a = self.relay.start(len(xl)), xl
        for i, (block, gates) in enumerate(zip(self._blocks(), self.relay.blocks, strict=True)):
            if i == 6:
                f16a = xl
                xl, xg, relay = self._enter_last_stage(xl), self._enter_last_stage(xg), self.relay.transition(relay)
            xg, from_global = relay_block(block, xg, relay, None, gates)
            xl, from_local = relay_block(block, xl, from_global if rule == "sequential" else relay, None, gates)
            relay = from_local if rule == "sequential" else (from_local + from_global) / 2
        f16b = xl.permute(0, 3, 1, 2)
        encoding = Encoding(local.f4, local.f8, f16a.permute(0, 3, 1, 2), f16b, self.neck(f16b), relay)
        return encoding, xg.permute(0, 3, 1, 2)

    def pair(self, local: Stem, global_f16: Tensor | None, geometry: Tensor | None = None) -> Encoding:
        """Stages 3 and 4 of a local view, with a global one or without, by the configured rule.

        global_f16 : the global view's `Stem.f16`. geometry : as in `trunk`; the rules in lock-step do without.
        """
        if global_f16 is None or self.relay is None:
            return self.trunk(local)
        if self.config.relay_rule in JOINT:
            return self.joint(local, global_f16)[0]
        return self.trunk(local, self.global_trajectory(global_f16), geometry)

    def forward(
        self, local: Tensor, global_: Tensor | None = None, geometry: Tensor | None = None
    ) -> Encoding:
        """Encode views [B, 3, S, S]; with `global_` the two exchange context by the configured rule."""
        seen = None if global_ is None or self.relay is None else self.stem(global_).f16
        return self.pair(self.stem(local), seen, geometry)


def freeze(module: nn.Module) -> None:
    """Take a module's parameters out of training."""
    for parameter in module.parameters():
        parameter.requires_grad_(False)


def stack(encodings: list[Encoding]) -> Encoding:
    """Join encodings of batch size 1 to one batch."""
    return Encoding(*(torch.cat([getattr(e, f.name) for e in encodings]) for f in fields(Encoding)))

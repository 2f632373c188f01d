"""Two views through the same blocks: how relay tokens pass between them, whatever the backbone.

RelayToken (Perron, Sydorov, Pottier, Landrieu, TMLR 2026, arXiv 2601.05927): a local view at full resolution and a
global view of a wider square are run through shared transformer blocks; R learned tokens go through every block with
both and carry context. This file holds the update rules; `relay_vit.py` and `relay_swin.py` hold the blocks. The
product's own encoder (`encoder.py`) is a third, windowed one, written out for its cache.

    mean         both branches start from the same relay state, the two results are averaged (the released ViT, SwinV2)
    sequential   global first, local second with the updated state, which goes on to the next block (the paper's text)
    oneway       the global branch never sees the local one; local blocks read its states, so that they can be cached
    oneway_keep  the same, and the local branch keeps relay tokens of its own beside them (the product)
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_relay.errors import UsageError
from napari_relay.model.config import Rule
from napari_relay.model.relay import OffsetCode

Attach = Literal["gated", "concat"]
LOCAL, GLOBAL = 0, 1
"""Branches; rows of the branch bias."""


@dataclass(frozen=True, slots=True)
class RelayConfig:
    """How relay tokens are added to a backbone.

    tokens : number R; 0 leaves two plain branches.
    rule : see the module's docstring.
    attach : `concat` makes them members of the attention sequence (paper and release); `gated` lets patches read them
        in a softmax of its own behind a gate per head that starts at 0, so that a pretrained backbone is unchanged.
    separate_embedding : the global branch has its own patch embedding and position table, started as copies
        (`share_patch_embed: False` of the release).
    final_norm : apply the backbone's last norm; the released ViT does not.
    relay_bias : SwinV2 only: start of the bias between relay tokens and patches. 8 = 16 sigmoid(0) is what patch pairs
        start from; 0, as released, is a handicap of e^-8.
    """

    tokens: int = 4
    rule: Rule = "sequential"
    attach: Attach = "gated"
    separate_embedding: bool = False
    final_norm: bool = True
    relay_bias: float = 8.0

    def __post_init__(self) -> None:
        if self.tokens < 0:
            raise UsageError(f"tokens is {self.tokens}.", "Give 0 or more relay tokens.")
        for name, value, known in (("rule", self.rule, get_args(Rule)), ("attach", self.attach, get_args(Attach))):
            if value not in known:
                raise UsageError(f"There is no {name} {value!r}.", f"Choose one of: {', '.join(known)}.")


@dataclass(frozen=True, eq=False)
class TwoViews:
    """Output of a backbone for a pair of views.

    local, global_ : tokens as the backbone's `forward_features` gives them: [B, prefix + N, C] (ViT) or [B, H, W, C].
    relay : the local branch's relay tokens after the last block [B, R, C]; None for R = 0.
    reads : per block, the relay state [B, R, C] that reached the local branch. Nothing else of the global view does.
    taps : maps [B, C, h, w] of the local branch after the blocks that were asked for.
    """

    local: Tensor
    global_: Tensor | None
    relay: Tensor | None
    reads: tuple[Tensor, ...] = ()
    taps: tuple[Tensor, ...] = ()


class RelayParameters(nn.Module):
    """All that relay tokens add to a backbone, but for a second embedding.

    Parameters
    ----------
    widths : channels of the stages (one for a ViT); a Linear takes the tokens from each to the next.
    blocks : one module a block with its gates; empty for `concat` on a ViT.
    deviation : of the tokens' normal start. Not 0: equal tokens would get equal gradients and stay equal for ever.
    position : give the tokens position vectors of their own, as the backbone's patches have.
    """

    def __init__(
        self,
        tokens: int,
        widths: Sequence[int],
        blocks: Sequence[nn.Module],
        *,
        deviation: float = 0.02,
        position: bool = True,
    ) -> None:
        super().__init__()
        self.init = nn.Parameter(torch.randn(tokens, widths[0]) * deviation)
        self.position = nn.Parameter(torch.zeros(tokens, widths[0])) if position else None
        self.branch = nn.Parameter(torch.zeros(2, widths[0]))
        self.offset = OffsetCode(widths[0])
        self.transitions = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.blocks = nn.ModuleList(blocks)

    def start(self, batch: int) -> Tensor:
        rows = self.init if self.position is None else self.init + self.position
        return rows.expand(batch, -1, -1)  # [B, R, C]


class RelayBackbone(nn.Module, ABC):
    """A timm backbone with relay tokens. Subclasses say what a block does; the rules are here.

    `entries` maps the first block of each later stage to its transition.
    """

    def __init__(self, body: nn.Module, config: RelayConfig, entries: dict[int, int] | None = None) -> None:
        super().__init__()
        self.body: Any = body
        self.config = config
        self.relay: RelayParameters | None = None
        self._entries = entries or {}

    @property
    @abstractmethod
    def depth(self) -> int:
        """Number of blocks."""

    @abstractmethod
    def embed(self, view: Tensor, branch: int) -> Tensor:
        """Normalised pixels [B, 3, H, W] -> tokens before the first block."""

    @abstractmethod
    def step(self, block: int, x: Tensor, relay: Tensor | None, other: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """One block on tokens and relay tokens [B, R, C]. `other`: relay tokens that are read and not updated."""

    @abstractmethod
    def as_map(self, tokens: Tensor, view: Tensor) -> Tensor:
        """Tokens of a view (before or after the last norm) -> [B, C, h, w]."""

    def enter(self, block: int, x: Tensor) -> Tensor:
        """What stands before a block (patch merging)."""
        return x

    def finish(self, x: Tensor) -> Tensor:
        return self.body.norm(x) if self.config.final_norm else x

    def forward(
        self, local: Tensor, global_: Tensor | None = None, geometry: Tensor | None = None, taps: Sequence[int] = ()
    ) -> TwoViews:
        """Both views, or the local one alone (then its relay tokens act as registers).

        Parameters
        ----------
        local, global_ : [B, 3, H, W], normalised.
        geometry : [B, >= 3] (dy, dx, log2 k) of the local view in the global one, see `ViewPair.geometry`.
        taps : blocks, counted from 1, whose local maps are wanted.
        """
        if global_ is None:
            return self.local_pass(local, taps=taps)
        if self.relay is not None and self.config.rule in ("sequential", "mean"):
            return self._joint(local, global_, geometry, taps)
        tokens, states = self.global_pass(global_)
        return replace(self.local_pass(local, states, geometry, taps), global_=tokens)

    def global_pass(self, view: Tensor) -> tuple[Tensor, list[Tensor] | None]:
        """Tokens of the global view, and its relay trajectory: the state [B, R, C] after each block (rules `oneway`).

        The trajectory is all that local views need of it; it does not depend on them.
        """
        x, relay = self.embed(view, GLOBAL), self._start(view)
        states = []
        for block in range(self.depth):
            x, relay = self.enter(block, x), self._lift(block, relay)
            x, relay = self.step(block, x, relay, None)
            states.append(relay)
        return self.finish(x), None if self.relay is None else [s for s in states if s is not None]

    def local_pass(
        self,
        view: Tensor,
        states: Sequence[Tensor] | None = None,
        geometry: Tensor | None = None,
        taps: Sequence[int] = (),
    ) -> TwoViews:
        """The local view on relay states per block: those of `global_pass`, or the `reads` of an earlier output."""
        x, own = self.embed(view, LOCAL), self._start(view)
        codes = self._codes(geometry) if states is not None and geometry is not None else None
        reads, kept = [], {}
        for block in range(self.depth):
            x, own = self.enter(block, x), self._lift(block, own)
            other = None
            if states is not None:
                other = states[block] if codes is None else states[block] + codes[block]
                reads.append(other)
            if other is None or self.config.rule == "oneway_keep":
                x, own = self.step(block, x, own, other)
            else:
                x, own = self.step(block, x, other, None)
            if block + 1 in taps:
                kept[block + 1] = self.as_map(x, view)
        return TwoViews(self.finish(x), None, own, tuple(reads), tuple(kept[tap] for tap in taps))

    def _joint(self, local: Tensor, global_: Tensor, geometry: Tensor | None, taps: Sequence[int]) -> TwoViews:
        """Both views in lock-step: `sequential` and `mean`."""
        sequential = self.config.rule == "sequential"
        xl, xg, relay = self.embed(local, LOCAL), self.embed(global_, GLOBAL), self._start(local)
        if geometry is not None and self.relay is not None:
            relay = relay + self.relay.offset(geometry)
        reads, kept = [], {}
        for block in range(self.depth):
            xl, xg, relay = self.enter(block, xl), self.enter(block, xg), self._lift(block, relay)
            xg, of_global = self.step(block, xg, relay, None)
            read = of_global if sequential else relay
            assert read is not None
            xl, of_local = self.step(block, xl, read, None)
            assert of_local is not None
            assert of_global is not None
            relay = of_local if sequential else (of_local + of_global) / 2
            reads.append(read)
            if block + 1 in taps:
                kept[block + 1] = self.as_map(xl, local)
        # What a head reads as the pair's relay tokens is the local branch's output, under every rule.
        return TwoViews(self.finish(xl), self.finish(xg), of_local, tuple(reads), tuple(kept[t] for t in taps))

    def _start(self, view: Tensor) -> Tensor | None:
        return None if self.relay is None else self.relay.start(len(view))

    def _lift(self, block: int, relay: Tensor | None) -> Tensor | None:
        """Relay tokens into the width of the block's stage."""
        if relay is None or self.relay is None or block not in self._entries:
            return relay
        return self.relay.transitions[self._entries[block]](relay)

    def _codes(self, geometry: Tensor) -> list[Tensor]:
        """The offset code in the width of each block."""
        assert self.relay is not None
        code, codes = self.relay.offset(geometry), []
        for block in range(self.depth):
            if block in self._entries:
                code = F.linear(code, self.relay.transitions[self._entries[block]].weight)
            codes.append(code)
        return codes


def check_size(patch_embed: Any, view: Tensor) -> None:
    """Raises UsageError for a view that the backbone cannot take; timm would stop with an assertion."""
    size, patch = tuple(view.shape[-2:]), patch_embed.patch_size
    wanted = patch_embed.img_size
    if patch_embed.strict_img_size and wanted is not None and size != tuple(wanted):
        raise UsageError(
            f"The backbone takes views of {wanted[0]} x {wanted[1]} pixels, not {size[0]} x {size[1]}.",
            "Create it with another img_size, or with dynamic_img_size=True.",
        )
    if not patch_embed.dynamic_img_pad and (size[0] % patch[0] or size[1] % patch[1]):
        raise UsageError(
            f"A view of {size[0]} x {size[1]} pixels is not a whole number of patches of {patch[0]} x {patch[1]}.",
            "Resize or pad it to a multiple.",
        )

"""Relay tokens in the windows of a SwinV2 (timm `SwinTransformerV2`).

RelayToken (Perron et al., TMLR 2026, arXiv 2601.05927), its SwinV2 version: in every block the relay tokens are
repeated to all (shifted) windows, come last in each window's sequence, and their outputs are averaged over the windows
of an image. Cosine attention and res-post-norm are the backbone's (Liu et al., CVPR 2022). Between stages one Linear
widens the tokens. The position bias between patches starts at about 8; the release pads it with 0 for relay tokens,
here learned numbers per head start at `RelayConfig.relay_bias`.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
import torch.nn.functional as F
from timm.models.swin_transformer_v2 import window_partition, window_reverse
from torch import Tensor, nn

from napari_relay.model.relay import OTHER, OWN, RelayGates
from napari_relay.model.relay_rules import GLOBAL, RelayBackbone, RelayConfig, RelayParameters, check_size

RELAY_TO_PATCH, RELAY_TO_RELAY, PATCH_TO_RELAY = 0, 1, 2
"""Rows of a block's bias: who looks at whom."""


class WindowRelay(nn.Module):
    """Bias [3, heads] of a block's relay tokens, added to the attention logits (`concat`)."""

    def __init__(self, heads: int, bias: float) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.full((3, heads), bias))


class GatedWindowRelay(RelayGates):
    """Gates [2, heads] and bias [2, heads] of a block (`gated`).

    There is no bias from patches to relay tokens: alone in their softmax, it would change nothing.
    """

    def __init__(self, heads: int, bias: float) -> None:
        super().__init__(heads)
        self.bias = nn.Parameter(torch.full((2, heads), bias))


class RelaySwin(RelayBackbone):
    """Two views through one SwinV2. Make it with `attach_relay`, which checks the model."""

    def __init__(self, body: Any, config: RelayConfig) -> None:
        stages = list(body.layers)
        firsts = [sum(len(s.blocks) for s in stages[:i]) for i in range(1, len(stages))]
        super().__init__(body, config, {first: i for i, first in enumerate(firsts)})
        if config.tokens:
            kind = GatedWindowRelay if config.attach == "gated" else WindowRelay
            parts = [kind(block.num_heads, config.relay_bias) for block in self._blocks()]
            widths = [stage.blocks[0].dim for stage in stages]
            # No position table in this backbone, and no norm before attention: the tokens start at the patches' scale.
            self.relay = RelayParameters(config.tokens, widths, parts, deviation=1.0, position=False)
        self.embedding = copy.deepcopy(body.patch_embed) if config.separate_embedding else None

    def _blocks(self) -> list[Any]:
        return [block for stage in self.body.layers for block in stage.blocks]

    @property
    def depth(self) -> int:
        return len(self._blocks())

    def embed(self, view: Tensor, branch: int) -> Tensor:
        """[B, H / 4, W / 4, C]."""
        embedding = self.body.patch_embed if branch != GLOBAL or self.embedding is None else self.embedding
        check_size(embedding, view)
        x = embedding(view)
        return x if self.relay is None else x + self.relay.branch[branch]

    def enter(self, block: int, x: Tensor) -> Tensor:
        if block not in self._entries:
            return x
        return self.body.layers[self._entries[block] + 1].downsample(x)

    def step(self, block: int, x: Tensor, relay: Tensor | None, other: Tensor | None) -> tuple[Tensor, Tensor | None]:
        layer = self._blocks()[block]
        if relay is None or self.relay is None:
            return layer(x), None
        return window_block(layer, x, relay, other, self.relay.blocks[block])

    def as_map(self, tokens: Tensor, view: Tensor) -> Tensor:
        return tokens.permute(0, 3, 1, 2)


def window_block(block: Any, x: Tensor, relay: Tensor, other: Tensor | None, part: nn.Module) -> tuple[Tensor, Tensor]:
    """One res-post-norm block on a map [B, H, W, C] and relay tokens [B, R, C].

    `z <- z + DP(LN(attention))`, `z <- z + DP(LN(MLP z))`; the relay residual is the state before attention.
    """
    b, h, w, c = x.shape
    windows, mask, padded = to_windows(block, x)
    update, relay_update = window_attention(block.attn, windows, relay, other, part, mask)
    x = x + block.drop_path1(block.norm1(from_windows(block, update, padded, (h, w))))
    relay = relay + block.drop_path1(block.norm1(relay_update))
    x = x.reshape(b, -1, c)
    x = x + block.drop_path2(block.norm2(block.mlp(x)))
    return x.reshape(b, h, w, c), relay + block.drop_path2(block.norm2(block.mlp(relay)))


def to_windows(block: Any, x: Tensor) -> tuple[Tensor, Tensor | None, tuple[int, int]]:
    """Shift, pad and cut a map as the block does: windows [B, W, N, C], mask [W, N, N] or None, padded size."""
    size, shift = block.window_size, block.shift_size
    if any(shift):
        x = torch.roll(x, shifts=(-shift[0], -shift[1]), dims=(1, 2))
    x = F.pad(x, (0, 0, 0, -x.shape[2] % size[1], 0, -x.shape[1] % size[0]))
    mask = block.get_attn_mask(x) if getattr(block, "dynamic_mask", False) else block.attn_mask
    b, h, w, c = x.shape
    return window_partition(x, size).view(b, -1, block.window_area, c), mask, (h, w)


def from_windows(block: Any, windows: Tensor, padded: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Inverse of `to_windows`: [B, W, N, C] -> [B, H, W, C]."""
    x = windows.reshape(-1, *block.window_size, windows.shape[-1])
    x = window_reverse(x, block.window_size, padded)[:, : size[0], : size[1]].contiguous()
    return torch.roll(x, shifts=tuple(block.shift_size), dims=(1, 2)) if any(block.shift_size) else x


def window_attention(
    attn: Any, windows: Tensor, relay: Tensor, other: Tensor | None, part: Any, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Updates of windows [B, W, N, C] and of relay tokens [B, R, C] (the mean over the windows).

    Whether relay tokens are gated or members of the sequence is told by `part`. Relay rows and columns of the shift
    mask are 0: they see, and are seen by, all parts of a window.
    """
    b, count, n, c = windows.shape
    patches = _heads(attn, windows.reshape(b * count, n, c))
    sets = [_heads(attn, tokens) for tokens in (relay, other) if tokens is not None]
    bias, mask = _position_bias(attn), None if mask is None else mask.repeat(b, 1, 1)[:, None]  # [B * W, 1, N, N]
    if isinstance(part, RelayGates):
        y, yr = _gated(attn, patches, sets, part, bias, mask)
    else:
        y, yr = _joined(attn, patches, sets, part.bias, bias, mask)
    y = y.transpose(1, 2).reshape(b, count, n, c)
    yr = yr.transpose(1, 2).reshape(b, -1, c)
    return attn.proj_drop(attn.proj(y)), attn.proj_drop(attn.proj(yr))


def _gated(attn: Any, patches: Any, sets: list[Any], part: Any, bias: Tensor, mask: Tensor | None) -> Any:
    """Relay tokens in a softmax of their own; see `relay_vit.gated_attention`.

    Keys and queries of relay tokens are the same in all windows, so that their products are taken for a whole image at
    once: y [B * W, heads, N, d], y_r [B, heads, R, d].
    """
    rq, rk, rv = sets[0]
    q, k, v = patches
    logits = _cosines(attn, q, k) + bias[None]
    y = _weigh(attn, logits if mask is None else logits + mask, v)
    b, count, n = len(rq), len(q) // len(rq), q.shape[2]
    q, k, v = (t.unflatten(0, (b, count)).transpose(1, 2).flatten(2, 3) for t in patches)  # [B, heads, W * N, d]
    for which, (_, keys, values) in zip((OWN, OTHER), sets, strict=False):
        added = _weigh(attn, _cosines(attn, q, keys), part(which) * values)  # the gate on the few values is cheaper
        y = y + added.unflatten(2, (count, n)).transpose(1, 2).flatten(0, 1)
    to_patch = _cosines(attn, rq, k) + part.bias[RELAY_TO_PATCH, :, None, None]
    to_relay = _cosines(attn, rq, rk) + part.bias[RELAY_TO_RELAY, :, None, None]
    by_window = to_patch.unflatten(3, (count, n)), to_relay[:, :, :, None].expand(-1, -1, -1, count, -1)
    weights = attn.attn_drop(torch.cat(by_window, dim=-1).softmax(dim=-1)) / count  # [B, heads, R, W, N + R]
    return y, weights[..., :n].flatten(3) @ v + weights[..., n:].sum(dim=3) @ rv


def _joined(attn: Any, patches: Any, sets: list[Any], own_bias: Tensor, bias: Tensor, mask: Tensor | None) -> Any:
    """Relay tokens as members of the sequence, behind the patches: y [B * W, heads, N, d], y_r [B, heads, R, d]."""
    own, n, count = sets[0][0].shape[2], patches[0].shape[2], len(patches[0]) // len(sets[0][0])
    spread = [[_spread(t, count) for t in one] for one in sets]
    q, k, v = (torch.cat([patches[i], *(one[i] for one in spread)], dim=2) for i in range(3))
    extra = q.shape[2] - n
    by_head = own_bias[:, :, None, None]  # [3, heads, 1, 1]
    rows = torch.cat([bias, by_head[PATCH_TO_RELAY].expand(-1, n, extra)], dim=2)
    below = [by_head[RELAY_TO_PATCH].expand(-1, extra, n), by_head[RELAY_TO_RELAY].expand(-1, extra, extra)]
    full = torch.cat([rows, torch.cat(below, dim=2)], dim=1)  # [heads, N + R, N + R]
    logits = _cosines(attn, q, k) + full[None]
    y = _weigh(attn, logits if mask is None else logits + F.pad(mask, (0, extra, 0, extra)), v)
    return y[:, :, :n], y[:, :, n : n + own].unflatten(0, (-1, count)).mean(dim=1)


def _heads(attn: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """q, k of length 1, and v [*, heads, N, d]; keys have no bias in SwinV2."""
    b, n, _ = x.shape
    bias = None if attn.q_bias is None else torch.cat((attn.q_bias, attn.k_bias, attn.v_bias))
    qkv = F.linear(x, weight=attn.qkv.weight, bias=bias)
    q, k, v = qkv.reshape(b, n, 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    return F.normalize(q, dim=-1), F.normalize(k, dim=-1), v


def _spread(x: Tensor, windows: int) -> Tensor:
    """[B, heads, R, d] -> the same for every window [B * W, heads, R, d]."""
    return x[:, None].expand(-1, windows, -1, -1, -1).flatten(0, 1)


def _cosines(attn: Any, q: Tensor, k: Tensor) -> Tensor:
    """Scaled cosines of unit vectors."""
    return q @ k.transpose(-2, -1) * torch.clamp(attn.logit_scale, max=math.log(1.0 / 0.01)).exp()


def _weigh(attn: Any, logits: Tensor, v: Tensor) -> Tensor:
    return attn.attn_drop(logits.softmax(dim=-1)) @ v


def _position_bias(attn: Any) -> Tensor:
    """16 sigmoid(MLP(log-spaced offsets)): [heads, N, N]."""
    area = attn.window_size[0] * attn.window_size[1]
    table = attn.cpb_mlp(attn.relative_coords_table).view(-1, attn.num_heads)
    bias = table[attn.relative_position_index.view(-1)].view(area, area, -1)
    return 16 * torch.sigmoid(bias.permute(2, 0, 1).contiguous())

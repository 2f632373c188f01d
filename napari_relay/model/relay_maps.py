"""Where relay tokens look and what they add, block by block: for people, not for the network.

The encoder is walked once more; its numbers are those of `relay.relay_attention`, with the attention weights kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_relay.model.encoder import RelayTinyViT, Stem
from napari_relay.model.layers import Attention
from napari_relay.model.relay import OTHER, OWN, RelayGates, from_windows, relay_block, to_windows


@dataclass(frozen=True, eq=False)
class BlockMaps:
    """One block, mean over its heads.

    looks : share of each relay token's attention that falls on a patch [B, R, H, W]; what is missing to a sum of 1 went
        to relay tokens.
    own, other : what the view's own relay tokens, and those of the global view, add to a patch, as a share of the whole
        update that attention makes there [B, H, W]. 0 while gates are shut; `other` is 0 without a global view.
    """

    looks: Tensor
    own: Tensor
    other: Tensor


@torch.inference_mode()
def block_maps(
    encoder: RelayTinyViT, stem: Stem, states: list[Tensor] | None = None, geometry: Tensor | None = None
) -> Iterator[BlockMaps]:
    """Maps of the eight blocks of a local view; arguments as for `RelayTinyViT.trunk`. Nothing for R = 0."""
    if encoder.relay is None:
        return
    x = stem.f16.permute(0, 2, 3, 1)
    relay, others = encoder.relay.start(len(x)), encoder._others(states, geometry)
    for i, (block, gates) in enumerate(zip(encoder._blocks(), encoder.relay.blocks, strict=True)):
        if i == 6:
            x, relay = encoder._enter_last_stage(x), encoder.relay.transition(relay)
        yield _maps(block, x, relay, others[i], gates)
        x, relay = relay_block(block, x, relay, others[i], gates)


def _maps(block: Any, x: Tensor, relay: Tensor, other: Tensor | None, gates: RelayGates) -> BlockMaps:
    b, h, w, _ = x.shape
    size, attn = block.window_size, block.attn
    windows = to_windows(x, size)  # [B, W, N, C]
    q, k, v = _heads(attn, windows)
    rq, rk, rv = (t.expand(-1, windows.shape[1], -1, -1, -1) for t in _heads(attn, relay[:, None]))
    weights = _weights(attn, rq, torch.cat([rk, k], dim=3)).mean(dim=2)  # [B, W, R, R + N]
    looks = weights[..., relay.shape[1] :].transpose(2, 3) / windows.shape[1]
    patches = _weights(attn, q, k, attn.get_attention_biases(x.device)) @ v
    parts = {OWN: gates(OWN) * (_weights(attn, q, rk) @ rv)}
    if other is not None:
        _, ok, ov = (t.expand(-1, windows.shape[1], -1, -1, -1) for t in _heads(attn, other[:, None]))
        parts[OTHER] = gates(OTHER) * (_weights(attn, q, ok) @ ov)
    whole = _projected(attn, patches + sum(parts.values())).norm(dim=-1, keepdim=True).clamp_min(1e-12)
    shares = {which: _projected(attn, part).norm(dim=-1, keepdim=True) / whole for which, part in parts.items()}
    back = {which: from_windows(share, size, h, w)[..., 0] for which, share in shares.items()}
    return BlockMaps(
        from_windows(looks, size, h, w).permute(0, 3, 1, 2), back[OWN], back.get(OTHER, x.new_zeros(b, h, w))
    )


def _heads(attn: Any, x: Tensor) -> tuple[Tensor, ...]:
    """q, k, v [B, W, heads, N, d] of windows [B, W, N, C]."""
    qkv = attn.qkv(attn.norm(x)).unflatten(-1, (attn.num_heads, -1)).transpose(2, 3)
    return qkv.split([attn.key_dim, attn.key_dim, attn.val_dim], dim=-1)


def _weights(attn: Any, q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
    logits = q @ k.transpose(-2, -1) * attn.key_dim**-0.5
    return (logits if bias is None else logits + bias).softmax(dim=-1)


def _projected(attn: Any, y: Tensor) -> Tensor:
    """A part of the update, without the bias that belongs to no part: [B, W, heads, N, d] -> [B, W, N, C]."""
    return F.linear(y.transpose(2, 3).flatten(3), attn.proj.weight)


@torch.inference_mode()
def reading_weights(attention: Attention, x: Tensor, rows: Tensor) -> Tensor:
    """How much each token [B, N, C] takes from each row [B, R, C] through `attention`: [B, N, R], sums to 1."""
    q = attention.q_proj(x).unflatten(-1, (attention.heads, -1)).transpose(1, 2)
    k = attention.k_proj(rows).unflatten(-1, (attention.heads, -1)).transpose(1, 2)
    return (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(dim=-1).mean(dim=1)

"""Relay tokens in a plain vision transformer (timm `VisionTransformer` with plain blocks).

RelayToken (Perron et al., TMLR 2026, arXiv 2601.05927), its ViT version: all blocks are shared by the local and the
global branch, relay tokens come first in the sequence. Class and register tokens of the backbone stay where they are,
in each branch; LayerScale and drop path act on relay tokens as on patches.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from napari_relay.model.relay import OTHER, OWN, RelayGates
from napari_relay.model.relay_rules import GLOBAL, RelayBackbone, RelayConfig, RelayParameters, check_size


class SecondEmbedding(nn.Module):
    """Patch embedding and position table of the global branch, started as copies of the local one's."""

    def __init__(self, body: Any) -> None:
        super().__init__()
        self.patch_embed = copy.deepcopy(body.patch_embed)
        self.pos_embed = None if body.pos_embed is None else nn.Parameter(body.pos_embed.detach().clone())


class RelayViT(RelayBackbone):
    """Two views through one ViT. Make it with `attach_relay`, which checks the model."""

    def __init__(self, body: nn.Module, config: RelayConfig) -> None:
        super().__init__(body, config)
        blocks = self.body.blocks
        if config.tokens:
            gated = config.attach == "gated"
            gates = [RelayGates(block.attn.num_heads) for block in blocks] if gated else []
            self.relay = RelayParameters(config.tokens, (self.body.embed_dim,), gates)
        self.embedding = SecondEmbedding(self.body) if config.separate_embedding else None

    @property
    def depth(self) -> int:
        return len(self.body.blocks)

    def embed(self, view: Tensor, branch: int) -> Tensor:
        """Patches with their positions, behind class and register tokens: [B, prefix + N, C]."""
        body = self.body
        own = body if branch != GLOBAL or self.embedding is None else self.embedding
        check_size(own.patch_embed, view)
        x, table = own.patch_embed(view), own.pos_embed
        if body.dynamic_img_size:
            table = self._table(table, x.shape[1:3])
            x = x.flatten(1, 2)  # [B, N, C]
        if self.relay is not None:
            x = x + self.relay.branch[branch]
        prefix = [token.expand(len(x), -1, -1) for token in (body.cls_token, body.reg_token) if token is not None]
        if table is not None and body.no_embed_class:
            x, table = x + table, None
        x = torch.cat([*prefix, x], dim=1)
        if table is not None:
            x = x + table
        return body.norm_pre(body.pos_drop(x))

    def _table(self, table: Tensor | None, grid: torch.Size) -> Tensor | None:
        """The position table for a grid, resized bicubically (antialiased) where it differs."""
        if table is None:
            return None
        prefix = 0 if self.body.no_embed_class else self.body.num_prefix_tokens
        return resample_abs_pos_embed(
            table, new_size=list(grid), old_size=list(self.body.patch_embed.grid_size), num_prefix_tokens=prefix
        )

    def step(self, block: int, x: Tensor, relay: Tensor | None, other: Tensor | None) -> tuple[Tensor, Tensor | None]:
        layer = self.body.blocks[block]
        if relay is None or self.relay is None:
            return layer(x), None
        if self.config.attach == "gated":
            return gated_block(layer, x, relay, other, self.relay.blocks[block])
        sets = [relay] if other is None else [relay, other]
        z = layer(torch.cat([*sets, x], dim=1))
        return z[:, sum(s.shape[1] for s in sets) :], z[:, : relay.shape[1]]

    def as_map(self, tokens: Tensor, view: Tensor) -> Tensor:
        patch = self.body.patch_embed.patch_size
        grid = [-(-side // p) for side, p in zip(view.shape[-2:], patch, strict=True)]
        patches = tokens[:, self.body.num_prefix_tokens :]
        return patches.transpose(1, 2).unflatten(2, grid)  # [B, C, h, w]


def gated_block(block: Any, x: Tensor, relay: Tensor, other: Tensor | None, gates: RelayGates) -> tuple[Tensor, Tensor]:
    """One pre-norm block: `z <- z + DP(LS(MSA(LN z)))`, `z <- z + DP(LS(MLP(LN z)))`, with `gated_attention` as MSA.

    Patches and relay tokens go through the same layers in calls of their own: at shut gates the patches' numbers are
    then those of the plain block, bit for bit.
    """
    read = None if other is None else block.norm1(other)
    update, relay_update = gated_attention(block.attn, block.norm1(x), block.norm1(relay), read, gates)
    x = x + block.drop_path1(block.ls1(update))
    relay = relay + block.drop_path1(block.ls1(relay_update))
    x = x + block.drop_path2(block.ls2(block.mlp(block.norm2(x))))
    return x, relay + block.drop_path2(block.ls2(block.mlp(block.norm2(relay))))


def gated_attention(
    attn: Any, x: Tensor, relay: Tensor, other: Tensor | None, gates: RelayGates
) -> tuple[Tensor, Tensor]:
    """Updates of patches [B, N, C] and relay tokens [B, R, C], all normalised already.

    Notes
    -----
    y_p = Attn(q_p, K_p, V_p) + tanh(g) Attn(q_p, K_r, V_r)   for each relay set, in a softmax of its own
    y_r = Attn(q_r, [K_r ; K_p], [V_r ; V_p])
    """
    q, k, v = _heads(attn, x)
    rq, rk, rv = _heads(attn, relay)
    # The gates act on the few values instead of the many results: the same, and cheaper.
    y = _attend(attn, q, k, v) + _attend(attn, q, rk, gates(OWN) * rv)
    if other is not None:
        _, ok, ov = _heads(attn, other)
        y = y + _attend(attn, q, ok, gates(OTHER) * ov)
    yr = _attend(attn, rq, torch.cat([rk, k], dim=2), torch.cat([rv, v], dim=2))
    return _out(attn, y), _out(attn, yr)


def _heads(attn: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """q, k, v [B, heads, N, d] of timm's attention."""
    b, n, _ = x.shape
    q, k, v = attn.qkv(x).reshape(b, n, 3, attn.num_heads, attn.head_dim).permute(2, 0, 3, 1, 4).unbind(0)
    return attn.q_norm(q), attn.k_norm(k), v


def _attend(attn: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    if attn.fused_attn:
        return F.scaled_dot_product_attention(q, k, v, dropout_p=attn.attn_drop.p if attn.training else 0.0)
    weights = ((q * attn.scale) @ k.transpose(-2, -1)).softmax(dim=-1)
    return attn.attn_drop(weights) @ v


def _out(attn: Any, y: Tensor) -> Tensor:
    y = y.transpose(1, 2).flatten(2)  # [B, N, C]
    return attn.proj_drop(attn.proj(attn.norm(y)))

"""Relay tokens in the windows of a TinyViT.

A few learned vectors pass through the transformer blocks of a local and a global view and carry context between
the windows of one view and between the views (Perron, Sydorov, Pottier, Landrieu, "RelayToken", TMLR 2026). The form
here is gated: patch queries attend to relay keys in a softmax of their own, whose result enters through a gate per
head that starts at 0, so that a pretrained backbone is extended without damage.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

OWN, OTHER = 0, 1
"""Rows of a gate: the view's own relay tokens, and those of the global view."""


class RelayGates(nn.Module):
    """The gates of one block: [2, heads], opened by tanh; 0 at first."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(2, heads))

    def forward(self, which: int) -> Tensor:
        return torch.tanh(self.gate[which])[:, None, None]  # [heads, 1, 1]


class OffsetCode(nn.Module):
    """Where the local view lies in the global one: MLP(sincos(dy, dx, log2 k)), zero at first.

    Input [B, >= 3] (dy, dx, log2 k, ...), output [B, 1, width].
    """

    def __init__(self, width: int, frequencies: int = 4, hidden: int = 64) -> None:
        super().__init__()
        self.register_buffer("frequencies", math.pi * 2.0 ** torch.arange(frequencies), persistent=False)
        self.hidden = nn.Linear(3 * 2 * frequencies, hidden)
        self.out = nn.Linear(hidden, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, geometry: Tensor) -> Tensor:
        angles = geometry[:, :3, None] * self.frequencies  # [B, 3, F]
        code = torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(1)
        return self.out(F.gelu(self.hidden(code.to(self.out.weight.dtype))))[:, None]


class RelayTokens(nn.Module):
    """All parameters that relay tokens add to a backbone of two stages (under 2 % of TinyViT-5M).

    Parameters
    ----------
    tokens : number R of relay tokens.
    widths : channels of the two stages.
    heads, depths : heads and blocks of the two stages.
    """

    def __init__(
        self, tokens: int, widths: tuple[int, int], heads: tuple[int, int], depths: tuple[int, int]
    ) -> None:
        super().__init__()
        # Not zeros: equal tokens would get equal gradients and stay equal for ever.
        self.init = nn.Parameter(torch.randn(tokens, widths[0]) * 0.02)
        self.branch = nn.Parameter(torch.zeros(widths[0]))
        self.offset = OffsetCode(widths[0])
        self.transition = nn.Linear(widths[0], widths[1])
        self.blocks = nn.ModuleList(
            RelayGates(head) for head, depth in zip(heads, depths, strict=True) for _ in range(depth)
        )

    def start(self, batch: int) -> Tensor:
        return self.init.expand(batch, -1, -1)  # [B, R, C]


def to_windows(x: Tensor, size: int) -> Tensor:
    """[B, H, W, C] -> [B, windows, size * size, C]; H and W must be multiples of `size`."""
    b, h, w, c = x.shape
    x = x.view(b, h // size, size, w // size, size, c).transpose(2, 3)
    return x.reshape(b, (h // size) * (w // size), size * size, c)


def from_windows(x: Tensor, size: int, height: int, width: int) -> Tensor:
    """Inverse of `to_windows`."""
    b, c = x.shape[0], x.shape[-1]
    x = x.view(b, height // size, width // size, size, size, c).transpose(2, 3)
    return x.reshape(b, height, width, c)


def _qkv(attn: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Normalised q, k, v of TinyViT's attention: [B, heads, N, d] each, for x [B, N, C]."""
    b, n, _ = x.shape
    qkv = attn.qkv(attn.norm(x)).view(b, n, attn.num_heads, -1).transpose(1, 2)
    return qkv.split([attn.key_dim, attn.key_dim, attn.val_dim], dim=3)


def relay_attention(
    attn: nn.Module, x: Tensor, relay: Tensor, other: Tensor | None, gates: RelayGates
) -> tuple[Tensor, Tensor]:
    """One windowed attention with relay tokens; returns the residual updates of patches and relay tokens.

    Parameters
    ----------
    x : windows of patches [B, windows, N, C].
    relay : the view's own relay tokens [B, R, C].
    other : relay tokens of the global view [B, R', C], or None.

    Notes
    -----
    y_p = softmax(q_p K_p' s + b) V_p + tanh(g) softmax(q_p K_r' s) V_r   for each relay set
    y_r = mean over windows of softmax(q_r [K_r ; K_p]' s) [V_r ; V_p]
    """
    b, windows, n, c = x.shape
    heads = attn.num_heads
    q, k, v = _qkv(attn, x.reshape(b * windows, n, c))
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=attn.get_attention_biases(x.device).to(q.dtype))
    rq, rk, rv = _qkv(attn, relay)  # [B, heads, R, d]

    def spread(t: Tensor) -> Tensor:
        return t[:, None].expand(-1, windows, -1, -1, -1).flatten(0, 1)  # [B * windows, heads, R, d]

    y = y + gates(OWN) * F.scaled_dot_product_attention(q, spread(rk), spread(rv))
    if other is not None:
        _, ok, ov = _qkv(attn, other)
        y = y + gates(OTHER) * F.scaled_dot_product_attention(q, spread(ok), spread(ov))
    keys, values = torch.cat([spread(rk), k], dim=2), torch.cat([spread(rv), v], dim=2)
    yr = F.scaled_dot_product_attention(spread(rq), keys, values)  # [B * windows, heads, R, d]
    yr = yr.view(b, windows, heads, -1, attn.val_dim).mean(dim=1)
    y = attn.proj(y.transpose(1, 2).reshape(b, windows, n, -1))
    yr = attn.proj(yr.transpose(1, 2).reshape(b, relay.shape[1], -1))
    return y, yr


def relay_block(
    block: nn.Module, x: Tensor, relay: Tensor, other: Tensor | None, gates: RelayGates
) -> tuple[Tensor, Tensor]:
    """A TinyViT block on patches [B, H, W, C] and relay tokens [B, R, C]. The 3x3 convolution is for patches only."""
    b, h, w, c = x.shape
    size = block.window_size
    update, relay_update = relay_attention(block.attn, to_windows(x, size), relay, other, gates)
    x = x + from_windows(update, size, h, w)
    relay = relay + relay_update
    x = block.local_conv(x.permute(0, 3, 1, 2))
    x = x.reshape(b, c, h * w).transpose(1, 2)
    x = x + block.mlp(x)
    relay = relay + block.mlp(relay)
    return x.view(b, h, w, c), relay

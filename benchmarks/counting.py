"""Counting what a network costs: multiply-adds (one MAC each) of its matrix products and convolutions.

Other work (norms, activations, sampling, softmax) is not counted, as is the custom.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def macs(call: Callable[[], object]) -> int:
    """Multiply-adds of a call. On meta tensors nothing is computed."""
    counter = FlopCounterMode(display=False)
    # Fused attention on the CPU is not known to the counter; its plain form is two matrix products.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        call()
    return counter.get_total_flops() // 2


def count(parts: nn.Module | Tensor | Iterable[nn.Module | Tensor]) -> int:
    """Parameters of modules and single tensors."""
    if isinstance(parts, nn.Module):
        return sum(p.numel() for p in parts.parameters())
    if isinstance(parts, Tensor):
        return parts.numel()
    return sum(count(part) for part in parts)


def giga(value: int) -> str:
    """10^9, with as many digits as mean something."""
    return f"{value / 1e9:.2f}" if value >= 5e6 else "0" if value == 0 else f"{value / 1e9:.4f}"


def mega(value: int) -> str:
    return f"{value / 1e6:.3f}"

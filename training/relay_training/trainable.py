"""What a run moves, and how: frozen parts, AdamW's groups, gates, attention on a CPU, the average of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from napari_relay.model.encoder import freeze
from napari_relay.model.network import ClickModel


def parameter_groups(
    model: ClickModel, *, new: float, peer: float, relay: float, weight_decay: float
) -> list[dict[str, Any]]:
    """AdamW groups with the rates of new head parts, of parts that come trained, and of relay tokens and their gates;
    every trainable parameter is in exactly one."""
    peer_parts = ("head.prompt.", "head.decoder.", "encoder.stages.", "encoder.neck.")
    groups: dict[tuple[str, bool], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            kind = "relay" if name.startswith("encoder.relay.") else "peer" if name.startswith(peer_parts) else "new"
            decays = parameter.dim() > 1 and kind != "relay"
            groups.setdefault((kind, decays), []).append(parameter)
    rates = {"new": new, "peer": peer, "relay": relay}
    return [
        {"params": p, "lr": rates[kind], "base": rates[kind], "weight_decay": weight_decay if decays else 0.0}
        for (kind, decays), p in groups.items()
    ]


def set_trainable(model: ClickModel, train: str) -> None:
    """Freeze what a run leaves alone; in a `trunk` run stem and stage 2 stay frozen."""
    encoder = model.encoder
    freeze(encoder)
    if train == "trunk":
        parts = [encoder.stages[2].blocks, encoder.stages[3], encoder.neck, encoder.relay]
        for part in parts:
            for name, parameter in part.named_parameters():
                # Folded batch norms stay as they are.
                parameter.requires_grad_(".bn." not in name)


def open_gates(model: ClickModel, least: float) -> None:
    """Set relay gates whose size is below `least` to it: an open gate passes a signal to learn from at once."""
    if least and model.encoder.relay is not None:
        with torch.no_grad():
            for block in model.encoder.relay.blocks:
                gate = block.get_parameter("gate")
                gate.copy_(torch.where(gate.abs() < least, torch.full_like(gate, least), gate))


@contextmanager
def plain_attention() -> Iterator[None]:
    """On a CPU, attention as plain products in the number type of its input.

    The fused kernel's backward pass is slow for small windows, and torch's own plain one works in float32 unless it is
    allowed not to.
    """
    if torch.cuda.is_available():
        yield
        return
    allowed = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(allowed)


class Average:
    """Exponential moving average of the trainable parameters, with a warm-up of its memory."""

    def __init__(self, model: ClickModel, decay: float) -> None:
        self.decay = decay
        self.values = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}

    def update(self, model: ClickModel, step: int) -> None:
        keep = min(self.decay, (1 + step) / (10 + step))
        for name, parameter in model.named_parameters():
            if name in self.values:
                self.values[name].lerp_(parameter.detach(), 1 - keep)

    def state(self, model: ClickModel) -> dict[str, Tensor]:
        """Full state dictionary with the averaged values."""
        return {**model.state_dict(), **self.values}

"""Which parameters learning may move: the head's own parts, and the decoder's attention by low-rank additions.

LoRA: Hu et al., "Low-Rank Adaptation of Large Language Models", ICLR 2022. The encoder is not touched, so that no
cached encoding becomes invalid, unless learning goes `deep`: then stages 3 and 4 and the neck get low-rank additions as
well, and the relay tokens move.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from napari_relay.model.encoder import freeze
from napari_relay.model.layers import Attention
from napari_relay.model.network import ClickModel

PARTS = (
    "contrast.", "similarity_in.", "scales.", "pixels.", "decoder.up1.", "decoder.up_norm.", "decoder.up2.",
    "decoder.mask_mlps.", "decoder.iou_mlp.",
)  # fmt: skip
"""Parameters of the head that are trained as they are."""
NEW = ("contrast.", "similarity_in.", "scales.", "pixels.")
"""Those of them that are our own additions; the others come from the start weights."""


class LowRank(nn.Module):
    """A weight with an addition of low rank that starts at 0: W + (alpha / rank) B A."""

    def __init__(self, weight: Tensor, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__()
        rows, columns = weight.shape[0], weight[0].numel()
        self.factor = alpha / rank
        self.a = nn.Parameter(torch.randn(rank, columns, generator=generator) / math.sqrt(columns))
        self.b = nn.Parameter(torch.zeros(rows, rank))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.factor * (self.b @ self.a).view_as(weight)


def open_parts(model: ClickModel, rank: int, alpha: float, seed: int = 0, *, deep: bool = False) -> None:
    """Freeze all but what is learned; `rank` 0 makes no low-rank additions."""
    freeze(model)
    for name, parameter in model.head.named_parameters():
        parameter.requires_grad_(name.startswith(PARTS))
    generator = torch.Generator().manual_seed(seed)
    if deep and model.encoder.relay is not None:
        model.encoder.relay.requires_grad_(True)
    for linear in [*_projections(model), *(_encoder_weights(model) if deep else ())] if rank else ():
        parametrize.register_parametrization(linear, "weight", LowRank(linear.weight, rank, alpha, generator))


def merged_state(model: ClickModel) -> dict[str, Tensor]:
    """Copies of all weights under their plain names, with the low-rank additions added."""
    state = {n: v.detach().clone() for n, v in model.state_dict().items() if ".parametrizations." not in n}
    for name, module in model.named_modules():
        if parametrize.is_parametrized(module):
            with torch.no_grad():
                state[f"{name}.weight"] = module.weight.clone()
    return state


def _projections(model: ClickModel) -> list[nn.Linear]:
    attentions = [module for module in model.head.decoder.modules() if isinstance(module, Attention)]
    return [linear for attention in attentions for linear in attention.children() if isinstance(linear, nn.Linear)]


def _encoder_weights(model: ClickModel) -> list[nn.Module]:
    """Attention and MLP of stages 3 and 4, and the neck's first convolution."""
    stages = (model.encoder.stages[2].blocks, model.encoder.stages[3].blocks)
    linears = [m for stage in stages for m in stage.modules() if isinstance(m, nn.Linear)]
    return [*linears, model.encoder.neck[0]]


def groups(model: ClickModel, lr_new: float, lr_peer: float, lr_lora: float, decay: float) -> list[dict[str, object]]:
    """AdamW's groups; low-rank additions and relay tokens are not decayed."""
    found: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            lora = ".parametrizations." in name or name.startswith("encoder.relay.")
            rate = lr_lora if lora else lr_new if name.removeprefix("head.").startswith(NEW) else lr_peer
            weight_decay = 0.0 if lora or parameter.dim() < 2 else decay
            found.setdefault((rate, weight_decay), []).append(parameter)
    return [{"params": p, "lr": rate, "base": rate, "weight_decay": d} for (rate, d), p in found.items()]

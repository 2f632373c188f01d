"""Put relay tokens on a timm backbone, and load a backbone's weights without silence.

The product's TinyViT has them built in (`encoder.py`); this is for research on other encoders.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from timm.models.swin_transformer_v2 import SwinTransformerV2
from timm.models.vision_transformer import Attention, Block, VisionTransformer
from torch import Tensor, nn

from napari_relay.errors import CheckpointError, UsageError
from napari_relay.model.relay_rules import RelayBackbone, RelayConfig
from napari_relay.model.relay_swin import RelaySwin
from napari_relay.model.relay_vit import RelayViT


def attach_relay(model: nn.Module, config: RelayConfig | None = None) -> RelayBackbone:
    """A backbone for two views around `model`, which becomes its `body` (not a copy).

    Takes timm's `VisionTransformer` with plain blocks (ViT, DeiT-III, DINOv2 with or without registers) and
    `SwinTransformerV2`.

    Raises
    ------
    UsageError : for a model of any other class; subclasses too, since they have tokens or blocks of their own.
    """
    config = config or RelayConfig()
    if type(model) is SwinTransformerV2:
        return RelaySwin(model, config)
    if type(model) is not VisionTransformer:
        raise UsageError(
            f"Relay tokens cannot be attached to a {_name(model)}.",
            "Give a timm VisionTransformer with plain blocks, or a SwinTransformerV2.",
        )
    _check_plain(model)
    return RelayViT(model, config)


def _check_plain(model: Any) -> None:
    """Raises UsageError, naming the class, for parts that the gated block would leave out."""
    for block in model.blocks:
        odd = block if type(block) is not Block else block.attn if type(block.attn) is not Attention else None
        if odd is not None:
            raise UsageError(
                f"Relay tokens cannot be attached to a VisionTransformer of {_name(odd)}.",
                "Give one whose blocks are timm's plain Block with Attention.",
            )
        if getattr(block.attn, "gate", None) is not None:
            raise UsageError("Relay tokens cannot be attached to gated Attention.", "Give a model without it.")
    if not isinstance(model.patch_drop, nn.Identity):
        raise UsageError(
            f"Relay tokens cannot be attached to a VisionTransformer with {_name(model.patch_drop)}: "
            "maps need every patch.",
            "Create it with patch_drop_rate=0.",
        )


def _name(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What loading did: names, and the share of the backbone's parameters (without classifier) that were set."""

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    share: float


_RENAMED = (
    # The released ViT of RelayToken wraps a block's modules in lists of length 1.
    (re.compile(r"^(blocks\.\d+\.(?:norm1|attn|ls1|norm2|mlp|ls2))\.0\."), r"\1."),
    # DeiT-III's own names of LayerScale.
    (re.compile(r"\.gamma_([12])$"), r".ls\1.gamma"),
)


def load_backbone(model: nn.Module, state: Mapping[str, Tensor], *, least: float = 0.95) -> LoadReport:
    """Load weights into a timm backbone (before or after `attach_relay`) and say what found its place.

    Loading by name and skipping the rest in silence is how a "pretrained" backbone stays random: the released code
    does so with files that were not converted beforehand.

    Raises
    ------
    CheckpointError : less than `least` of the backbone's parameters were set.
    """
    body = model.body if isinstance(model, RelayBackbone) else model
    sizes = {name: p.numel() for name, p in body.named_parameters() if not name.startswith("head")}
    shapes = {name: tensor.shape for name, tensor in body.state_dict().items()}
    found = {_renamed(name): tensor for name, tensor in state.items()}
    fitting = {name: t for name, t in found.items() if name in shapes and t.shape == shapes[name]}
    body.load_state_dict(fitting, strict=False)
    missing = tuple(name for name in sizes if name not in fitting)
    unexpected = tuple(name for name in found if name not in fitting)
    share = 1 - sum(sizes[name] for name in missing) / sum(sizes.values())
    if share < least:
        raise CheckpointError(
            f"The weights fill only {share:.0%} of the backbone; without a place or of another shape: "
            f"{', '.join(unexpected[:4]) or 'none'}; missing: {', '.join(missing[:4])}.",
            "Convert their names, or create the backbone that they belong to.",
        )
    return LoadReport(tuple(fitting), missing, unexpected, share)


def _renamed(name: str) -> str:
    for pattern, to in _RENAMED:
        name = pattern.sub(to, name)
    return name

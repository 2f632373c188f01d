"""Renaming of start weights: MobileSAM's names to ours, by one pure function.

The start is MobileSAM (Zhang et al., arXiv 2306.14289; Apache-2.0): TinyViT-5M encoder and mask decoder, distilled from
Segment Anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from torch import Tensor, nn

from napari_relay.errors import CheckpointError

_RULES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"^image_encoder\.patch_embed\.seq\.0\.", "encoder.patch_embed.conv1."),
    (r"^image_encoder\.patch_embed\.seq\.2\.", "encoder.patch_embed.conv2."),
    (r"^image_encoder\.layers\.(\d+)\.downsample\.", lambda m: f"encoder.stages.{int(m[1]) + 1}.downsample."),
    (r"^image_encoder\.layers\.", "encoder.stages."),
    (r"^image_encoder\.neck\.", "encoder.neck."),
    (r"\.c\.", ".conv."),
    (r"^prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix$", "head.prompt.frequencies"),
    (r"^prompt_encoder\.not_a_point_embed\.weight$", "head.prompt.not_a_point"),
    (r"^prompt_encoder\.no_mask_embed\.weight$", "head.prompt.no_mask"),
    (r"^prompt_encoder\.mask_downscaling\.", "head.prompt.mask."),
    (r"^mask_decoder\.iou_token\.weight$", "head.decoder.iou_token"),
    (r"^mask_decoder\.mask_tokens\.weight$", "head.decoder.mask_tokens"),
    (r"^mask_decoder\.transformer\.layers\.", "head.decoder.blocks."),
    (r"^mask_decoder\.transformer\.final_attn_token_to_image\.", "head.decoder.final_attn."),
    (r"^mask_decoder\.transformer\.norm_final_attn\.", "head.decoder.norm_final."),
    (r"\.cross_attn_token_to_image\.", ".token_to_image."),
    (r"\.cross_attn_image_to_token\.", ".image_to_token."),
    (r"\.mlp\.lin1\.", ".mlp_in."),
    (r"\.mlp\.lin2\.", ".mlp_out."),
    (r"^mask_decoder\.output_upscaling\.0\.", "head.decoder.up1."),
    (r"^mask_decoder\.output_upscaling\.1\.", "head.decoder.up_norm."),
    (r"^mask_decoder\.output_upscaling\.3\.", "head.decoder.up2."),
    (r"^mask_decoder\.output_hypernetworks_mlps\.", "head.decoder.mask_mlps."),
    (r"^mask_decoder\.iou_prediction_head\.", "head.decoder.iou_mlp."),
)
_DROPPED = re.compile(
    r"attention_bias_idxs|norm_head|image_encoder\.head\.|num_batches_tracked|point_embeddings\.[23]\."
)


def rename(name: str) -> str | None:
    """Our name of a tensor of MobileSAM; None for what the product lacks and for the click embeddings (joined to one
    tensor by `from_mobile_sam`)."""
    if _DROPPED.search(name) or "point_embeddings." in name:
        return None
    for pattern, to in _RULES:
        name = re.sub(pattern, to, name)
    return name


def from_mobile_sam(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename MobileSAM's tensors to those of `ClickModel` (float32); parts that the product lacks are dropped.

    Raises CheckpointError where the click embeddings are missing (not a MobileSAM file).
    """
    points = [f"prompt_encoder.point_embeddings.{i}.weight" for i in (0, 1)]
    if any(name not in state for name in points):
        raise CheckpointError(
            "The start weights are not MobileSAM's: its click embeddings are missing.",
            "Give the file of a TinyViT-based MobileSAM (vit_t).",
        )
    renamed = {new: tensor.float() for name, tensor in state.items() if (new := rename(name)) is not None}
    renamed["head.prompt.point"] = torch.cat([state[name].float() for name in points])
    return renamed


def load_start(model: nn.Module, state: dict[str, Tensor]) -> list[str]:
    """Load renamed start weights; returns the names of the parameters that stay at their initial value.

    Raises CheckpointError when a start tensor finds no place: silence would hide a half-loaded backbone.
    """
    result = model.load_state_dict(from_mobile_sam(state), strict=False)
    if result.unexpected_keys:
        raise CheckpointError(f"Start weights without a place: {', '.join(result.unexpected_keys[:5])}.")
    # TinyViT caches its attention biases in eval mode; switching modes drops what was cached before loading.
    model.train().eval()
    return [name for name in result.missing_keys if "num_batches_tracked" not in name]

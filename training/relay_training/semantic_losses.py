"""Loss of the semantic decoders (SETR, Zheng et al., IJCV 2024, arXiv 2207.09339).

Cross-entropy on the main logits and, with weight 0.4 each, on those of the auxiliary heads.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from napari_relay.model.semantic import AUXILIARY_WEIGHT, Scores
from relay_training.losses import IGNORE


def semantic_loss(scores: Scores, target: Tensor) -> Tensor:
    """Mean over the pixels that count; 0 where none does.

    Parameters
    ----------
    target : Tensor
        [B, H, W] class numbers, -1 = ignore.
    """
    loss = _cross_entropy(scores.logits, target)
    for auxiliary in scores.auxiliary:
        loss = loss + AUXILIARY_WEIGHT * _cross_entropy(auxiliary, target)
    return loss


def _cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    total = F.cross_entropy(logits.float(), target.long(), ignore_index=int(IGNORE), reduction="sum")
    return total / (target != IGNORE).sum().clamp_min(1)

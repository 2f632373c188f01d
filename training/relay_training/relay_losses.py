"""Losses between the local and the global view (RelayToken, Perron et al., TMLR 2026, arXiv 2601.05927).

Only the local square has labels, so the global branch is supervised where it overlaps the local one: its
logits are read there by `local_window`, and labels and local predictions come down to that grid by average
pooling. One channel means a mask (sigmoid), several mean classes (softmax).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from relay_training.losses import IGNORE, soft_cross_entropy


def local_window(global_logits: Tensor, geometry: Tensor, size: int) -> Tensor:
    """Global logits under the local view, [B, C, size, size], bilinear on half-pixel centres.

    Parameters
    ----------
    global_logits : Tensor
        [B, C, H, W].
    geometry : Tensor
        [B, >= 3]: dy, dx of the local centre in units of the global half side, log2 of the ratio of the
        sides, as `ViewPair.geometry` gives them. With dy = dx = 0 and size = H / ratio this is the central
        crop.
    """
    g = geometry.float()
    ratio = torch.exp2(-g[:, 2])
    zero = torch.zeros_like(ratio)
    rows = torch.stack([torch.stack([ratio, zero, g[:, 1]], 1), torch.stack([zero, ratio, g[:, 0]], 1)], 1)
    shape = [global_logits.shape[0], global_logits.shape[1], size, size]
    grid = F.affine_grid(rows, shape, align_corners=False)
    return F.grid_sample(global_logits.float(), grid, align_corners=False, padding_mode="border")


def pooled_target(target: Tensor, size: int, classes: int = 1) -> tuple[Tensor, Tensor]:
    """Soft target [B, C, size, size] and its mask [B, 1, size, size].

    `target` is [B, H, W] or [B, 1, H, W]: a mask in [0, 1], or class numbers; -1 = ignore. A block with an
    ignored pixel has mask 0, and ignored pixels never enter the soft target.
    """
    y = target.reshape(target.shape[0], 1, *target.shape[-2:])
    known = y != IGNORE
    if classes == 1:
        planes = y.float() * known
    else:
        labels = torch.where(known, y, 0).long()[:, 0]
        planes = F.one_hot(labels, classes).movedim(-1, 1).float() * known
    inside = F.adaptive_avg_pool2d(known.float(), size)
    full = inside > 1 - 0.5 * (size / y.shape[-1]) ** 2
    return F.adaptive_avg_pool2d(planes, size), full.float()


def relay_context_loss(window: Tensor, target: Tensor, has_global: Tensor | None = None) -> Tensor:
    """Global logits under the local view against the pooled label: `softCE(m c(z_G), m pool_k(y))`.

    Parameters
    ----------
    window : Tensor
        [B, C, s, s] from `local_window`.
    target : Tensor
        [B, H, W], see `pooled_target`; s divides H and W.
    has_global : Tensor, optional
        [B], False for samples without a global view (k = 0). The mean runs over what counts; 0 if nothing
        does.
    """
    soft, mask = pooled_target(target, window.shape[-1], window.shape[1])
    if has_global is not None:
        mask = mask * has_global.reshape(-1, 1, 1, 1)
    return _against(window, soft, mask)


def relay_consistency_loss(
    window: Tensor, local_logits: Tensor, has_global: Tensor | None = None, *, cons_detach: bool = False
) -> Tensor:
    """Global logits under the local view against the local prediction: `softCE(c(z_G),
    pool_k(softmax(z_L)))`.

    Parameters
    ----------
    window : Tensor
        [B, C, s, s] from `local_window`.
    local_logits : Tensor
        [B, C, H, W] ([B, H, W] for C = 1).
    cons_detach : bool
        No gradient into the local branch, for the first half of training. The released code has one.
    """
    z = local_logits.float().reshape(window.shape[0], window.shape[1], *local_logits.shape[-2:])
    if cons_detach:
        z = z.detach()
    p = torch.sigmoid(z) if window.shape[1] == 1 else torch.softmax(z, dim=1)
    soft = F.adaptive_avg_pool2d(p, window.shape[-1])
    mask = torch.ones_like(soft[:, :1])
    if has_global is not None:
        mask = mask * has_global.reshape(-1, 1, 1, 1)
    return _against(window, soft, mask)


def _against(window: Tensor, soft: Tensor, mask: Tensor) -> Tensor:
    if window.shape[1] > 1:
        return soft_cross_entropy(window, soft, mask)
    if not bool(mask.any()):
        return window.sum() * 0.0
    pixel = F.binary_cross_entropy_with_logits(window.float(), soft, reduction="none")
    return torch.where(mask > 0, pixel, 0.0).sum() / mask.sum()

"""Mask losses: pure functions of (logits, target), computed in float32 whatever comes in.

Logits are [B, H, W] or [B, M, H, W] (M masks of one sample); targets have the same shape, or [B, H, W] /
[B, 1, H, W] beside [B, M, H, W]. Targets lie in [0, 1] (soft ones allowed) and are -1 where a pixel counts
neither way. With `reduction="none"` a loss comes back per sample ([B] or [B, M]), with "mean" as a scalar.

Token losses are in `token_losses`, those between the two views in `relay_losses`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORE = -1.0
"""Target value of pixels that count neither way."""
Reduction = Literal["mean", "none"]
MaskLoss = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""(logits, target, weight) -> loss per sample, [B] or [B, M]."""


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """Loss per sample [B] and the mask that it was taken from [B] (int64)."""

    loss: Tensor
    index: Tensor


class TeacherMatch(NamedTuple):
    """Loss per sample [B], student's mask [B], teacher's mask [B] (int64; -1 where no teacher mask was
    valid).
    """

    loss: Tensor
    student: Tensor
    teacher: Tensor


def normalised_focal(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: float = 0.5,
    gamma: float = 2.0,
    detach: bool = True,
    max_mult: float | None = None,
    weight: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Normalised focal loss (Sofiiuk, Barinova, Konushin: AdaptIS, ICCV 2019; RITM, arXiv 2102.06583).

    `-sum a_t D (1 - p_t)^gamma log p_t / n` with `D = n / sum (1 - p_t)^gamma` per mask, so that the total
    focal weight stays the number of valid pixels n however good the model gets.

    Parameters
    ----------
    alpha : float
        Factor of foreground (target > 0.5); background gets 1 - alpha.
    gamma : float
        Focusing exponent.
    detach : bool
        No gradient through D ("delta detach"); with it the normaliser would partly cancel the focusing.
    max_mult : float, optional
        Upper limit of D (1 - p_t)^gamma; off by default.
    weight : Tensor, optional
        Pixel weights >= 0, shape of the target. A pixel of weight 2 counts as two pixels, in D and n as well.
    """
    z, y, valid = _prepare(logits, target)
    w = valid if weight is None else valid * _like(weight, z)
    miss, log_p = _miss_and_log(z, y)
    focus = miss.clamp_min(1e-12) ** gamma  # a power below 1 has no finite slope at 0
    count = w.sum((-2, -1), keepdim=True)
    mult = count / ((w * focus).sum((-2, -1), keepdim=True) + 1e-12)
    beta = focus * (mult.detach() if detach else mult)
    if max_mult is not None:
        beta = beta.clamp_max(max_mult)
    balance = torch.where(y > 0.5, alpha, 1 - alpha)
    loss = -(w * balance * beta * log_p).sum((-2, -1)) / (count[..., 0, 0] + 1e-12)
    return _reduce(loss, reduction)


def soft_iou(logits: Tensor, target: Tensor, *, weight: Tensor | None = None, reduction: Reduction = "mean") -> Tensor:
    """Soft IoU loss, `1 - sum p y / sum max(p, y)` over valid pixels (Rahman and Wang, ISVC 2016; RITM
    `SoftIoU`).

    0 for a sample without a valid pixel.
    """
    z, y, valid = _prepare(logits, target)
    w = valid if weight is None else valid * _like(weight, z)
    p = torch.sigmoid(z)
    overlap = (w * p * y).sum((-2, -1))
    union = (w * torch.maximum(p, y)).sum((-2, -1))
    return _reduce((1 - overlap / (union + 1e-8)) * _any(valid), reduction)


def dice(logits: Tensor, target: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """Dice loss, `1 - (2 sum p y + 1) / (sum p + sum y + 1)` (V-Net, Milletari et al., 3DV 2016;
    smoothed).
    """
    z, y, valid = _prepare(logits, target)
    p = torch.sigmoid(z) * valid
    both = (p * y).sum((-2, -1))
    total = p.sum((-2, -1)) + (y * valid).sum((-2, -1))
    return _reduce(1 - (2 * both + 1) / (total + 1), reduction)


def binary_cross_entropy(
    logits: Tensor, target: Tensor, *, weight: Tensor | None = None, reduction: Reduction = "mean"
) -> Tensor:
    """`max(z, 0) - z y + log(1 + exp(-|z|))`, mean over valid pixels; soft targets allowed."""
    z, y, valid = _prepare(logits, target)
    w = valid if weight is None else valid * _like(weight, z)
    pixel = F.binary_cross_entropy_with_logits(z, y, reduction="none")
    return _reduce((w * pixel).sum((-2, -1)) / w.sum((-2, -1)).clamp_min(1e-12), reduction)


def soft_cross_entropy(logits: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """`-sum_c q_c log softmax(a)_c`, mean over the pixels of `mask`.

    Parameters
    ----------
    logits, target : Tensor
        [B, C, H, W]; the target is a distribution over C at each pixel.
    mask : Tensor, optional
        [B, H, W] or [B, 1, H, W], 1 where a pixel counts. The mean divides by the pixels that count, not by
        all.
    """
    pixel = -(target.float() * F.log_softmax(logits.float(), dim=1)).sum(1)  # [B, H, W]
    if mask is None:
        return pixel.mean()
    m = mask.reshape(pixel.shape).float()
    # where, not a product: a masked pixel may hold an infinite loss
    return torch.where(m > 0, pixel * m, 0.0).sum() / m.sum().clamp_min(1e-12)


def mask_loss(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    alpha: float = 0.5,
    gamma: float = 2.0,
    iou_weight: float = 0.5,
) -> Tensor:
    """The product's mask loss per sample, `NFL + 0.5 soft IoU`; [B] or [B, M]. `weight` acts on the NFL
    only.
    """
    focal = normalised_focal(logits, target, alpha=alpha, gamma=gamma, weight=weight, reduction="none")
    return focal + iou_weight * soft_iou(logits, target, reduction="none")


def min_over_masks(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    loss: MaskLoss = mask_loss,
    relax: float = 0.0,
) -> Chosen:
    """Loss of the best of the M masks of a first click (Guzman-Rivera et al., NIPS 2012; SAM, ICCV 2023).

    Parameters
    ----------
    logits : Tensor
        [B, M, H, W].
    target : Tensor
        [B, H, W] or [B, 1, H, W].
    relax : float
        Share of the mean over all masks that is mixed in, so that a mask that never wins still learns a
        little (Rupprecht et al., ICCV 2017). 0: the winner alone has a gradient.
    """
    if logits.ndim != 4:
        raise ValueError(f"min_over_masks needs logits [B, M, H, W], got {tuple(logits.shape)}.")
    losses = loss(logits, target, weight)  # [B, M]
    best, index = losses.min(dim=1)
    return Chosen((1 - relax) * best + relax * losses.mean(dim=1), index)


def mask_iou(logits: Tensor, target: Tensor) -> Tensor:
    """IoU of `logits > 0` with `target > 0.5` over valid pixels, per sample ([B] or [B, M]); an empty union
    is 1.
    """
    z, y, valid = _prepare(logits.detach(), target)
    mask, truth, counts = z > 0, y > 0.5, valid > 0
    both = (mask & truth & counts).sum((-2, -1)).float()
    either = ((mask | truth) & counts).sum((-2, -1)).float()
    return torch.where(either > 0, both / either.clamp_min(1.0), 1.0)


def iou_prediction_loss(predicted: Tensor, logits: Tensor, target: Tensor) -> Tensor:
    """Squared error between the predicted and the actual IoU of each mask (SAM, ICCV 2023).

    Parameters
    ----------
    predicted : Tensor
        [B] beside logits [B, H, W], [B, M] beside [B, M, H, W]; in the unit of IoU (no sigmoid is applied).
    """
    actual = mask_iou(logits, target)
    _, _, valid = _prepare(logits.detach(), target)
    used = _any(valid)
    error = (predicted.float().reshape(actual.shape) - actual) ** 2
    return (error * used).sum() / used.sum().clamp_min(1.0)


def teacher_loss(
    logits: Tensor,
    teacher: Tensor,
    valid: Tensor | None = None,
    predicted: Tensor | None = None,
    *,
    loss: MaskLoss = mask_loss,
) -> TeacherMatch:
    """The student's best mask learns the nearest, by IoU, of the teacher's masks.

    Parameters
    ----------
    logits : Tensor
        Student [B, M, H, W] (M = 1 allowed).
    teacher : Tensor
        [B, T, H, W], probabilities or 0 / 1, -1 = ignore.
    valid : Tensor, optional
        [B, T], which of the teacher's masks exist. A sample without any has loss 0.
    predicted : Tensor, optional
        [B, M] predicted IoU: the student's best mask is the one it rates best, as it would be shown.
        Without it, the mask that is nearest to any of the teacher's.
    """
    rows = torch.arange(len(logits), device=logits.device)
    student, nearest = nearest_masks(logits, teacher, valid, predicted)
    any_mask = nearest >= 0
    per_sample = loss(logits[rows, student], teacher[rows, nearest], None)
    return TeacherMatch(torch.where(any_mask, per_sample, 0.0), student, nearest)


def nearest_masks(
    logits: Tensor, teacher: Tensor, valid: Tensor | None = None, predicted: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Which of the student's masks is compared with which of the teacher's, by IoU; parameters of `teacher_loss`.

    Returns
    -------
    tuple of Tensor
        Student's mask [B] and teacher's mask [B], int64; the latter -1 where no mask of the teacher is valid.
    """
    b, m, t = logits.shape[0], logits.shape[1], teacher.shape[1]
    exists = torch.ones(b, t, dtype=torch.bool, device=logits.device) if valid is None else valid.bool()
    pairs = [mask_iou(logits, teacher[:, i]) for i in range(t)]
    iou = torch.stack(pairs, dim=2).masked_fill(~exists[:, None], -1.0)  # [B, M, T]
    if predicted is None:
        flat = iou.flatten(1).argmax(dim=1)
        student, nearest = flat // t, flat % t
    else:
        student = predicted.reshape(b, m).argmax(dim=1)
        nearest = iou[torch.arange(b, device=logits.device), student].argmax(dim=1)
    return student, torch.where(exists.any(dim=1), nearest, -1)


def boundary_weights(target: Tensor, *, radius: int = 3, factor: float = 2.0) -> Tensor:
    """Pixel weights: `factor` within `radius` px of the outline, else 1; shape of the target.

    A pixel is near the outline when a pixel of the other side lies within the Euclidean `radius`. Ignored
    pixels are neither side, and the frame is no outline.
    """
    flat = target.float().reshape(-1, 1, *target.shape[-2:])
    steps = torch.arange(-radius, radius + 1, device=target.device)
    disk = ((steps[:, None] ** 2 + steps[None] ** 2) <= radius**2).float()[None, None]
    sides = torch.cat([flat > 0.5, (flat >= 0) & (flat <= 0.5)], dim=1).float()
    near = F.conv2d(sides, disk.expand(2, 1, -1, -1), padding=radius, groups=2) > 0.5
    edge = near.all(dim=1, keepdim=True).reshape(target.shape)
    return torch.where(edge, factor, 1.0)


def _prepare(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Float32 logits, target (0 where ignored) and validity, all of the logits' shape."""
    z = logits.float()
    y = _like(target, z)
    valid = (y != IGNORE).float()
    return z, torch.where(valid > 0, y, 0.0), valid


def _like(target: Tensor, logits: Tensor) -> Tensor:
    """`target` as float32 in the shape of `logits`; [B, H, W] is repeated over the masks of [B, M, H, W]."""
    y = target.float()
    if y.ndim == 3 and logits.ndim == 4:
        y = y[:, None]
    elif y.ndim == 4 and logits.ndim == 3 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != logits.ndim or y.shape[0] != logits.shape[0] or y.shape[-2:] != logits.shape[-2:]:
        raise ValueError(f"Target {tuple(target.shape)} does not fit logits {tuple(logits.shape)}.")
    return y.expand(logits.shape)


def _miss_and_log(z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """`1 - p_t = |y - p|` and `log p_t`. Hard labels go through logsigmoid, which stays exact where p_t
    rounds to 0 or 1; soft ones through a clamped logarithm."""
    signed = torch.where(y > 0.5, z, -z)
    hard = (y == 0) | (y == 1)
    miss_hard, log_hard = torch.sigmoid(-signed), F.logsigmoid(signed)
    if bool(hard.all()):
        return miss_hard, log_hard
    miss_soft = (y - torch.sigmoid(z)).abs()
    log_soft = torch.log((1 - miss_soft).clamp_min(1e-12))
    return torch.where(hard, miss_hard, miss_soft), torch.where(hard, log_hard, log_soft)


def _any(valid: Tensor) -> Tensor:
    return (valid.sum((-2, -1)) > 0).float()


def _reduce(loss: Tensor, reduction: Reduction) -> Tensor:
    return loss.mean() if reduction == "mean" else loss

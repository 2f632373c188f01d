"""Many clicks at once on one encoding, and its contrast space: what whole-image work asks of a predictor.

Numpy goes in and comes out, as everywhere in this room.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from napari_relay.errors import ClickError
from napari_relay.model.contrast import ContrastSpace
from napari_relay.model.layers import tokens_of
from napari_relay.model.network import FIRST, LATER, Prepared
from napari_relay.model.pixels import Fine
from napari_relay.predictor.predictor import Encoded, Predictor
from napari_relay.views.values import VIEW_SIDE, Float32

BATCH_CPU, BATCH_GPU = 8, 32
"""Sets of clicks decoded at a time: a CPU gains nothing from more and needs 16 MB for each."""


def contrast_space(predictor: Predictor, encoded: Encoded) -> Float32:
    """Unit vectors of the tokens: float32 [28, 28, D]. A checkpoint without a contrast space gives its image embedding
    instead."""
    space = _space(encoded)
    side = round(space.shape[1] ** 0.5)
    return np.ascontiguousarray(space[0].float().cpu().numpy().reshape(side, side, -1))


def predict_many(predictor: Predictor, encoded: Encoded, clicks: Float32) -> tuple[Float32, Float32]:
    """Masks for n sets of clicks.

    Parameters
    ----------
    clicks : float32 [n, k, 3] of (y, x, label) in view pixels; label 1 positive, 0 negative, -1 none.

    Returns
    -------
    logits float32 [n, M, 112, 112], predicted IoU float32 [n, M]; M = 3 where k = 1, else 1.

    Raises
    ------
    ClickError
        Not of that shape, or a coordinate is not finite.
    """
    if clicks.ndim != 3 or clicks.shape[2] != 3 or not np.isfinite(clicks).all():
        raise ClickError(f"Clicks of shape {clicks.shape} cannot be taken.", "Give finite numbers [n, k, 3].")
    which = FIRST if clicks.shape[1] == 1 else LATER
    size = BATCH_CPU if predictor.device.type == "cpu" else BATCH_GPU
    logits, scores = [], []
    for start in range(0, len(clicks), size):
        rows = torch.from_numpy(np.ascontiguousarray(clicks[start : start + size], np.float32)).to(predictor.device)
        with torch.inference_mode(), predictor._autocast():
            output = predictor._model.head(_repeated(encoded.prepared, len(rows)), rows, which=which)
        logits.append(output.logits.float().cpu().numpy())
        scores.append(output.iou.float().clamp(0, 1).cpu().numpy())
    count = which.stop - which.start
    side = encoded.encoding.image.shape[-1] * 4
    empty = np.zeros((0, count, side, side), np.float32), np.zeros((0, count), np.float32)
    return (np.concatenate(logits), np.concatenate(scores)) if logits else empty


def click_kernel(predictor: Predictor, encoded: Encoded, clicks: Float32) -> Float32:
    """Kernel of the positive clicks [k, 3] of one view (`model.contrast`): float32 [D], a unit vector."""
    rows = torch.from_numpy(np.ascontiguousarray(clicks, np.float32))[None].to(predictor.device)
    with torch.inference_mode():
        kernels = ContrastSpace.kernels(_space(encoded).float(), rows, VIEW_SIDE)
    return np.ascontiguousarray(kernels.kernel_positive[0].cpu().numpy())


def _space(encoded: Encoded) -> torch.Tensor:
    """[1, N, D]"""
    if encoded.prepared.space is not None:
        return encoded.prepared.space
    return F.normalize(tokens_of(encoded.encoding.image).float(), dim=-1)


def _repeated(prepared: Prepared, count: int) -> Prepared:
    """The same for `count` sets of clicks, without copying it."""

    def expand(x: torch.Tensor) -> torch.Tensor:
        return x.expand(count, *x.shape[1:])

    return Prepared(
        expand(prepared.base),
        None if prepared.space is None else expand(prepared.space),
        None if prepared.scales is None else (expand(prepared.scales[0]), expand(prepared.scales[1])),
        None if prepared.fine is None else Fine(expand(prepared.fine.stride8), expand(prepared.fine.stride4)),
    )

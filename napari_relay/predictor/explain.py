"""What the network saw in a view, as maps to lay over it: for the curious and for debugging.

Every map is float32, [28, 28] (one value for each base token of 16 pixels) or [112, 112] (stride 4).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from napari_relay.model.layers import tokens_of
from napari_relay.model.network import FIRST, LATER, Output
from napari_relay.model.relay_maps import block_maps, reading_weights
from napari_relay.predictor.clicks import click_array
from napari_relay.predictor.predictor import Encoded, Predictor
from napari_relay.views.values import LOGIT_SIDE, Crops, Float32, ViewClick

TOKEN_SIDE = LOGIT_SIDE // 4
COSINES = ("positive clicks", "positive kernel", "negative clicks", "negative kernel")


def explain(
    predictor: Predictor, crops: Crops | Float32, clicks: Sequence[ViewClick], previous: Float32 | None = None
) -> dict[str, Float32]:
    """Maps of one view and its clicks; parts that the checkpoint lacks have none.

    mask : probability of the mask that would be shown [112, 112].
    cosine to ... : likeness of each token to the nearest positive (negative) click and to the kernel of all positive
        (negative) clicks, -1..1; 0 without a click of the sign.
    score of small, of large tokens : 0..1, what decides which of them refine the mask; [112, 112] and [28, 28].
    relay token N looks (stage S) : share of its attention that falls on each patch, in the last block of the stage.
    relay token N is read : how much each base token takes from it when the mask is made; sums to 1 over N.
    own relay tokens add, global view adds : their share of what attention changes, mean over the eight blocks.

    Parameters
    ----------
    crops : a view pair, or a normalised view [3, 448, 448] by itself.
    previous : float32 [112, 112], the logits of the last prediction in this view.

    Raises
    ------
    ClickError : as `Predictor.predict`.
    """
    rows = click_array(clicks)
    encoded = predictor.encode(crops)
    with torch.inference_mode():
        maps = (
            _of_clicks(predictor, encoded, rows, previous)
            | _of_relay(predictor, crops)
            | _of_reading(predictor, encoded)
        )
    return {name: np.ascontiguousarray(m.float().cpu().numpy()) for name, m in maps.items()}


def _of_clicks(predictor: Predictor, encoded: Encoded, rows: Float32, previous: Float32 | None) -> dict[str, Tensor]:
    """Mask, cosines and token scores, in the number type of `Predictor.predict`."""
    first = previous is None and rows.shape[1] == 1
    with predictor._autocast():
        output: Output = predictor._model.head(
            encoded.prepared,
            torch.from_numpy(rows).to(predictor.device),
            predictor._previous(previous),
            which=FIRST if first else LATER,
        )
        maps = {"mask": output.logits[0, output.iou[0].argmax()].float().sigmoid()}
        if output.space is not None and output.kernels is not None:
            cosines = output.kernels.maps(output.space)[0]  # [N, 4]
            maps |= {f"cosine to {name}": _square(cosines[:, i]) for i, name in enumerate(COSINES)}
    if output.scores is not None:
        small, large = _square(output.scores.small[0]), _square(output.scores.large[0])
        maps["score of small tokens"] = _repeated(small, LOGIT_SIDE)
        maps["score of large tokens"] = _repeated(large, TOKEN_SIDE)
    return maps


def _of_relay(predictor: Predictor, crops: Crops | Float32) -> dict[str, Tensor]:
    """Relay attention in the encoder, which is walked again for it."""
    encoder = predictor._model.encoder
    if encoder.relay is None:
        return {}
    states = geometry = None
    if isinstance(crops, Crops) and crops.global_ is not None and encoder.reads_global():
        states = encoder.global_trajectory(encoder.stem(predictor._tensor(crops.global_)).f16)
        geometry = torch.tensor([crops.pair.geometry], device=predictor.device)
    local = crops.local if isinstance(crops, Crops) else crops
    blocks = list(block_maps(encoder, encoder.stem(predictor._tensor(local)), states, geometry))
    maps = {
        "own relay tokens add": torch.stack([block.own[0] for block in blocks]).mean(dim=0),
        "global view adds": torch.stack([block.other[0] for block in blocks]).mean(dim=0),
    }
    for stage, last in ((3, 5), (4, 7)):
        for token, looks in enumerate(blocks[last].looks[0], 1):
            maps[f"relay token {token} looks (stage {stage})"] = looks
    return maps


def _of_reading(predictor: Predictor, encoded: Encoded) -> dict[str, Tensor]:
    """Which relay token each base token reads before the first click."""
    head = predictor._model.head
    if not head.config.relay_tokens:
        return {}
    base, rows = tokens_of(encoded.encoding.image.float()), head.relay_in(encoded.encoding.relay.float())
    weights = reading_weights(head.relay_attn, base, rows)[0]  # [N, R]
    return {f"relay token {i + 1} is read": _square(weights[:, i]) for i in range(weights.shape[1])}


def _square(values: Tensor) -> Tensor:
    """[side * side] -> [side, side]."""
    return values.reshape(round(len(values) ** 0.5), -1)


def _repeated(values: Tensor, side: int) -> Tensor:
    times = side // len(values)
    return values.repeat_interleave(times, 0).repeat_interleave(times, 1)

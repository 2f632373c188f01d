"""Class heads as files, and what they say of a view. A file is small: the encoder is the checkpoint's."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import cast

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from napari_relay.errors import CheckpointError
from napari_relay.model.class_card import KEY, ClassCard, read_class_card
from napari_relay.model.class_head import ClassHead, Kind
from napari_relay.model.encoder import Encoding
from napari_relay.predictor.predictor import Predictor
from napari_relay.views.values import Float32


def save_class_head(path: Path, head: ClassHead, card: ClassCard) -> None:
    """Write a class head, in one step: float32, the card in the file's metadata."""
    partial = path.with_name(f"{path.name}.partial")
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in head.state_dict().items()}
    save_file(state, partial, metadata={KEY: json.dumps(asdict(card), sort_keys=True)})
    partial.replace(path)


def load_class_head(path: Path, predictor: Predictor) -> tuple[ClassHead, ClassCard]:
    """A class head in eval mode on the predictor's device.

    Raises
    ------
    CheckpointError
        It is damaged, or was learned on another encoder.
    """
    card = read_class_card(path)
    if card.encoder != predictor.encoder_hash:
        raise CheckpointError(
            f"The class head {path} was learned with another encoder than this checkpoint has.",
            "Learn the classes anew, or choose the checkpoint that it was learned with.",
        )
    head = ClassHead(cast(Kind, card.kind), len(card.names))
    try:
        head.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"{path} cannot be loaded: {error}.", "Learn the classes anew.") from error
    return head.to(predictor.device).eval().requires_grad_(False), card


def class_logits(predictor: Predictor, head: ClassHead, encoding: Encoding) -> Float32:
    """Logits of a view, float32 [K, 112, 112]."""
    with torch.inference_mode(), predictor._autocast():
        logits = head(encoding)
    return np.ascontiguousarray(logits[0].float().cpu().numpy())

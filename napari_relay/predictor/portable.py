"""A checkpoint as plain values that travel to other machines: its card and all its weights as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from napari_relay.model.checkpoint import Card
from napari_relay.model.config import ModelConfig
from napari_relay.model.network import ClickModel
from napari_relay.predictor.device import choose
from napari_relay.predictor.predictor import Predictor


@dataclass(frozen=True, eq=False, slots=True)
class PortableModel:
    """Everything that a machine needs to be the same predictor; nothing of it is read from that machine's disk."""

    card: Card
    weights: dict[str, npt.NDArray[np.float32]]
    device: str = "auto"
    dtype: str = "auto"

    def load(self, threads: int = 1, cache_bytes: int = 32 << 20) -> Predictor:
        """A predictor of these weights. `threads` of torch on the CPU."""
        torch.set_num_threads(threads)
        model = ClickModel(ModelConfig.from_dict(self.card.config))
        model.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in self.weights.items()})
        return Predictor(model.train().eval(), self.card, choose(self.device, self.dtype), cache_bytes)


def portable_model(predictor: Predictor) -> PortableModel:
    """A predictor's own weights and number type; the device is left to where they go."""
    state = predictor._model.state_dict()
    weights = {name: np.ascontiguousarray(tensor.detach().cpu().float()) for name, tensor in state.items()}
    return PortableModel(predictor.card, weights, dtype=str(predictor.dtype).removeprefix("torch."))

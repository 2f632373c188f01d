"""Models for the tests of the network: the bundled start, and one whose gates and zero layers are opened."""

from __future__ import annotations

import pytest
import torch

from napari_relay.model.checkpoint import load_checkpoint
from napari_relay.model.config import ModelConfig
from napari_relay.model.network import ClickModel


@pytest.fixture(scope="session")
def step0() -> ClickModel:
    model, _ = load_checkpoint("step0")
    return model.requires_grad_(False)


def opened(model: ClickModel, amount: float = 0.5) -> ClickModel:
    """Give every gate and zero-started layer a value, so that all parts take part."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "gate" in name or "gamma" in name:
                parameter.fill_(amount)
            elif float(parameter.abs().max()) == 0.0 and not name.endswith("attention_biases"):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return model


@pytest.fixture(scope="session")
def open_model() -> ClickModel:
    model, _ = load_checkpoint("step0")
    return opened(model).requires_grad_(False)


@pytest.fixture
def views() -> torch.Tensor:
    return torch.randn(2, 3, 448, 448, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def clicks() -> torch.Tensor:
    return torch.tensor([[[100.0, 200.0, 1], [50, 60, 0]], [[300.0, 20.0, 1], [50, 260, 1]]])


@pytest.fixture
def previous() -> torch.Tensor:
    return torch.randn(2, 1, 112, 112, generator=torch.Generator().manual_seed(1)) * 5


@pytest.fixture
def make_model():
    def make(**changes: object) -> ClickModel:
        torch.manual_seed(0)
        return ClickModel(ModelConfig(**changes)).eval()  # type: ignore[arg-type]

    return make

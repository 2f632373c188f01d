"""Projects and checkpoints for the tests of learning."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

HERE = str(Path(__file__).parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)

from learn_projects import make_coins_project  # noqa: E402

from napari_relay.model.checkpoint import read_card  # noqa: E402


@pytest.fixture
def coins_project(tmp_path: Path, sample_data: Path) -> Path:
    return make_coins_project(tmp_path / "images", sample_data)


@pytest.fixture
def learned(tmp_path: Path) -> Callable[[str, float], Path]:
    """Makes a learned checkpoint that differs from the program's in one tensor of the head, without torch."""

    def make(name: str, value: float) -> Path:
        base = read_card("small")
        card = {
            **base.to_json(), "name": name, "title": f"learned {name}", "shards": [],
            "base": {"name": "small", "hash": "not checked here"},
        }  # fmt: skip
        path = tmp_path / f"{name}.safetensors"
        save_file(
            {"head.pixels.out.bias": np.full(1, value, np.float16)}, path, metadata={"card": json.dumps(card)}
        )
        return path

    return make

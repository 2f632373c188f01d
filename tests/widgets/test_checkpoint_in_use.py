"""Which checkpoint computes: what the open image has learned, else the chosen one, whatever else changes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

import napari_relay.widgets.computing as computing_module
from napari_relay.engine import InProcessEngine
from napari_relay.learn import LearnResult, LearnStatus, Shelf
from napari_relay.model.checkpoint import read_card
from napari_relay.sources import Source, open_image
from napari_relay.widgets.computing import WorkerComputing
from napari_relay.widgets.settings import WindowSettings

SERVICE = '''
class Service:
    """Says which checkpoint it was made or told to use."""

    def __init__(self, checkpoint=None, **options):
        self.checkpoint = checkpoint

    def set_checkpoint(self, checkpoint):
        self.checkpoint = checkpoint

    def used(self):
        return self.checkpoint
'''


@pytest.fixture
def computing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerComputing]:
    (tmp_path / "says_checkpoint.py").write_text(SERVICE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(
        computing_module, "_new_engine",
        lambda settings: InProcessEngine("says_checkpoint:Service", **computing_module._arguments(settings)),
    )  # fmt: skip
    made = WorkerComputing(WindowSettings(checkpoint="step0"))
    yield made
    made.close()
    sys.modules.pop("says_checkpoint", None)


def image(folder: Path, name: str) -> Source:
    Image.fromarray(np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)).save(folder / name)
    return open_image(folder / name)


def learned(folder: Path) -> LearnResult:
    """Something better: a true checkpoint."""
    card = {**read_card("small").to_json(), "name": "learned", "shards": [], "base": {"name": "small", "hash": "x"}}
    file = folder / "better.safetensors"
    save_file({"head.pixels.out.bias": np.ones(1, np.float16)}, file, metadata={"card": json.dumps(card)})
    return LearnResult(LearnStatus.DONE, better=True, checkpoint=file, anyway=file)


def used(workspace: Any) -> str:
    return str(workspace.engine.call("used"))


def test_what_an_image_learned_computes_for_it_and_for_no_other(computing: WorkerComputing, tmp_path: Path) -> None:
    with image(tmp_path, "a.png") as first, image(tmp_path, "b.png") as second:
        with computing.open(first, None) as workspace:
            assert used(workspace) == "step0"
            path = workspace.promote(learned(tmp_path))
            assert used(workspace) == str(path)
        with computing.open(second, None) as workspace:
            assert used(workspace) == "step0"
        with computing.open(first, None) as workspace:
            assert used(workspace) == str(path)
            workspace.roll_back("step0")
            assert Shelf(workspace.project).current() is None
            assert used(workspace) == "step0"


def test_other_settings_leave_the_learned_checkpoint_in_use(computing: WorkerComputing, tmp_path: Path) -> None:
    with image(tmp_path, "a.png") as source, computing.open(source, None) as workspace:
        path = str(workspace.promote(learned(tmp_path)))

        computing.apply(computing.settings.model_copy(update={"prefetch": False}))
        assert used(workspace) == path
        computing.apply(computing.settings.model_copy(update={"threads": 2}))  # another worker
        assert used(workspace) == path
        computing.apply(computing.settings.model_copy(update={"checkpoint": "small"}))
        assert used(workspace) == "small"
        computing.apply(computing.settings.model_copy(update={"checkpoint": "step0", "threads": 1}))
        assert used(workspace) == "step0"

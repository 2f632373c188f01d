"""The contenders beside the product: MobileSAM clicked as its predictor is meant to be, classic methods, memory."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm

from napari_relay.errors import CheckpointError, WorkerDiedError
from napari_relay.geometry import Click
from relay_training.__main__ import main
from relay_training.baselines import Geodesic, RandomWalker
from relay_training.bench_data import ObjectRule
from relay_training.contest import Limits, Stopwatch
from relay_training.evaluate import evaluate
from relay_training.memory import peak_memory_mb, peak_memory_of
from relay_training.mobilesam import MobileSam, SamPicture, sam_registry
from relay_training.report import Report


@pytest.fixture
def coins(tmp_path: Path, sample_data: Path) -> Path:
    """A set made of a bundled photograph with its outlines."""
    for kind, name in {"images": "coins.png", "labels": "coins_labels.png"}.items():
        (tmp_path / "coins" / kind).mkdir(parents=True)
        shutil.copy(sample_data / name, tmp_path / "coins" / kind / "coins.png")
    return tmp_path / "coins"


@pytest.mark.parametrize("method", [RandomWalker(), Geodesic()])
def test_classic_methods_find_a_coin_with_a_few_clicks(coins, method):
    report = evaluate(coins, method, rule=ObjectRule(per_picture=1), limits=Limits(4, 0.8))

    assert report.metrics()["coins"].miou[3] > 0.6


class RecordingPredictor:
    """Stands for `SamPredictor`: answers masks whose number of set rows tells which one it was."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def predict(self, **call: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self.calls.append(call)
        count = 3 if call["multimask_output"] else 1
        masks = np.zeros((count, 8, 10), bool)
        logits = np.zeros((count, 256, 256), np.float32)
        for index in range(count):
            masks[index, : index + 1] = True
            logits[index] = index + 10 * len(self.calls)
        return masks, np.array([0.2, 0.9, 0.5])[:count], logits


def watch(ms: float) -> Stopwatch:
    with Stopwatch() as stopped:
        pass
    stopped.ms = ms
    return stopped


def test_peer_is_clicked_as_its_predictor_is_meant_to_be():
    predictor = RecordingPredictor()
    click = SamPicture(predictor, (8, 10), watch(5000.0)).start()

    first, second, third = click(Click(3, 4)), click(Click(5, 6, False)), click(Click(1, 2))

    assert [call["multimask_output"] for call in predictor.calls] == [True, False, False]
    assert predictor.calls[0]["mask_input"] is None
    assert first.mask.sum() == 20  # the second of three, the one of the best predicted quality
    assert predictor.calls[1]["mask_input"].shape == (1, 256, 256)
    assert predictor.calls[1]["mask_input"][0, 0, 0] == 11  # its logits
    assert predictor.calls[2]["mask_input"][0, 0, 0] == 20
    assert predictor.calls[2]["point_coords"].tolist() == [[4, 3], [6, 5], [2, 1]]
    assert predictor.calls[2]["point_labels"].tolist() == [1, 0, 1]
    assert first.ms >= 5000 > second.ms
    assert [first.encodings, second.encodings, third.encodings] == [1, 0, 0]


def test_peer_starts_each_object_without_the_logits_of_the_one_before():
    predictor = RecordingPredictor()
    picture = SamPicture(predictor, (8, 10), watch(1.0))
    picture.start()(Click(3, 4))

    picture.start()(Click(5, 6))

    assert predictor.calls[1]["mask_input"] is None
    assert predictor.calls[1]["point_coords"].tolist() == [[6, 5]]


def test_importing_the_peer_leaves_timms_names_to_timm():
    pytest.importorskip("mobile_sam", reason="mobilesam-mirror, the peer, is not installed")
    assert "vit_t" in sam_registry()

    assert type(timm.create_model("tiny_vit_5m_224")).__module__ == "timm.models.tiny_vit"


def test_compare_runs_contenders_and_measures_their_memory(capsys, coins, tmp_path):
    path = tmp_path / "compare.json"

    (tmp_path / "quick.txt").write_text("coins/coins 1\n")
    call = ["compare", "--data", str(coins), "--only", "geodesic", "--quick", str(tmp_path / "quick.txt")]

    code = main([*call, "--json", str(path)])

    assert code == 0
    assert "geodesic" in capsys.readouterr().out
    report = Report.load(path)
    assert report.contenders["geodesic"].peak_memory_mb > 50
    assert report.settings["max_clicks"] == 20


def test_weights_of_the_peer_that_cannot_be_loaded_are_named(tmp_path):
    (tmp_path / "peer.safetensors").write_bytes(b"no weights")

    with pytest.raises(CheckpointError, match=r"peer.safetensors"):
        MobileSam(tmp_path / "peer.safetensors")


def test_memory_of_a_process_is_its_own():
    assert peak_memory_mb() > 10
    assert peak_memory_of(int) > 10
    with pytest.raises(WorkerDiedError):
        peak_memory_of(exit)

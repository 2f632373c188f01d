"""The ablation: rows of one equal budget, starts with changed parts, results that are kept and gone on from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_relay.errors import UsageError
from napari_relay.geometry import Box, Click
from napari_relay.model.checkpoint import load_checkpoint
from napari_relay.sources import open_image
from napari_relay.views import Crops, Prediction, ViewClick
from napari_relay.views.values import Float32
from relay_training import ablate as module
from relay_training import encodings
from relay_training.__main__ import main
from relay_training.ablate import STEP0, Row, ablate, derive_start, fit_config, keep, read_results, read_rows, run_row
from relay_training.bench_data import find_sets
from relay_training.context_set import write_context_set
from relay_training.data_config import read_data_config
from relay_training.encodings import make_shard
from relay_training.index import load_index
from relay_training.judge import Bench, FixedViews, Judge
from relay_training.product import KeepsNothing

CONFIGS = Path(__file__).parents[2] / "training" / "configs"
LISTED = {
    *("full", "relay_off", "relay_local", "relay_both", "relay_sequential", "mst_off", "contrast_off"),
    *("contrast_triplet", "pixels_off", "teacher_off", "encoder_frozen", "views_fixed"),
}


def write_rows(folder: Path, **rows: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in rows.items():
        (folder / f"{name}.toml").write_text(text)
    return folder


BASE = '[fit]\ncache = "c"\nsamples = 40\nbatch = 4\nseed = 5\nlr_new = 2e-3\n'


@pytest.mark.slow
def test_the_rows_of_the_repository_are_the_listed_ones_and_can_be_made(tmp_path):
    rows = {row.name: row for row in read_rows(CONFIGS / "ablation")}

    assert set(rows) == LISTED
    assert len({(row.fit["samples"], row.fit["batch"], row.fit["seed"]) for row in rows.values()}) == 1
    for row in rows.values():
        config = fit_config(row, tmp_path)
        assert config.samples == 20_000
        assert config.train == ("head" if row.name == "encoder_frozen" else "trunk")
        model, _ = load_checkpoint(config.start)
        for key, value in row.model.items():
            assert getattr(model.config, key) == value


def test_a_row_adds_to_what_all_share(tmp_path):
    write_rows(
        tmp_path, base=BASE, a='title = "A"\nsees = "local"\n[fit]\nteacher_p = 0.0\n[fit.weights]\ncontrast = 0.0\n'
    )

    (row,) = read_rows(tmp_path)

    assert row.judge == Judge("clicks", "following", "local")
    config = fit_config(row, tmp_path / "out", samples=8, seed=None, threads=None)
    assert (config.samples, config.batch, config.seed, config.lr_new, config.teacher_p) == (8, 4, 5, 2e-3, 0.0)
    assert config.weights == {"contrast": 0.0}
    assert config.start == STEP0
    assert config.out == tmp_path / "out" / "a"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("speed = 1\n", "unknown key speed"),
        ("[fit]\nspeed = 1\n", "unknown key speed"),
        ("[model]\nspeed = 1\n", "unknown key speed"),
        ("[fit]\nsamples = 1\n", "its own samples"),
        ('judge = "taste"\n', "judge is 'taste'"),
        ('of = "nobody"\n', "of 'nobody'"),
        ("title = \n", "Cannot read"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, text, message):
    write_rows(tmp_path, base=BASE, a=text)

    with pytest.raises(UsageError, match=message):
        read_rows(tmp_path)


def test_a_folder_without_a_base_is_named(tmp_path, capsys):
    words = ["--data", str(tmp_path), "--quick", str(tmp_path / "q"), "--context", str(tmp_path)]
    assert main(["ablate", str(tmp_path), *words]) == 2
    assert "base.toml" in capsys.readouterr().err
    assert main(["ablate", str(write_rows(tmp_path, base=BASE)), *words, "--only", "moon"]) == 2
    assert "moon" in capsys.readouterr().err


def test_a_changed_start_keeps_what_both_have(tmp_path):
    path = derive_start(STEP0, {"multi_scale": False, "relay_tokens": 0}, tmp_path / "starts" / "a.safetensors")

    model, card = load_checkpoint(path)

    whole, _ = load_checkpoint(STEP0)
    assert card.config["multi_scale"] is False
    assert card.name == "a"
    state, before = model.state_dict(), whole.state_dict()
    assert not any("relay" in name or "scales" in name for name in state)
    assert all(torch.allclose(value, before[name], atol=1e-3, rtol=1e-3) for name, value in state.items())


def test_results_are_kept_row_by_row(tmp_path):
    path = tmp_path / "results" / "ablation.json"
    assert read_results(path) == {}
    keep(path, "a", {"title": "A"})
    keep(path, "b", {"title": "B"})
    keep(path, "a", {"title": "A2"})

    rows = read_results(path)

    assert {name: row["title"] for name, row in rows.items()} == {"a": "A2", "b": "B"}
    assert "processor" in rows["a"]["machine"]
    path.write_text("[]")
    with pytest.raises(UsageError, match="holds no ablation"):
        read_results(path)


def test_what_has_a_result_is_not_run_again_and_dependent_rows_come_last(tmp_path, monkeypatch):
    ran: list[str] = []

    def run(row: Row, *_: object, **__: object) -> dict[str, object] | None:
        ran.append(row.name)
        return None if row.name == "half" else {"title": row.title, "group": "", "measured": {}}

    monkeypatch.setattr(module, "run_row", run)
    rows = [Row("fixed", "f", of="full"), Row("half", "h"), Row("full", "F"), Row("done", "d")]
    results, told = tmp_path / "r.json", list[str]()
    keep(results, "done", {"title": "d"})

    ablate(rows, tmp_path, Bench(tmp_path, tmp_path, tmp_path), results, tell=told.append)

    assert ran == ["half", "full", "fixed"]
    assert set(read_results(results)) == {"done", "full", "fixed"}
    assert any("next call goes on" in line for line in told)


def test_a_row_of_one_that_is_not_trained_says_so(tmp_path):
    with pytest.raises(UsageError, match="Run full first"):
        run_row(Row("b", "B", of="full"), tmp_path, Bench(tmp_path, tmp_path, tmp_path))


class Squares:
    """Predicts a small square round the last click, and remembers which views it was shown."""

    checkpoint = "none"

    def __init__(self) -> None:
        self.seen: list[Box] = []

    def predict(self, crops_source, key: str, clicks: list[ViewClick], previous: Float32 | None, /) -> Prediction:
        crops: Crops = crops_source()
        self.seen.append(crops.pair.local.box)
        logits = np.full((1, 112, 112), -5, np.float32)
        y, x = int(clicks[-1].y // 4), int(clicks[-1].x // 4)
        logits[0, max(0, y - 3) : y + 4, max(0, x - 3) : x + 4] = 5
        return Prediction(logits, (0.9,))

    def prefetch(self, crops_source, key: str, /) -> None: ...


def test_fixed_views_stay_where_following_ones_zoom_in(sample_data):
    seen = {}
    for kind in (FixedViews, FixedViews.__base__):
        predicts = Squares()
        with open_image(sample_data / "coins.png") as source:
            session = kind(source, predicts, KeepsNothing())
            for click in (Click(100, 100), Click(102, 100), Click(104, 101)):
                session.click(click.y, click.x)
        seen[kind.__name__] = predicts.seen

    assert len(set(seen["FixedViews"])) == 1
    assert len(set(seen["ClickSession"])) > 1


@pytest.mark.slow
def test_a_row_is_trained_judged_and_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(encodings, "SHARD", 4)
    context = write_context_set(tmp_path / "context", 4)
    sampler = read_data_config(CONFIGS / "context.toml").sampler(load_index(context))
    model, _ = load_checkpoint(STEP0)
    list(make_shard(tmp_path / "cache", 0, sampler, model, torch.float32))
    base = f'[fit]\ncache = "{tmp_path / "cache"}"\nsamples = 2\nbatch = 1\nprecision = "32-true"\nwarmup = 1\n'
    rows = write_rows(
        tmp_path / "rows", base=base,
        off='title = "off"\njudge = "context"\nsees = "local"\n[model]\nrelay_tokens = 0\nmulti_scale = false\n',
        on='title = "on"\njudge = "context"\n[fit]\ntrain = "trunk"\nglobal_p = 1.0\n',
    )  # fmt: skip
    words = ["--data", str(context), "--quick", str(tmp_path / "none"), "--context", str(context), "--limit", "1"]
    words += ["--out", str(tmp_path / "runs"), "--results", str(tmp_path / "r.json"), "--only", "off", "--only", "on"]

    assert main(["ablate", str(rows), *words]) == 0

    results = json.loads((tmp_path / "r.json").read_text())["rows"]
    assert set(results) == {"off", "on"}
    for row in results.values():
        assert row["samples"] == 2
        assert 0 <= row["measured"]["context"]["context"]["miou1"] <= 1
    assert len(find_sets(context)[0].pictures) == 4
    assert "measured" in capsys.readouterr().out

"""Training: a few steps on real small views lower the loss; a resume goes on exactly; bundling keeps the values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from napari_relay.errors import UsageError
from napari_relay.geometry import Box
from napari_relay.model.checkpoint import load_checkpoint, load_state, read_card, save_checkpoint
from napari_relay.model.relay import OWN
from napari_relay.views import View, ViewPair, whole_view
from relay_training import bundle as bundling
from relay_training import encodings
from relay_training.average import average
from relay_training.bundle import quantise
from relay_training.data import TrainingView
from relay_training.encodings import EncodingCache, make_shard
from relay_training.fit import FitConfig, Run, fit, learning_rate, make_fabric, read_config
from relay_training.teach import TaughtView

SMALL = 8


class Discs:
    """Views of one bright disc each, with its label."""

    def view(self, number: int) -> TrainingView:
        rng = np.random.default_rng(number)
        y, x, radius = rng.integers(120, 328), rng.integers(120, 328), rng.integers(40, 100)
        yy, xx = np.mgrid[:448, :448]
        disc = ((yy - y) ** 2 + (xx - x) ** 2 < radius**2).astype(np.int32)
        image = (rng.integers(0, 60, (448, 448, 3)) + 120 * disc[..., None]).astype(np.uint8)
        wide = None if number % 2 else image[::-1].copy()
        whole = whole_view((448, 448))
        pair = ViewPair(whole, None if wide is None else View(Box(-448, -448, 896, 896)))
        ids = np.ones(1, np.int32)
        areas = np.array([disc.sum()], np.int32)
        small = disc[2::4, 2::4]
        taught = TaughtView.nothing(encodings.ANSWERS)
        taught.points[0], taught.masks[0, 1], taught.valid[0, 1] = (y, x), small > 0, True
        return TrainingView(image, disc, small, ids, areas, wide, pair, 1, 0, "discs", "none", "photo", taught)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    model, _ = load_checkpoint("step0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encodings, "SHARD", SMALL)
        assert list(make_shard(folder, 0, Discs(), model, torch.float32)) == list(range(1, SMALL + 1))
        assert list(make_shard(folder, 0, Discs(), model, torch.float32)) == [], "a finished shard is made again"
        yield folder


def config(cache, out, **changes) -> FitConfig:
    values = {"samples": 24, "batch": 2, "warmup": 1, "precision": "32-true", "ema": 0.5, **changes}
    return FitConfig(cache=cache, out=out, **values)


def test_cached_encoding_equals_the_encoders(cache):
    model, _ = load_checkpoint("step0")
    batch = EncodingCache(cache).batch([1], wide=True)
    view = Discs().view(1)
    with torch.inference_mode():
        fresh = model.encoder(encodings._pixels(view.image))
        again = model.encoder.trunk(encodings.Stem(batch.stem.f4, batch.stem.f8, batch.stem.f16))
    torch.testing.assert_close(batch.encoding.image, fresh.image, atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(again.image, fresh.image, atol=5e-3, rtol=5e-3)
    assert (batch.labels[0].numpy() == view.labels_small).all()


def test_a_shard_keeps_the_teachers_answers_and_knows_its_wide_views(cache):
    data = EncodingCache(cache)
    assert data.wide().tolist() == [0, 2, 4, 6]
    batch = data.batch([3])
    assert batch.merge == ["none"]
    assert (batch.masks[0, 0, 1].numpy() == (Discs().view(3).labels_small > 0)).all()
    assert batch.valid[0].sum() == 1
    assert batch.valid[0, 0, 1]


def test_a_few_steps_lower_the_loss_and_touch_only_the_head(cache, tmp_path):
    run = Run(config(cache, tmp_path), make_fabric("32-true"))
    before = {k: v.clone() for k, v in run.model.encoder.state_dict().items()}
    data = EncodingCache(cache)
    losses = [run.train_step(data)["mask"] for _ in range(12)]
    assert np.mean(losses[-4:]) < np.mean(losses[:4])
    assert all(torch.equal(v, before[k]) for k, v in run.model.encoder.state_dict().items())
    assert float(run.model.head.pixels.out.weight.detach().abs().max()) > 0


def test_a_killed_run_resumes_exactly(cache, tmp_path):
    whole = fit(config(cache, tmp_path / "whole", samples=8))
    half = config(cache, tmp_path / "half", samples=8)
    half.out.mkdir()
    first = Run(half, make_fabric("32-true"))
    data = EncodingCache(cache)
    for _ in range(2):
        torch.manual_seed((half.seed << 20) + first.step)
        first.train_step(data)
    first.save()
    resumed = fit(half)
    assert resumed.step == whole.step == 4
    ours, theirs = resumed.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    card = read_card(tmp_path / "half" / "ema.safetensors")
    assert card.metrics["samples"] == 8


@pytest.mark.slow
def test_a_trunk_run_trains_relay_tokens_and_their_gates(cache, tmp_path):
    run = Run(config(cache, tmp_path, train="trunk"), make_fabric("32-true"))
    data = EncodingCache(cache)
    for _ in range(3):
        run.train_step(data)
    gates = [p for n, p in run.model.encoder.named_parameters() if n.endswith(".gate")]
    assert all(float(g.detach()[0].abs().max()) > 0 for g in gates)
    stem = ("patch_embed", "stages.0", "stages.1")
    frozen = [p for n, p in run.model.encoder.named_parameters() if n.startswith(stem)]
    assert not any(p.requires_grad for p in frozen)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["sequential", "mean"])
def test_a_trunk_run_trains_the_rules_that_take_both_views_in_lock_step(cache, tmp_path, rule):
    model, card = load_checkpoint("step0")
    config_of = {**card.config, "relay_rule": rule}
    save_checkpoint(tmp_path / "start.safetensors", model.state_dict(), replace(card, config=config_of, shards=()))
    run = Run(
        config(cache, tmp_path, train="trunk", start=str(tmp_path / "start.safetensors"), global_p=1.0),
        make_fabric("32-true"),
    )
    data = EncodingCache(cache)
    assert len(data.wide())
    seen = []
    joint = run.model.encoder.joint
    run.model.encoder.joint = lambda *views: seen.append(rule) or joint(*views)
    for _ in range(2):
        run.train_step(data)

    assert seen == [rule, rule]
    gates = [p for n, p in run.model.encoder.named_parameters() if n.endswith(".gate")]
    assert all(float(g.detach()[OWN].abs().max()) > 0 for g in gates)


@pytest.mark.parametrize(("train", "global_p"), [("trunk", 0.0), ("trunk", 1.0), ("head", 1.0)])
def test_a_view_with_a_global_one_is_drawn_with_it_only(cache, tmp_path, train, global_p):
    run = Run(config(cache, tmp_path, train=train, global_p=global_p), make_fabric("32-true"))
    data = EncodingCache(cache)
    with_global = set(data.wide().tolist())
    assert 0 < len(with_global) < len(data)

    wide, views = run._views(data, np.random.default_rng(0))

    assert wide == (train == "trunk" and global_p == 1.0)
    every = set(range(len(data)))
    expected = every if train == "head" else with_global if wide else every - with_global
    assert set(views.tolist()) == expected


def test_views_that_belong_together_are_drawn_together(cache, tmp_path, monkeypatch):
    run, data, drawn = Run(config(cache, tmp_path, batch=4, alike=2), make_fabric("32-true")), EncodingCache(cache), []
    read = data.batch
    monkeypatch.setattr(data, "batch", lambda indices, **how: drawn.append(indices) or read(indices, **how))

    run.train_step(data)
    monkeypatch.setattr(data, "alike", lambda first, second: True)
    run.step = 0
    run.train_step(data)

    apart, together = drawn
    assert [i % 2 for i in together] == [0, 1, 0, 1]
    assert together[1] == together[0] + 1
    assert together[0] // 2 == apart[0] // 2
    assert apart != together


def test_views_are_alike_where_they_lie_at_one_place_of_their_global_view(cache):
    data = EncodingCache(cache)
    with_global, without = int(data.wide()[0]), next(i for i in range(len(data)) if i not in data.wide())
    assert data.alike(with_global, with_global)
    assert not data.alike(without, without)


def test_gates_can_be_opened_at_the_start(cache, tmp_path):
    shut, opened = (
        Run(config(cache, tmp_path / name, train="trunk", open_gates=least), make_fabric("32-true")).model
        for name, least in (("shut", 0.0), ("open", 0.3))
    )
    for before, after in zip(shut.encoder.relay.blocks, opened.encoder.relay.blocks, strict=True):
        a, b = before.gate.detach(), after.gate.detach()
        assert torch.equal(b, torch.where(a.abs() < 0.3, torch.tensor(0.3), a))


def test_every_trainable_parameter_is_in_one_group(cache, tmp_path):
    run = Run(config(cache, tmp_path, train="trunk"), make_fabric("32-true"))
    grouped = [id(p) for group in run.optimiser.param_groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in run.model.parameters() if p.requires_grad)


def test_learning_rate_warms_up_and_falls():
    rates = [learning_rate(step, 100, 10) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[10] == pytest.approx(1.0)
    assert rates[-1] < 0.03


def test_quantised_rows_are_close():
    tensor = torch.randn(20, 30, generator=torch.Generator().manual_seed(0))
    values, scale = quantise(tensor)
    assert values.dtype == torch.int8
    assert ((values.float() * scale[:, None]) - tensor).abs().max() <= scale.max() / 2 + 1e-6


def test_bad_configuration_is_named(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text('cache = "c"\nout = "o"\nspeed = 3\n')
    with pytest.raises(UsageError, match="speed"):
        read_config(path)
    with pytest.raises(UsageError, match="train"):
        FitConfig(cache=tmp_path, out=tmp_path, train="tail")
    with pytest.raises(UsageError, match="encodings"):
        fit(config(tmp_path / "none", tmp_path / "out"))


def test_the_mean_of_two_checkpoints_lies_between_them(tmp_path):
    first = {"a": torch.zeros(3), "b": torch.ones(2, 2)}
    second = {"a": torch.full((3,), 4.0), "b": torch.ones(2, 2)}
    mean = average(first, second, 0.25)
    assert mean["a"].tolist() == [1.0] * 3
    assert torch.equal(mean["b"], first["b"])
    with pytest.raises(UsageError, match="in b"):
        average(first, {"a": first["a"], "b": torch.ones(3)}, 0.5)


@pytest.mark.parametrize(
    ("changed", "shared"),
    [
        ("encoder.neck.0.weight", ["stem", "decoder", "trained"]),
        ("head.decoder.blocks.0.image_to_token.k_proj.weight", ["stem", "trunk", "decoder", "trained"]),
    ],
)
def test_a_trained_trunk_is_bundled_whole_and_another_shared(tmp_path, monkeypatch, changed, shared):
    (tmp_path / "weights").mkdir()
    for name in ("shards", "step0"):
        (tmp_path / "weights" / name).symlink_to(bundling.WEIGHTS / name)
    monkeypatch.setattr(bundling, "WEIGHTS", tmp_path / "weights")
    start = load_state(read_card("step0"))
    trained = {key: value + 0.01 if key == changed else value for key, value in start.items()}
    save_file(trained, tmp_path / "run.safetensors")

    card = bundling.bundle(tmp_path / "run.safetensors", "try", read_card("step0"))

    assert [Path(shard["file"]).stem for shard in card.shards] == shared
    again = load_state(replace(card, path=tmp_path / "weights" / "try"))
    assert again.keys() == trained.keys()
    for key, value in trained.items():
        rows = value.flatten(1).abs().amax(1) if value.dim() > 1 else value.abs().clamp(min=1e-3)
        error = (again[key] - value).abs().flatten(1).amax(1) if value.dim() > 1 else (again[key] - value).abs()
        assert (error <= rows / 127 + 1e-5).all(), key

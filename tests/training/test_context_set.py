"""The context set: equal local views have different labels, and what decides them can be read from the global one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from napari_relay.errors import UsageError
from napari_relay.geometry import Box
from napari_relay.model.checkpoint import load_checkpoint
from relay_training import encodings
from relay_training.__main__ import main
from relay_training.bench_data import find_sets
from relay_training.context_set import (
    COLOURS,
    FRAME,
    FRAMES,
    PAIRS,
    SIDE,
    WANDER,
    draw_picture,
    draw_scene,
    read_cores,
    write_context_set,
)
from relay_training.data_config import read_data_config
from relay_training.encodings import EncodingCache, make_shard
from relay_training.fit import FitConfig, Run, make_fabric
from relay_training.index import load_index
from relay_training.quarter import quarter_view
from relay_training.robot import Robot, mask_box

CONFIG = Path(__file__).parents[2] / "training" / "configs" / "context.toml"
QUARTER = SIDE // 4


def digest(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*.*")}


def test_the_set_is_a_function_of_its_seed_in_the_data_layout(tmp_path):
    assert main(["context-set", str(tmp_path / "one"), "--pictures", "5", "--seed", "3"]) == 0
    write_context_set(tmp_path / "again", 5, seed=3)
    write_context_set(tmp_path / "other", 5, seed=4)

    assert digest(tmp_path / "one") == digest(tmp_path / "again")
    assert digest(tmp_path / "one") != digest(tmp_path / "other")
    (found,) = find_sets(tmp_path / "one")
    assert len(found.pictures) == 5
    index = load_index(tmp_path / "one")
    assert len(index) == 5
    assert index.shapes.tolist() == [[SIDE, SIDE]] * 5


def test_pictures_of_a_group_look_alike_in_every_local_view_and_differ_in_label():
    scene, frames = draw_scene(0, 5)
    assert sorted(frames) == sorted(FRAMES)
    pictures = [draw_picture(scene, frame) for frame in frames]
    inner = slice(FRAME, -FRAME)

    for pixels, labels in pictures[1:]:
        assert np.array_equal(pixels[inner, inner], pictures[0][0][inner, inner])
        assert not np.array_equal(labels, pictures[0][1])
    # Any view of a quarter of the side that shows the core's middle, wherever that lies, is inside.
    assert SIDE // 2 - WANDER - QUARTER >= FRAME
    assert SIDE // 2 + WANDER + QUARTER <= SIDE - FRAME


@pytest.mark.parametrize("group", range(12))
def test_the_label_is_what_the_cues_say(group):
    scene, frames = draw_scene(1, group)
    y, x = np.indices((SIDE, SIDE)) - np.array(scene.core)[:, None, None]
    objects = {frame: draw_picture(scene, frame) for frame in frames[:4]}
    whole = draw_picture(scene, tuple(COLOURS))[1] == 1

    for frame, (pixels, labels) in objects.items():
        seen = {name: np.abs(pixels.astype(float) - colour).max(2) < 25 for name, colour in COLOURS.items()}
        border = np.ones(labels.shape, bool)
        border[FRAME:-FRAME, FRAME:-FRAME] = False
        for name, here in seen.items():
            # The frame has the colours of the object's petals, half of it each, and no other.
            assert here[border].mean() == pytest.approx(1 / len(frame) if name in frame else 0, abs=0.03)
            petals = here & whole
            assert (labels[petals] == (name in frame)).mean() > 0.95
        # The mark says whether the ring belongs to the object.
        dark = (np.hypot(y, x) < 20) & (pixels.max(2) < 75)
        assert (pixels[scene.mark].mean() > 128) == scene.light
        assert labels[dark].mean() == pytest.approx(float(scene.light), abs=0.15)


@pytest.mark.parametrize("group", range(12))
def test_neither_box_nor_middle_nor_first_click_tells_the_pair(group):
    scene, frames = draw_scene(2, group)
    y, x = scene.core

    for frame in frames[3:6]:
        truth = draw_picture(scene, frame)[1] == 1
        around = truth[y - 50 : y + 51, x - 50 : x + 51]
        assert np.array_equal(around, around[::-1, ::-1])
        assert mask_box(truth).centre == (y, x)
        click = Robot(truth, np.zeros_like(truth)).next_click(np.zeros_like(truth))
        assert click is not None
        assert np.hypot(click.y - y, click.x - x) <= 2


def test_training_views_of_a_group_differ_in_the_global_view_alone(tmp_path):
    write_context_set(tmp_path / "set", 4)
    sampler = read_data_config(CONFIG).sampler(load_index(tmp_path / "set"))

    views = [sampler.view(number) for number in range(24)]

    for view in views:
        box = view.pair.local.box
        assert box.height == QUARTER
        assert Box(FRAME, FRAME, SIDE - FRAME, SIDE - FRAME).covers(box)
        assert view.pair.global_ is not None
        assert view.pair.global_.box == Box(0, 0, SIDE, SIDE)
        assert view.ids.tolist() == [1]
    assert len({view.picture for view in views}) == 4


def test_views_that_come_together_share_their_local_view_and_nothing_else(tmp_path):
    write_context_set(tmp_path / "set", 20)
    config = read_data_config(CONFIG)
    assert config.views.alike == 4

    for first in (0, 4, 8):
        views = [config.sampler(load_index(tmp_path / "set")).view(first + i) for i in range(4)]
        assert all((view.image == views[0].image).all() for view in views)
        assert len({view.picture // 10 for view in views}) == 1
        assert len({view.global_image.tobytes() for view in views}) == 4
        assert len({view.labels.tobytes() for view in views}) > 1


def test_a_wrong_call_is_named(tmp_path, capsys):
    write_context_set(tmp_path / "set", 1)
    assert main(["context-set", str(tmp_path / "set")]) == 2
    assert "holds something" in capsys.readouterr().err
    with pytest.raises(UsageError, match="0 pictures"):
        write_context_set(tmp_path / "none", 0)
    assert read_cores(tmp_path) is None
    (tmp_path / "set" / "scenes.json").write_text("{}")
    with pytest.raises(UsageError, match=r"scenes\.json"):
        read_cores(tmp_path / "set")


@pytest.fixture(scope="module")
def stems():
    """Means of the frozen stem's last map over the global view, and tokens of the local one, with their colours."""
    model, _ = load_checkpoint("step0")
    wide, tokens = [], []
    with torch.inference_mode():
        for group in range(6):
            scene, frames = draw_scene(3, group)
            for frame in (frame for frame in frames if len(frame) == 1):
                pixels, _ = draw_picture(scene, frame)
                f16 = model.encoder.stem(encodings._pixels(pixels)).f16[0]
                wide.append((f16.mean((1, 2)).numpy(), list(COLOURS).index(frame[0])))
            tokens.append((scene, pixels))
        near = []
        for scene, pixels in tokens:
            box = quarter_view((SIDE, SIDE), scene.core).box
            crop = Image.fromarray(pixels[box.slices]).resize((448, 448), Image.Resampling.BILINEAR)
            f16 = model.encoder.stem(encodings._pixels(np.asarray(crop))).f16[0].permute(1, 2, 0).numpy()
            for number, name in enumerate(scene.colours):
                angle = scene.angle + number * np.pi / PAIRS
                for sign in (-1, 1):
                    r = sign * (scene.radius + scene.length - 1)
                    y, x = scene.core[0] - box.y0 + r * np.sin(angle), scene.core[1] - box.x0 + r * np.cos(angle)
                    near.append((f16[int(y // 4), int(x // 4)], list(COLOURS).index(name)))
    return wide, near


@pytest.mark.slow
@pytest.mark.parametrize("which", ["frame from the global view", "petal from its token"])
def test_what_decides_can_be_read_from_the_frozen_stem_by_a_line(stems, which):
    rows = stems[0] if which.startswith("frame") else stems[1]
    features = np.stack([f for f, _ in rows]).astype(np.float64)
    wanted = np.array([c for _, c in rows])
    features = np.c_[(features - features.mean(0)) / (features.std(0) + 1e-6), np.ones(len(features))]
    half = len(rows) // 2

    # Ridge regression on one-hot colours, fitted on half of the scenes, asked about the others.
    fitted = features[:half]
    gram = fitted.T @ fitted + 10 * np.eye(features.shape[1])
    weights = np.linalg.solve(gram, fitted.T @ np.eye(PAIRS)[wanted[:half]])
    right = (features[half:] @ weights).argmax(1) == wanted[half:]

    assert right.mean() >= 0.9


@pytest.mark.slow
def test_a_trunk_run_on_the_set_opens_both_rows_of_every_gate(tmp_path, monkeypatch):
    monkeypatch.setattr(encodings, "SHARD", 4)
    write_context_set(tmp_path / "set", 4)
    sampler = read_data_config(CONFIG).sampler(load_index(tmp_path / "set"))
    model, _ = load_checkpoint("step0")
    list(make_shard(tmp_path / "cache", 0, sampler, model, torch.float32))
    config = FitConfig(
        tmp_path / "cache", tmp_path / "run", train="trunk", samples=12, batch=2, warmup=1, global_p=1.0,
        precision="32-true",
    )  # fmt: skip
    run = Run(config, make_fabric("32-true"))
    assert not run.model.encoder.reads_global()

    for _ in range(3):
        run.train_step(EncodingCache(tmp_path / "cache"))

    assert run.model.encoder.reads_global()
    for block in run.model.encoder.relay.blocks:
        assert (block.gate.detach().abs().amax(1) > 1e-3).all(), block.gate

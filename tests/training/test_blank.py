"""What the relay sets are worth: small views, shut gates, and the limit of an answer that cannot see what decides."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from napari_relay.errors import UsageError
from napari_relay.geometry import Box
from napari_relay.model.checkpoint import load_checkpoint
from napari_relay.model.relay import OTHER, OWN
from napari_relay.predictor.device import Compute
from napari_relay.views import Crops, View, ViewClick, ViewPair
from relay_training.__main__ import main
from relay_training.bench_data import find_sets
from relay_training.blank import BOTH, CONDITIONS, RelayProbe, ceiling, measure, shut
from relay_training.context_set import write_context_set
from relay_training.quarter import Sample, quarter_view, samples

CPU = Compute(torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_context_set(tmp_path_factory.mktemp("data") / "context", 12, seed=1)


@pytest.fixture(scope="module")
def found(context: Path) -> list[Sample]:
    return list(samples(find_sets(context)[0]))


def open_model():
    model, _ = load_checkpoint("step0")
    with torch.no_grad():
        for block in model.encoder.relay.blocks:
            block.gate.fill_(0.8)
    return model.requires_grad_(False)


@given(st.integers(64, 4000), st.integers(64, 4000), st.floats(0, 1), st.floats(0, 1))
def test_a_view_is_at_most_a_quarter_of_the_picture_and_shows_the_place(height, width, v, u):
    place = (v * (height - 1), u * (width - 1))

    view = quarter_view((height, width), place)

    if view is None:
        assert max(height, width) < 4 * 56
    else:
        assert view.box.height * 4 <= max(height, width) < view.box.height * 4 * 1.5
        assert view.box.contains(*place)


def test_local_views_of_a_group_are_equal_and_their_global_views_and_truths_are_not(found):
    assert len(found) == 12
    for first, others in ((found[0], found[1:10]), (found[10], found[11:])):
        assert {sample.group for sample in others} == {first.group}
        assert all(np.array_equal(sample.crops.local, first.crops.local) for sample in others)
        assert all(sample.click == first.click for sample in others)
        assert all(not np.array_equal(sample.crops.global_, first.crops.global_) for sample in others)
        assert all(not np.array_equal(sample.truth, first.truth) for sample in others)
    assert found[0].group != found[10].group
    assert all(sample.truth[int(sample.click.y // 4), int(sample.click.x // 4)] for sample in found)


def drawn(truth: list[int], group: str) -> Sample:
    view = View(Box(0, 0, 448, 448))
    crops = Crops("", ViewPair(view, view), np.zeros((3, 4, 4), np.float32))
    mask = np.array([truth], bool)
    return Sample("s/p 1", crops, ViewClick(0, 0), mask, np.zeros_like(mask), group)


def test_ceiling_is_the_best_single_answer_of_each_group():
    # Two truths of 4 pixels that share 2: either one gets (1 + 2/6) / 2, both together 4/6, the common part 2/4.
    pair = [drawn([1, 1, 1, 1, 0, 0], "a"), drawn([1, 1, 0, 0, 1, 1], "a")]

    assert ceiling(pair) == pytest.approx((1 + 1 / 3) / 2)
    assert ceiling([*pair, drawn([1, 0, 0, 0, 0, 0], "b")]) == pytest.approx((2 * 2 / 3 + 1) / 3)
    assert ceiling([pair[0], drawn([1, 0, 0, 0, 0, 0], "b")]) is None


def test_without_the_global_view_the_context_set_cannot_be_solved(found):
    limit = ceiling(found[:10])

    assert limit is not None
    assert 0.4 < limit < 0.6


def test_shut_gates_come_back():
    model = open_model()
    model.head.relay_gate.fill_(0.5)
    before = {name: value.clone() for name, value in model.state_dict().items()}

    with shut(model, own=True, head=True):
        assert all(float(block.gate[OWN].abs().max()) == 0 for block in model.encoder.relay.blocks)
        assert all(float(block.gate[OTHER].abs().min()) > 0 for block in model.encoder.relay.blocks)
        assert float(model.head.relay_gate.abs().max()) == 0

    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_nothing_to_click_is_named(tmp_path):
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((100, 100), 1, np.uint8)).save(tmp_path / name / "a.png")
    model, _ = load_checkpoint("step0")

    with pytest.raises(UsageError, match="quarter"):
        measure(model, list(samples(find_sets(tmp_path)[0])), CPU)


@pytest.mark.slow
def test_with_shut_gates_every_condition_is_the_same(found):
    model, _ = load_checkpoint("step0")

    ious = RelayProbe(model, CPU).ious(found[0])

    assert set(ious) == set(CONDITIONS)
    assert len(set(ious.values())) == 1


@pytest.mark.slow
def test_open_gates_carry_the_global_view_and_only_it(found):
    probe = RelayProbe(open_model(), CPU)

    one, two = (probe.ious(sample) for sample in found[:2])

    # Without the global view both pictures get one answer, whatever their frames are.
    truths = [found[n].truth for n in (0, 1)]
    assert not np.array_equal(*truths)
    assert one[BOTH] != one["global view blanked"] != one["no global view"]
    assert one["local set shut"] != one[BOTH]
    blanked = [rows["global view blanked"] for rows in (one, two)]
    assert sum(blanked) / 2 <= ceiling(found[:2]) + 1e-6


@pytest.mark.slow
def test_the_command_keeps_a_report(context, tmp_path, capsys):
    out = tmp_path / "blank.json"
    words = ["step0", "--data", str(context), "--limit", "2", "--dtype", "float32", "--json", str(out)]

    assert main(["blank", *words]) == 0

    data = json.loads(out.read_text())
    worth = data["sets"]["context"]
    assert worth["objects"] == 2
    assert worth["lost"]["global view blanked"] == [0, 0, 0]
    assert "global view blanked" in capsys.readouterr().out

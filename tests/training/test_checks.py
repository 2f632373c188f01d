"""Checks of a trained model: what they count, on models whose answers are known; and the landed values still hold."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from napari_relay.errors import UsageError
from napari_relay.model.checkpoint import load_checkpoint
from napari_relay.predictor.device import Compute
from relay_training.__main__ import main
from relay_training.bench_data import ObjectRule, find_sets, plan_tasks
from relay_training.check_report import Check, fallen, from_json, to_json
from relay_training.checks import (
    DRIFTED,
    HEARD_POSITIVE,
    MIRRORED,
    REPEATED,
    added_clicks,
    repeated,
    unclicked,
)
from relay_training.robot import intersection_over_union
from relay_training.seat import Round, Seat, at_cells, subjects

CPU = Compute(torch.device("cpu"), torch.float32)
LANDED = Path(__file__).parents[2] / "benchmarks" / "results" / "checks_samples.json"
SAMPLES = ("coins.png", "nuclei.jpg", "stained_nuclei.jpg")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled pictures with outlines as a set."""
    folder = tmp_path_factory.mktemp("data") / "samples"
    source = Path(__file__).parents[2] / "sample_data"
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for name in map(Path, SAMPLES):
        shutil.copy(source / name, folder / "images" / name)
        shutil.copy(source / f"{name.stem}_labels.png", folder / "labels" / f"{name.stem}.png")
    return folder


class Told:
    """Answers as a model would that adds `step` to the logits in a small square at each click, for its sign."""

    def __init__(self, step: float) -> None:
        self.step = step
        truth = np.zeros((112, 112), bool)
        truth[40:70, 40:70] = True
        self.subject = SimpleNamespace(truth=truth, ignore=np.zeros_like(truth))

    def ask(self, clicks, previous, which=None):
        batch = np.zeros((len(clicks), 112, 112), np.float32)
        if previous is not None:
            batch += previous
        for row, own in zip(batch, clicks, strict=True):
            y, x, sign = own[-1]
            if sign >= 0:
                row[int(y // 4), int(x // 4)] += self.step * (1 if sign else -1)
        return SimpleNamespace(logits=torch.from_numpy(batch[:, None]))

    def later(self, clicks, previous):
        return Round(clicks, self.ask(clicks[None], previous).logits[0, 0].numpy())

    def iou(self, shown):
        return intersection_over_union(shown.mask, self.subject.truth, self.subject.ignore)


@pytest.mark.parametrize(("step", "heard"), [(2.0, 1.0), (-2.0, 0.0)])
@pytest.mark.parametrize("positive", [True, False])
def test_an_added_click_is_heard_where_it_is(step, heard, positive):
    seat = Told(step)
    shown = Round(at_cells([[50, 50]], positive=True), np.full((112, 112), -1.0, np.float32))

    before, after = added_clicks(seat, shown, np.random.default_rng(0), 45, positive=positive)

    assert before.shape == after.shape == (45,)
    assert (after > before).mean() == heard
    # From -1, a positive click that counts leads to 1 and one that is misread to -3; a negative one the other way.
    assert (after >= 0.5).mean() == heard


def test_probability_without_clicks_is_that_of_the_whole_view():
    assert unclicked(Told(0.0), np.random.default_rng(0)) == pytest.approx([0.5, 0.5])


def test_a_request_that_answers_itself_does_not_drift():
    seat = Told(0.0)
    shown = Round(at_cells([[50, 50]], positive=True), np.where(seat.subject.truth, 3.0, -3.0).astype(np.float32))

    answers = repeated(seat, shown)

    assert answers == {REPEATED: [0.0] * 10, DRIFTED: [0.0]}
    # One more pixel of 900 a round, always the same one: only the first round changes anything.
    shown = Round(at_cells([[10, 10]], positive=True), shown.logits)
    grown = repeated(Told(50.0), shown)
    assert grown[REPEATED][0] == pytest.approx(1 - 900 / 901)
    assert grown[REPEATED][1:] == [0.0] * 9
    assert grown[DRIFTED] == grown[REPEATED][:1]


def test_values_are_kept_and_compared_with_the_landed_ones():
    a, b = Check("a", 0.97, 0.98, "at least", 5), Check("b", 0.01, 0.02, "at most", 5)
    checks = [a, b, Check("c", None, 0, "above", 0)]
    assert [check.met for check in checks] == [False, True, None]
    assert Check("d", 0.0, 0.0, "above", 1).met is False

    assert from_json(to_json(checks, {"checkpoint": "x"})) == checks
    landed = [Check("a", 0.995, 0.98, "at least", 5), Check("b", 0.05, 0.02, "at most", 5)]
    assert fallen(checks, landed) == ["a: 0.970, landed 0.995"]
    assert fallen(landed, checks) == ["b: 0.050, landed 0.010"]
    assert fallen(checks, landed, tolerance=0.03) == []
    with pytest.raises(UsageError, match="no report of checks"):
        from_json("{}")


def test_objects_are_chosen_evenly_and_shown_whole(pictures):
    (found,) = find_sets(pictures)
    tasks = plan_tasks(found, ObjectRule(), None)

    chosen = list(subjects(tasks, 4))

    assert len(chosen) == 4
    assert len({(s.image, s.label) for s in chosen}) == 4
    for subject in chosen:
        assert subject.truth.any()
        mirrored = subject.mirrored()
        assert np.array_equal(mirrored.truth[:, ::-1], subject.truth)
        assert np.array_equal(mirrored.crops.local[..., ::-1], subject.crops.local)


@pytest.mark.slow
def test_a_seat_plays_as_the_predictor_answers(pictures):
    from napari_relay.predictor import load_predictor
    from napari_relay.views import ViewClick

    subject = next(iter(subjects(plan_tasks(find_sets(pictures)[0], ObjectRule(), None), 1)))
    model, _ = load_checkpoint("small")
    seat = Seat(model, CPU, subject)
    predictor = load_predictor("small", device="cpu", dtype="float32")

    shown = seat.play(2)

    clicks = [ViewClick(float(y), float(x), bool(sign)) for y, x, sign in shown.clicks]
    first = predictor.predict(predictor.encode(subject.crops), clicks[:1])
    second = predictor.predict(predictor.encode(subject.crops), clicks, first.logits[0])
    np.testing.assert_allclose(shown.logits, second.logits[0], atol=1e-3)


@pytest.mark.slow
def test_what_held_when_the_checkpoint_landed_holds(pictures, tmp_path, capsys):
    out = tmp_path / "checks.json"
    words = ["--data", str(pictures), "--checks", "--objects", "4", "--trials", "40", "--dtype", "float32"]

    assert main(["evaluate", *words, "--json", str(out)]) == 0

    checks = from_json(out.read_text())
    assert {check.name for check in checks} >= {HEARD_POSITIVE, MIRRORED}
    assert next(check for check in checks if check.name == HEARD_POSITIVE).cases == 40
    assert "mirrored" in capsys.readouterr().out
    if not LANDED.exists():
        LANDED.write_text(out.read_text())
        pytest.fail(f"{LANDED.name} was missing and is written anew: look at it, commit it.")
    assert fallen(checks, from_json(LANDED.read_text()), tolerance=0.05) == []

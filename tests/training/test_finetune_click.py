"""The click head's training: what moves, what resumes, what happens when memory runs out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_relay.model import ClickModel, ModelConfig
from napari_relay.model.encoder import Encoding
from napari_relay.model.network import FIRST
from relay_training.finetune.cache import Encodings, Row
from relay_training.finetune.click import ClickTraining, between, changed_tensors, is_out_of_memory
from relay_training.finetune.click_head import best_share
from relay_training.finetune.judge import Played
from relay_training.finetune.objective import LearnObjective, joined, part_of, tasks_of
from relay_training.finetune.parts import merged_state, open_parts
from relay_training.finetune.recipe import Recipe
from relay_training.regions import sample_generators

SIZES = {
    "f4": (64, 112, 112), "f8": (128, 56, 56), "f16a": (160, 28, 28), "f16b": (320, 28, 28), "image": (256, 28, 28),
    "relay": (4, 320),
}  # fmt: skip
SMALL = Recipe.of({"batch": 2, "replay": 0, "warmup": 1, "rounds": 1, "lr_new": 1e-3})


def disc(y: int, x: int, radius: int) -> np.ndarray:
    yy, xx = np.mgrid[:112, :112]
    return (yy - y) ** 2 + (xx - x) ** 2 < radius**2


def row(key: str = "a", *, rejected: bool = False) -> Row:
    own, others = disc(40, 40, 20), disc(90, 90, 10)
    known = own | others
    clicks = np.array([[40, 40, 1], [70, 70, 0]], np.float32)
    if rejected:
        return Row(key, np.full((112, 112), -1, np.int8), others, known, own, clicks)
    return Row(key, own.astype(np.int8), others, known, np.zeros_like(own), clicks)


@pytest.fixture(scope="module")
def model() -> ClickModel:
    torch.manual_seed(0)
    return ClickModel(ModelConfig()).eval()


@pytest.fixture(scope="module")
def encodings(tmp_path_factory: pytest.TempPathFactory) -> Encodings:
    """Two views as an encoder would have left them; what is in them does not matter here."""
    cache = Encodings(tmp_path_factory.mktemp("encodings"), "an encoder")
    generator = torch.Generator().manual_seed(1)
    for key in ("a", "b"):
        cache.write(key, {n: torch.randn(1, *size, generator=generator) for n, size in SIZES.items()})
    return cache


def training(model: ClickModel, encodings: Encodings, recipe: Recipe = SMALL) -> ClickTraining:
    return ClickTraining(model, [[row("a")], [row("b")]], encodings, recipe, steps=10)


def predicted(model: ClickModel, encodings: Encodings) -> torch.Tensor:
    encoding = Encoding(**encodings.rows(["a"]))
    with torch.no_grad():
        clicks = torch.tensor([[[160.0, 160.0, 1.0]]])
        return model.head(model.head.prepare(encoding), clicks, which=FIRST).logits


def test_low_rank_additions_change_nothing_at_first_and_merging_changes_nothing(model, encodings) -> None:
    from copy import deepcopy

    opened = deepcopy(model)
    before = predicted(model, encodings)
    open_parts(opened, rank=4, alpha=8.0)
    assert torch.allclose(predicted(opened, encodings), before, atol=1e-5)

    with torch.no_grad():
        for name, parameter in opened.named_parameters():
            if name.endswith(".b"):
                parameter.normal_(0, 0.02)
    moved = predicted(opened, encodings)
    assert not torch.allclose(moved, before, atol=1e-3)
    merged = deepcopy(model)
    merged.load_state_dict(merged_state(opened))
    assert torch.allclose(predicted(merged, encodings), moved, atol=1e-4)


def test_half_of_the_way_is_the_mean_of_start_and_what_was_learned(model, encodings) -> None:
    from copy import deepcopy

    learned = deepcopy(model)
    with torch.no_grad():
        learned.head.pixels.out.weight.add_(1.0)
    half = between(model, learned, 0.5)

    mean = (model.head.pixels.out.weight + 0.5).half().float()
    assert torch.equal(half.head.pixels.out.weight, mean)
    assert changed_tensors(half, model.state_dict()).keys() == {"head.pixels.out.weight"}
    assert between(model, learned, 1.0) is learned
    assert not changed_tensors(between(model, learned, 0.0), model.state_dict())


def test_weights_are_kept_as_far_as_they_need_fewer_clicks_and_no_farther() -> None:
    def played(clicks: int) -> list[Played]:
        return [Played("object", (*[0.5] * (clicks - 1), 0.9))]

    assert best_share({"sized": played(3), "half": played(3), "after": played(4)}) == "sized"
    assert best_share({"sized": played(4), "half": played(3), "after": played(3)}) == "half"
    assert best_share({"sized": played(4), "half": played(3), "after": played(2)}) == "after"


@pytest.mark.slow
def test_only_the_head_moves_and_the_encoder_stays_bit_by_bit(model, encodings) -> None:
    run = training(model, encodings)
    run.train_step()
    trained = run.trained()

    for name, value in model.encoder.state_dict().items():
        assert torch.equal(trained.encoder.state_dict()[name], value), name
    changed = changed_tensors(trained, model.state_dict())
    assert {"head.pixels.out.weight", "head.decoder.final_attn.q_proj.weight"} <= changed.keys()
    assert not any(name.startswith("head.prompt.") for name in changed)


@pytest.mark.slow
def test_what_is_kept_is_what_a_file_can_hold(model, encodings) -> None:
    run = training(model, encodings)
    run.train_step()
    changed = changed_tensors(run.trained(), model.state_dict())
    assert all(torch.equal(value, value.half().float()) for value in changed.values())


@pytest.mark.slow
def test_going_on_gives_the_same_weights_as_never_stopping(model, encodings) -> None:
    straight, stopped = training(model, encodings), training(model, encodings)
    for _ in range(4):
        straight.train_step()
    for _ in range(2):
        stopped.train_step()
    again = training(model, encodings)
    again.restore(stopped.state())
    for _ in range(2):
        again.train_step()

    a, b = straight.trained().state_dict(), again.trained().state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
def test_when_memory_runs_out_it_goes_on_with_less_at_a_time(model, encodings, monkeypatch) -> None:
    run = training(model, encodings, Recipe.of({"batch": 4, "replay": 0, "warmup": 1, "rounds": 1}))
    real, seen = ClickTraining._backward, []

    def backward(self, encoding, tasks, rows, rngs, share):
        seen.append(rows.stop - rows.start)
        if rows.stop - rows.start > 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 12 bytes.")
        return real(self, encoding, tasks, rows, rngs, share)

    monkeypatch.setattr(ClickTraining, "_backward", backward)
    parts = run.train_step()

    assert seen == [4, 2, 1, 1, 1, 1]
    assert (run.step, run.chunk) == (1, 1)
    assert np.isfinite(parts["loss"])


def test_when_not_even_one_sample_fits_it_says_so(model, encodings, monkeypatch) -> None:
    run = training(model, encodings)

    def backward(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(ClickTraining, "_backward", backward)
    with pytest.raises(MemoryError, match="not enough memory"):
        run.train_step()
    assert not is_out_of_memory(RuntimeError("The size of tensor a must match"))


def tasks(*rows: Row, recorded_p: float = 1.0):
    return tasks_of(rows, sample_generators(0, 0, range(len(rows))), recorded_p)


def test_recorded_clicks_take_the_place_of_drawn_ones() -> None:
    found = tasks(row())
    clicks = found.clicked(LearnObjective()._many_clicks(found, sample_generators(0, 1, [0])))
    assert clicks.labels.tolist() == [[1]]
    assert torch.allclose(clicks.points[0, 0], torch.tensor([40.0, 40.0]), atol=0.6)
    never = tasks(row(), recorded_p=0.0)
    assert not never.use.any()


def test_unknown_area_counts_for_the_mask_and_not_for_likeness() -> None:
    found = tasks(row())
    assert found.target[0, 5, 100] == 0
    assert found.likeness[0, 5, 100] == -1
    assert found.likeness[0, 40, 40] == 1
    assert found.likeness[0, 90, 90] == 0


def test_batches_are_joined_and_parted_row_by_row() -> None:
    both = joined(tasks(row()), tasks(row(rejected=True)))
    assert both.rejected.tolist() == [False, True]
    last = part_of(both, slice(1, 2))
    assert last.rejected.tolist() == [True]
    assert torch.equal(last.target[0], both.target[1])


def test_a_rejected_proposal_teaches_nothing_but_that_it_was_not_wanted(model, encodings) -> None:
    objective, found = LearnObjective(first_p=1.0), tasks(row(rejected=True))
    encoding = Encoding(**encodings.rows(["a"]))

    class Sees:
        """A head that shows the rejected mask and is sure of it."""

        def __call__(self, prepared, clicks, previous=None, has_previous=None, which=FIRST):
            logits = torch.where(found.refused[:, None], 8.0, -8.0).expand(-1, 3, -1, -1).clone().requires_grad_()
            self.logits, self.iou = logits, torch.full((1, 3), 0.9, requires_grad=True)
            from napari_relay.model.network import Output

            return Output(logits, self.iou)

    head = Sees()
    losses = objective(head, model.head.prepare(encoding), found, sample_generators(0, 2, [0]))
    losses.total.backward()
    assert losses.parts["rejected"] == pytest.approx(0.1 * 0.9**2, rel=1e-4)
    assert (head.iou.grad > 0).all(), "it is sure of a mask that nobody wanted"
    assert float(head.logits.grad.abs().sum()) == 0


def test_an_unknown_setting_of_the_recipe_is_named() -> None:
    from napari_relay.errors import UsageError

    with pytest.raises(UsageError, match="'stepps'"):
        Recipe.of({"stepps": 3})
    assert Recipe.of({"steps": "7"}).steps == 7


def test_a_torn_encoding_is_made_again_and_files_of_other_views_make_room(tmp_path: Path) -> None:
    cache = Encodings(tmp_path, "e")
    for key in ("a", "b", "c"):
        cache.write(key, {n: torch.zeros(1, *s) for n, s in SIZES.items()})
    assert cache.whole("a")
    cache.path("b").write_bytes(b"torn")
    assert not cache.whole("b")
    assert not cache.path("b").exists()

    cache.tidy(["a"], limit=0)
    assert [path.name for path in tmp_path.glob("*.safetensors")] == [cache.path("a").name]

"""The click head's part of a job: encode, measure before, train, measure after, judge. Goes on where it was stopped.

Two things are learned, each measured by itself: the size of the objects, to which first views are fitted, and weights.
Weights are kept only where they need fewer clicks than the size alone, and go as far from the start as served best:
the whole way or half of it (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022).

    runs.json    objects played before, with the size alone, with half of the way and after all of it, by name
    plan.json    how many steps fit into the time, decided once
    state.pt     the training in progress
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import torch

from napari_relay.model.network import ClickModel
from napari_relay.predictor import Predictor
from napari_relay.predictor.device import Compute
from relay_training.finetune.cache import Row
from relay_training.finetune.click import ClickTraining, between, changed_tensors, save_state
from relay_training.finetune.context import Context, HeadResult
from relay_training.finetune.gallery import draw_gallery
from relay_training.finetune.judge import Played, play, verdict
from relay_training.finetune.lessons import lessons_of
from relay_training.finetune.material import Example, Fold, number_of
from relay_training.finetune.recipe import Recipe
from relay_training.finetune.replay import Replay
from relay_training.product import DirectPredicts

MEASURED = 60
"""At most so many objects are measured."""
SAVE_EVERY_S = 15.0
TRIAL_STEPS = 3
LEAST_STEPS = 20
RESERVE_S = 5.0
CURVE_EVERY = 5
SHARES = {"sized": 0.0, "half": 0.5, "after": 1.0}
"""How far the weights go from the start towards what was learned."""
TRAINED_SHARES = tuple(when for when, share in SHARES.items() if share)
WHEN = ("before", *SHARES)


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps of each fold's training and of the final one (0: the fold's is the final one), and seconds of a step and
    of playing an object."""

    fold_steps: int
    final_steps: int
    step_s: float
    play_s: float


def run(context: Context) -> HeadResult:
    """Train and judge the click head."""
    return _ClickHead(context).run()


class _ClickHead:
    def __init__(self, context: Context) -> None:
        self.context, self.control, self.folder = context, context.control, context.folder
        self.recipe = Recipe.of(context.job.recipe)
        self.runs = self._read_runs()
        self.replay: Replay | None = None
        self.lessons: dict[str, list[Row]] = {}
        self._folds = [replace(fold, measure=tuple(_drawn(fold.measure, self._most()))) for fold in context.split.folds]

    def _most(self) -> int:
        return MEASURED // len(self.context.split.folds)

    def run(self) -> HeadResult:
        self._encode()
        measured = [e for fold in self._folds for e in fold.measure]
        play_s = self._play("before", measured, self.context.before, self.context.before_px, "before")
        self._play("sized", measured, self.context.predictor, self.context.object_px, "size of the objects")
        plan = self._plan(len(measured), play_s)
        for number, fold in enumerate(self._folds, 1):
            self._fold(number, fold, plan)
        played = {when: [self.runs[when][e.name] for e in measured] for when in WHEN}
        best = best_share(played)
        before, after, share = played["before"], played[best], SHARES[best]
        words = "" if share else " The objects' size was learned; new weights add nothing."
        found = verdict(before, after)
        gallery = draw_gallery(self.folder.path / "gallery", self.context.materials, measured, before, after)
        metrics = {
            **found.to_json(), "mode": self.context.split.mode, "plan": asdict(plan), "recipe": asdict(self.recipe),
            "share": share, "noc85_of_share": {str(SHARES[when]): mean_noc85(played[when]) for when in SHARES},
            "runs": [{"name": a.name, "before": a.ious, "after": b.ious} for a, b in zip(before, after, strict=True)],
        }  # fmt: skip
        start = self.context.start
        tensors = changed_tensors(between(start, self._final(plan), share), start.state_dict()) if share else {}
        return HeadResult("click", found.better, found.reason + words, metrics, tensors, gallery)

    # -- encode ------------------------------------------------------------------------------------------------

    def _encode(self) -> None:
        context, examples = self.context, self.context.split.final
        if self.context.split.mode != "folds":
            examples = context.split.folds[0].teach
        views = max(1, min(self.recipe.views, self.recipe.most_views // max(1, len(examples))))
        self.control.tell("reading", 0, len(examples))
        wanted, lessons = lessons_of(context.materials, examples, views, context.job.seed, context.object_px)
        self.lessons = {e.name: rows for e, rows in zip(examples, lessons, strict=True) if rows}
        self.replay = Replay(context.predictor, kind=type(context.encodings)) if self.recipe.replay else None
        total = len(wanted) + (len(self.replay) if self.replay else 0)
        context.encodings.tidy(key for key, _ in wanted)
        for done in context.encodings.make(wanted, context.predictor):
            self.control.check()
            self.control.tell("encoding", done, total)
        for done in self.replay.make() if self.replay else ():
            self.control.check()
            self.control.tell("encoding", len(wanted) + done, total)
        context.predictor.clear()

    # -- measure -----------------------------------------------------------------------------------------------

    def _play(
        self, when: str, examples: Sequence[Example], predictor: Predictor, object_px: float | None, part: str
    ) -> float:
        """Play what was not played yet; seconds an object."""
        predicts, times = DirectPredicts(predictor), []
        for number, example in enumerate(examples, 1):
            self.control.check()
            if example.name not in self.runs[when]:
                since = time.monotonic()
                material = self.context.materials[example.source]
                self.runs[when][example.name] = play(material, example, predicts, object_px)
                times.append(time.monotonic() - since)
                self._write_runs()
            if self.control.left_s is not None and times:
                self.control.left_s = max(0.0, self.control.left_s - times[-1])
            self.control.tell("measuring", number, len(examples), part)
        return sum(times) / len(times) if times else 1.0

    def _read_runs(self) -> dict[str, dict[str, Played]]:
        kept = self.folder.read("runs.json") or {}

        def played(when: str) -> dict[str, Played]:
            return {name: Played(**values) for name, values in kept.get(when, {}).items()}

        return {when: played(when) for when in WHEN}

    def _write_runs(self) -> None:
        self.folder.write("runs.json", {w: {n: asdict(p) for n, p in runs.items()} for w, runs in self.runs.items()})

    # -- train -------------------------------------------------------------------------------------------------

    def _plan(self, measured: int, play_s: float) -> Plan:
        kept = self.folder.read("plan.json")
        if kept is not None:
            return Plan(**kept)
        trial = self._training(self._all_examples(), TRIAL_STEPS)
        trial.train_step()  # the first one also warms up
        since = time.monotonic()
        while trial.step < TRIAL_STEPS:
            trial.train_step()
        step_s = (time.monotonic() - since) / (TRIAL_STEPS - 1)
        folds = len(self._folds)
        left = self.control.budget_s - self.control.spent_s - len(TRAINED_SHARES) * measured * play_s - RESERVE_S
        final, each = (self.recipe.steps, self.recipe.fold_steps) if folds > 1 else (0, self.recipe.steps)
        fits = left / step_s / (final + folds * each)
        # More time is used as well: twice as long, twice as many steps.
        scale = max(fits, LEAST_STEPS / each) if fits < 1 else max(1.0, min(fits, self.context.job.minutes / 5))
        plan = Plan(round(each * scale), round(final * scale), step_s, play_s)
        self.folder.write("plan.json", asdict(plan))
        return plan

    def _all_examples(self) -> tuple[Example, ...]:
        return self.context.split.final if len(self._folds) > 1 else self._folds[0].teach

    def _training(self, examples: Iterable[Example], steps: int) -> ClickTraining:
        lessons = [self.lessons[e.name] for e in examples if e.name in self.lessons]
        return ClickTraining(
            self.context.start, lessons, self.context.encodings, self.recipe, steps=steps,
            replay=self.replay, dtype=self.context.predictor.dtype, seed=self.context.job.seed,
        )  # fmt: skip

    def _fold(self, number: int, fold: Fold, plan: Plan) -> None:
        """Train on a fold's objects and measure on its others."""
        if all(e.name in self.runs[when] for e in fold.measure for when in TRAINED_SHARES):
            return
        folds = len(self._folds)
        part = f"test {number} of {folds}" if folds > 1 else ""
        to_come = (folds - number) * (plan.fold_steps * plan.step_s) + plan.final_steps * plan.step_s
        to_come += sum(len(f.measure) for f in self._folds[number - 1 :]) * plan.play_s * len(TRAINED_SHARES)
        model = self._train(f"fold {number}", fold.teach, plan.fold_steps, plan, part, to_come)
        compute = Compute(self.context.predictor.device, self.context.predictor.dtype)
        for when in TRAINED_SHARES:
            predictor = Predictor(
                between(self.context.start, model, SHARES[when]), self.context.predictor.card, compute
            )
            predictor.share_encodings(self.context.before)
            self._play(when, fold.measure, predictor, self.context.object_px, part or when)

    def _final(self, plan: Plan) -> ClickModel:
        """The model to keep: that of the only fold, or one trained on all objects."""
        if plan.final_steps == 0:
            return self._train("fold 1", self._folds[0].teach, plan.fold_steps, plan, "", 0.0)
        return self._train("final", self.context.split.final, plan.final_steps, plan, "all objects", 0.0)

    def _train(
        self, name: str, examples: Sequence[Example], steps: int, plan: Plan, part: str, to_come_s: float
    ) -> ClickModel:
        training, path = self._training(examples, steps), self.folder.path / "state.pt"
        kept = torch.load(path, weights_only=True) if path.exists() else {"name": ""}
        if kept["name"] == name:
            training.restore(kept)

        def save() -> None:
            save_state(path, {"name": name, **training.state()})

        saved, chunk, curve = time.monotonic(), training.chunk, []
        while training.step < steps:
            self.control.check(save)
            parts = training.train_step()
            curve.append((parts["loss"], parts["IoU"]))
            self.control.left_s = (steps - training.step) * plan.step_s + to_come_s
            if training.chunk != chunk:
                chunk = training.chunk
                note = f"Memory is short: learning goes on with {chunk} at a time."
                self.control.tell("learning", training.step, steps, part, note=note)
            if training.step % CURVE_EVERY == 0 or training.step == steps:
                loss, iou = (round(sum(v) / len(curve), 4) for v in zip(*curve, strict=True))
                curve.clear()
                self.control.tell("learning", training.step, steps, part, step=training.step, loss=loss, iou=iou)
            if time.monotonic() - saved > SAVE_EVERY_S:
                save()
                saved = time.monotonic()
        save()
        return training.trained()


def mean_noc85(played: Sequence[Played]) -> float:
    """Clicks to an IoU of 85 %, the mean over the objects."""
    return sum(p.noc85 for p in played) / len(played)


def best_share(played: Mapping[str, Sequence[Played]]) -> str:
    """The key of `SHARES` that needed the fewest clicks; of equals the one nearest to the start."""
    return min(SHARES, key=lambda when: (mean_noc85(played[when]), SHARES[when]))


def _drawn(examples: Sequence[Example], most: int) -> list[Example]:
    """At most so many, always the same, in their order."""
    chosen = set(sorted((e.name for e in examples), key=number_of)[:most])
    return [e for e in examples if e.name in chosen]

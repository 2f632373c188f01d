"""`evaluate --checks`: what must hold for a trained checkpoint and no test of the code can promise.

The numbers are shares and means over objects of real pictures; a bar says what is wanted. CI compares them with the
values of the last checkpoint that landed (`fallen`) and does not hope for absolute ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track

from napari_relay.errors import UsageError
from napari_relay.model.checkpoint import content_hash, default_checkpoint, load_checkpoint
from napari_relay.model.network import FIRST, ClickModel
from napari_relay.predictor.device import Compute, choose
from napari_relay.views import View
from napari_relay.views.values import VIEW_SIDE
from relay_training import blank
from relay_training.bench_data import Task, find_sets
from relay_training.check_report import Check, Side, table, to_json
from relay_training.evaluate import Contest
from relay_training.product import set_threads
from relay_training.quarter import samples
from relay_training.report import describe_machine
from relay_training.robot import intersection_over_union
from relay_training.seat import Clicks, Round, Seat, Subject, at_cells, subjects

OBJECTS, TRIALS = 50, 2000
CLICKS = 3
"""Clicks of the robot before a question is asked."""
ROUNDS = 10
ROUNDING = 1e-3
"""A probability that falls by less has not fallen."""
BATCH = 20
LEAST_PAD = 8
Floats = npt.NDArray[np.floating]
Answers = dict[str, Sequence[float]]
"""Name of a check -> a number a case."""

HEARD_POSITIVE = "a positive click never lowers the probability at its place"
OBEYED_POSITIVE = "a positive click is inside the mask"
HEARD_NEGATIVE = "a negative click never raises the probability at its place"
OBEYED_NEGATIVE = "a negative click is outside the mask"
UNCLICKED = "mean probability without a positive click or a mask"
REPEATED = "change of the IoU when a request is repeated"
DRIFTED = "change of the IoU after ten repetitions"
MIRRORED = "IoU of the masks of mirrored views"
MIRRORED_TOKENS = "small tokens that a mirrored view chooses too"
PADDED = "change of the IoU when the padding moves"
BLANKED = "mIoU lost with a blanked global view"
SHUT = "mIoU lost with shut gates of the local relay set"
BARS: Mapping[str, tuple[float, Side]] = {
    HEARD_POSITIVE: (0.99, "at least"),
    OBEYED_POSITIVE: (0.98, "at least"),
    HEARD_NEGATIVE: (0.99, "at least"),
    OBEYED_NEGATIVE: (0.98, "at least"),
    UNCLICKED: (0.05, "at most"),
    REPEATED: (0.01, "at most"),
    DRIFTED: (0.01, "at most"),
    MIRRORED: (0.95, "at least"),
    MIRRORED_TOKENS: (0.5, "at least"),
    PADDED: (0.02, "at most"),
    BLANKED: (0.0, "above"),
    SHUT: (0.0, "above"),
}
"""What is wanted of each, in the order of the report."""


class Examiner:
    """Asks one model about objects."""

    def __init__(self, model: ClickModel, compute: Compute) -> None:
        self._model, self._compute = model.to(compute.device).eval(), compute

    def answers(self, subject: Subject, rng: np.random.Generator, trials: int) -> Answers:
        """All that one object says; `trials` clicks of each sign are added to what the robot's clicks gave."""
        seat, mirrored = self._seat(subject), self._seat(subject.mirrored())
        found: Answers = {UNCLICKED: unclicked(seat, rng), **self._moved(seat)}
        shown = seat.play(CLICKS)
        if shown is None:
            return found
        found |= mirrored_masks(mirrored, shown) | mirrored_tokens(seat, mirrored, shown) | repeated(seat, shown)
        for positive, names in ((True, (HEARD_POSITIVE, OBEYED_POSITIVE)), (False, (HEARD_NEGATIVE, OBEYED_NEGATIVE))):
            before, after = added_clicks(seat, shown, rng, trials, positive=positive)
            found |= {names[0]: (after >= before - ROUNDING).tolist(), names[1]: (after >= 0.5).tolist()}
        return found

    def _seat(self, subject: Subject) -> Seat:
        return Seat(self._model, self._compute, subject)

    def _moved(self, seat: Seat) -> Answers:
        """Change of the IoU when a whole picture is moved within its padding; nothing for a square one."""
        first = seat.subject.whole()
        view = first.crops.pair.local
        height, width = first.shape
        step = (view.box.height - min(height, width)) // 2
        if step / view.scale < LEAST_PAD:
            return {}
        dy, dx = (step, 0) if height < width else (0, step)
        second = first.moved(View(view.box.shift(-dy, -dx)))
        one, two = self._seat(first), self._seat(second)
        shown = one.play(CLICKS)
        if shown is None:
            return {}
        clicks = shown.clicks + np.array([dy, dx, 0], np.float32) / np.float32(view.scale)
        return {PADDED: [abs(one.iou(shown) - two.iou(two.replay(clicks)))]}


def mirrored_masks(mirrored: Seat, shown: Round) -> Answers:
    """IoU of the mask of a mirrored view, mirrored back, with the mask."""
    other = mirrored.replay(_mirrored_clicks(shown.clicks)).mask[:, ::-1]
    return {MIRRORED: [intersection_over_union(other, shown.mask, np.zeros_like(other))]}


def mirrored_tokens(seat: Seat, mirrored: Seat, shown: Round) -> Answers:
    """Share of the small tokens chosen at the first click that are chosen in the mirrored view too."""
    first = shown.clicks[:1]
    here = seat.ask(first[None], None, FIRST).scores
    there = mirrored.ask(_mirrored_clicks(first)[None], None, FIRST).scores
    if here is None or there is None:
        return {}
    side = round(here.small.shape[1] ** 0.5)
    chosen = set(here.small_index[0].tolist())
    back = {index // side * side + side - 1 - index % side for index in there.small_index[0].tolist()}
    return {MIRRORED_TOKENS: [len(chosen & back) / len(chosen)]}


def added_clicks(
    seat: Seat, shown: Round, rng: np.random.Generator, trials: int, *, positive: bool
) -> tuple[Floats, Floats]:
    """Probability at a place before and after a click there, [trials] each: the object's for a positive click.

    The places are drawn evenly from the object, or for negative clicks from all that is not the object.
    """
    subject = seat.subject
    places = np.argwhere(subject.truth if positive else ~subject.truth & ~subject.ignore)
    if not len(places):
        return np.zeros(0), np.zeros(0)
    drawn, after = places[rng.integers(len(places), size=trials)], []
    for start in range(0, trials, BATCH):
        cells = drawn[start : start + BATCH]
        clicks = np.stack([np.concatenate([shown.clicks, row[None]]) for row in at_cells(cells, positive=positive)])
        logits = seat.ask(clicks, shown.logits).logits[:, 0].float().cpu().numpy()
        after.append(logits[np.arange(len(cells)), cells[:, 0], cells[:, 1]])
    sign = 1 if positive else -1
    return _probability(sign * shown.logits[drawn[:, 0], drawn[:, 1]]), _probability(sign * np.concatenate(after))


def unclicked(seat: Seat, rng: np.random.Generator) -> list[float]:
    """Mean probability without a positive click and a previous mask: with three negative clicks, and with none."""
    negative = at_cells(rng.integers(0, len(seat.subject.truth), (3, 2)), positive=False)
    none = np.zeros_like(negative)
    none[:, 2] = -1
    logits = seat.ask(np.stack([negative, none]), None).logits.float().cpu().numpy()
    return [float(_probability(row).mean()) for row in logits]


def repeated(seat: Seat, shown: Round) -> Answers:
    """Changes of the IoU with the truth when a request is repeated with its own answer as previous mask."""
    ious = [seat.iou(shown)]
    for _ in range(ROUNDS):
        shown = seat.later(shown.clicks, shown.logits)
        ious.append(seat.iou(shown))
    return {REPEATED: np.abs(np.diff(ious)).tolist(), DRIFTED: [abs(ious[-1] - ious[0])]}


def run_checks(
    model: ClickModel,
    compute: Compute,
    tasks: Sequence[Task],
    *,
    objects: int = OBJECTS,
    trials: int = TRIALS,
    context: Path | None = None,
) -> list[Check]:
    """Ask everything.

    Parameters
    ----------
    tasks : objects to choose from, see `bench_data.plan_tasks`.
    objects, trials : how many of them, and how many added clicks of each sign over all of them.
    context : a context set; without one what concerns the global view has no value.

    Raises
    ------
    UsageError
        There is no object.
    """
    found = list(subjects(tasks, objects))
    if not found:
        raise UsageError("There is no object to check.", "Give a set of pictures with label maps.")
    examiner, kept = Examiner(model, compute), {name: list[float]() for name in BARS}
    for number, subject in enumerate(track(found, "checking", console=Console(stderr=True))):
        answers = examiner.answers(subject, np.random.default_rng(number), -(-trials // len(found)))
        for name, values in answers.items():
            kept[name] += map(float, values)
    if context is not None:
        kept |= worth_of_context(model, compute, context)
    return [Check(name, _mean(values), *BARS[name], len(values)) for name, values in kept.items()]


def worth_of_context(model: ClickModel, compute: Compute, context: Path) -> dict[str, list[float]]:
    """What the global view and the local relay set are worth on each object of a context set."""
    found = list(samples(find_sets(context)[0]))
    rows = blank.all_ious(model, found, compute)
    lost = {BLANKED: "global view blanked", SHUT: "local set shut"}
    return {name: [row[blank.BOTH] - row[condition] for row in rows] for name, condition in lost.items()}


def report_checks(
    contest: Contest,
    checkpoint: str | Path | None,
    *,
    device: str = "auto",
    dtype: str = "auto",
    threads: int | None = None,
    objects: int = OBJECTS,
    trials: int = TRIALS,
    context: Path | None = None,
) -> list[Check]:
    """Check a checkpoint on the objects of a contest, print the table, and keep it where the contest says."""
    set_threads(threads)
    compute = choose(device, dtype)
    model, card = load_checkpoint(checkpoint or default_checkpoint())
    tasks = [task for _, planned in contest.plan() for task in planned]
    checks = run_checks(model, compute, tasks, objects=objects, trials=trials, context=context)
    Console().print(table(checks))
    if contest.json_path is not None:
        about = {
            "checkpoint": card.name,
            "encoder_hash": content_hash(model.encoder.state_dict()),
            "head_hash": content_hash(model.head.state_dict()),
            "dtype": str(compute.dtype).removeprefix("torch."),
            "objects": objects,
            "trials": trials,
            "machine": describe_machine(),
        }
        contest.json_path.parent.mkdir(parents=True, exist_ok=True)
        contest.json_path.write_text(to_json(checks, about))
    return checks


def _mirrored_clicks(clicks: Clicks) -> Clicks:
    moved = clicks.copy()
    moved[:, 1] = VIEW_SIDE - 1 - moved[:, 1]
    return moved


def _probability(logits: Floats) -> Floats:
    values: Floats = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
    return values


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None

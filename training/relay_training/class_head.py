"""Learn a class head from a project: accepted objects' classes, painted background, rejected proposals.

A place that nobody has said anything about teaches nothing. The encoder stays; each view is encoded once. A fixed fifth
of the objects is left out and says how good the head is: by blocks of 1024 pixels where there are many, else by object.
A head takes the place of the one that is there only when it is surely better on them, a first one when it is better
than chance; both by a paired bootstrap. And only when the objects that taught it agree with each other: each half of
them is called by a short head that the other half taught.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from napari_relay.errors import CheckpointError, UsageError
from napari_relay.fullimage.request import class_head_path
from napari_relay.model.class_card import ClassCard
from napari_relay.model.class_head import ClassHead
from napari_relay.model.encoder import Encoding, stack
from napari_relay.model.semantic import Scores
from napari_relay.predictor import Predictor
from napari_relay.predictor.classes import load_class_head, save_class_head
from napari_relay.sources import Progress, Source
from napari_relay.store import ProjectReader
from napari_relay.views import Stretch, default_mix, measure_stretch, read_crops, view_pair
from napari_relay.views.values import View
from relay_training.class_head_material import (
    ClassLesson,
    Labels,
    Material,
    material_of,
    targets_of,
    views_of,
    with_truth,
)
from relay_training.class_head_verdict import (
    Seen,
    accuracy_of,
    contradiction,
    halves_of,
    right_calls,
    verdict_of,
    without,
)
from relay_training.losses import IGNORE
from relay_training.semantic_losses import semantic_loss

MOST_OF_A_CLASS = 4
"""In a step a class counts with at most this many times the pixels of the rarest one."""


@dataclass(frozen=True, slots=True)
class ClassReport:
    """What was learned. accuracy : share of the held-out objects whose pixels are mostly called right, each class
    counting the same; None where no two classes are held out. chance : the same for always saying one class. before :
    that of the head that was there, on the same objects; None without one that fits. better, reason : whether the new
    head is in its place now, and why. low, high : the middle 90 % of what it gained, by the bootstrap."""

    path: Path
    names: tuple[str, ...]
    views: int
    taught: int
    measured: int
    accuracy: float | None
    chance: float | None
    loss: float
    before: float | None = None
    better: bool = True
    reason: str = ""
    low: float | None = None
    high: float | None = None


def train_class_head(
    project: ProjectReader,
    source: Source,
    out: Path | None = None,
    *,
    predictor: Predictor,
    lesson: ClassLesson | None = None,
    truth: ProjectReader | None = None,
    force: bool = False,
) -> Generator[Progress, None, ClassReport]:
    """Learn the classes of a project; a generator of progress whose return value is the report.

    Parameters
    ----------
    project, source : the project (it is only read) and its image.
    out : where the head is written; None: `class_head_path`.
    predictor : whose encoder is used.
    truth : a project whose objects of the same ids have the classes to measure by; None: the project's own.
    force : write the head although it is not better.

    Raises
    ------
    UsageError
        There are not two classes (painted background and rejected proposals count as one) to tell apart.
    ImageError
    """
    lesson = lesson or ClassLesson()
    material = material_of(project, source, lesson)
    views = views_of(source.shape, material, lesson)
    total = len(views) + lesson.steps + 2 * (lesson.steps // 2)
    yield Progress(0, total)
    seen, stretch = [], measure_stretch(source)
    for number, view in enumerate(views):
        seen.append(_see(project, source, predictor, view, material, lesson, stretch))
        yield Progress(number + 1, total)
    taught = [one for one in seen if (one.target != IGNORE).any()]
    if not taught:
        raise UsageError("No object lies where the views look.", "Accept more objects, or choose another scale.")
    head = _new_head(lesson, len(material.names), predictor)
    loss = 0.0
    for step, value in enumerate(_fit(head, taught, lesson, predictor)):
        loss = value
        yield Progress(len(views) + step + 1, total)
    true = material if truth is None else with_truth(material, truth)
    path = out or class_head_path(project.path)
    right, old = right_calls(head, seen, true, predictor), _old_head(path, material, predictor)
    before = {} if old is None else right_calls(old, seen, true, predictor)
    accuracy, chance = accuracy_of(right, true.numbers)
    verdict = verdict_of(right, before, true.numbers, lesson.seed)
    if verdict.better:
        agreed: dict[int, bool] = {}
        done = len(views) + lesson.steps
        for away in halves_of(taught, material.numbers):
            for _ in _crossed(away, taught, lesson, material, predictor, agreed):
                done += 1
                yield Progress(done, total)
        if why := contradiction(agreed, material.numbers, accuracy):
            verdict = replace(verdict, better=False, reason=f"{verdict.reason.rpartition(':')[0]}, {why}")
    yield Progress(total, total)
    card = ClassCard(
        lesson.kind, material.names, material.colors, predictor.encoder_hash, lesson.step,
        {"accuracy": accuracy, "chance": chance, "objects": len(material.held_out), "loss": loss},
    )  # fmt: skip
    if verdict.better or force:
        save_class_head(path, head.eval(), card)
    held = len(material.held_out)
    return ClassReport(
        path, material.names, len(taught), len(material.objects) - held, held, accuracy, chance, loss,
        accuracy_of(before, true.numbers)[0], verdict.better, verdict.reason, verdict.low, verdict.high,
    )  # fmt: skip


def _see(
    project: ProjectReader,
    source: Source,
    predictor: Predictor,
    view: View,
    material: Material,
    lesson: ClassLesson,
    stretch: Stretch,
) -> Seen:
    crops = read_crops(source, view_pair(source.shape, view), lesson.plane, default_mix(source), stretch)
    encoding = predictor.encode(replace(crops, key="")).encoding.map(lambda x: x.to(torch.float16).cpu())
    return Seen(encoding, *targets_of(project, source.shape, view, material, lesson.plane))


def _crossed(
    away: Sequence[int],
    taught: Sequence[Seen],
    lesson: ClassLesson,
    material: Material,
    predictor: Predictor,
    agreed: dict[int, bool],
) -> Generator[None, None, None]:
    """Teach a short head without some of the objects, and let it call those; one yield a step."""
    seen = without(taught, away)
    rest = [one for one in seen if (one.target != IGNORE).any()]
    if not (away and rest):
        return
    half = replace(lesson, steps=lesson.steps // 2)
    head = _new_head(half, len(material.names), predictor)
    for _ in _fit(head, rest, half, predictor):
        yield
    agreed.update(right_calls(head, seen, material, predictor))


def _new_head(lesson: ClassLesson, classes: int, predictor: Predictor) -> ClassHead:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(lesson.seed)
        return ClassHead(lesson.kind, classes).to(predictor.device).train()


def _fit(
    head: ClassHead, seen: Sequence[Seen], lesson: ClassLesson, predictor: Predictor
) -> Generator[float, None, None]:
    """Optimise; yields the loss of each step."""
    rng = np.random.default_rng(lesson.seed)
    optimiser = torch.optim.AdamW(head.parameters(), lr=lesson.rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lesson.rate, total_steps=lesson.steps, pct_start=0.1)
    for step in range(lesson.steps):
        chosen = rng.choice(len(seen), min(lesson.batch, len(seen)), replace=False)
        encoding = stack([seen[i].encoding for i in chosen]).map(lambda x: x.to(predictor.device).float())
        targets = np.stack([_thinned(seen[i].target, rng) for i in chosen])
        axes = [axis for axis in (-2, -1) if rng.random() < 0.5]
        target = torch.from_numpy(np.flip(targets, tuple(axes)).copy()).to(predictor.device)
        with torch.random.fork_rng():  # what is dropped follows from the seed, whoever else draws numbers
            torch.manual_seed(lesson.seed * 1_000_003 + step)
            logits = head(_flipped(encoding, axes))
        loss = semantic_loss(Scores(logits), target)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        yield float(loss.detach())


def _flipped(encoding: Encoding, axes: list[int]) -> Encoding:
    """The maps mirrored: nearly what a mirrored view would give, at no cost. Relay tokens have no place."""
    return encoding.map(lambda x: x.flip(axes) if x.dim() == 4 else x)


def _thinned(target: Labels, rng: np.random.Generator) -> Labels:
    """Targets with so many pixels of the commoner classes left out that none drowns the others."""
    values, counts = np.unique(target[target != IGNORE], return_counts=True)
    if len(values) < 2:
        return target
    limit = MOST_OF_A_CLASS * int(counts.min())
    thinned = target.copy()
    for value, count in zip(values, counts, strict=True):
        if count > limit:
            places = np.flatnonzero(target.ravel() == value)
            thinned.ravel()[rng.choice(places, count - limit, replace=False)] = int(IGNORE)
    return thinned


def _old_head(path: Path, material: Material, predictor: Predictor) -> ClassHead | None:
    """The head that is there, if it knows the same classes and goes with the same encoder."""
    try:
        head, card = load_class_head(path, predictor)
    except CheckpointError:
        return None
    return head if card.names == material.names else None


def command(
    project: Annotated[Path, typer.Argument(help="The project (IMAGE.relay).")],
    image: Annotated[Path, typer.Argument(help="Its image.")],
    out: Annotated[Path | None, typer.Option(help="Where to write the head; beside the project.")] = None,
    checkpoint: Annotated[str | None, typer.Option(help="Whose encoder (name or file).")] = None,
    kind: Annotated[str, typer.Option(help="Decoder: fpn, pup or mla.")] = "fpn",
    scale: Annotated[int, typer.Option(help="Image pixels per view pixel: 1, 2, 4 ...")] = 1,
    steps: Annotated[int, typer.Option(help="Optimisation steps.")] = ClassLesson().steps,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Keep it although it is not better.")] = False,
) -> None:
    """Learn a class head from a project's accepted objects and painted background.

    Example: python -m relay_training class-head slide.svs.relay slide.svs --scale 4
    """
    from rich.progress import Progress as Bar

    from napari_relay.predictor import load_predictor
    from napari_relay.sources import open_image
    from napari_relay.store import Project

    if kind not in ("fpn", "pup", "mla") or scale < 1 or scale & (scale - 1):
        raise UsageError(f"--kind {kind} --scale {scale} is not possible.", "Use fpn, pup or mla, and 1, 2, 4 ...")
    lesson = ClassLesson(kind, 2 * (scale.bit_length() - 1), steps=steps)  # type: ignore[arg-type]
    predictor = load_predictor(checkpoint, device=device, dtype="float32")
    with (
        open_image(image) as source,
        Project.open(project, fingerprint=source.fingerprint, create=False, read_only=True) as opened,
        Bar() as bar,
    ):
        task = bar.add_task("learning classes", total=None)
        learning = train_class_head(opened, source, out, predictor=predictor, lesson=lesson, force=force)
        while True:
            try:
                at = next(learning)
            except StopIteration as end:
                report: ClassReport = end.value
                break
            bar.update(task, completed=at.done, total=at.total)
    kept = report.path if report.better or force else "not kept (--force keeps it)"
    typer.echo(f"{', '.join(report.names)}: {report.reason} {kept}")
    if not (report.better or force):
        raise typer.Exit(1)

"""Learn a class head from a project: accepted objects' classes, painted background, rejected proposals.

A place that nobody has said anything about teaches nothing. The encoder stays; each view is encoded once. A fixed fifth
of the objects is left out and says how good the head is: by blocks of 1024 pixels where there are many, else by object.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
import typer
from torch import Tensor

from napari_relay.errors import UsageError
from napari_relay.fullimage.request import class_head_path
from napari_relay.geometry import Box, Plane
from napari_relay.model.class_card import BACKGROUND, ClassCard
from napari_relay.model.class_head import ClassHead, Kind
from napari_relay.model.encoder import Encoding, stack
from napari_relay.model.semantic import Scores
from napari_relay.predictor import Predictor
from napari_relay.predictor.classes import save_class_head
from napari_relay.sources import Progress, Source
from napari_relay.store import ObjectFilter, ProjectReader, StoredObject
from napari_relay.views import Stretch, default_mix, measure_stretch, read_crops, view_pair
from napari_relay.views.policy import step_side
from napari_relay.views.values import LOGIT_SIDE, View
from relay_training.losses import IGNORE
from relay_training.semantic_losses import semantic_loss

SHOWN = ("accepted", "reviewed", "locked")
BLOCK = 1024
HELD_OUT_OF = 5
MOST_OF_A_CLASS = 4
"""In a step a class counts with at most this many times the pixels of the rarest one."""
GREY = "#808080"

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ClassLesson:
    """How to learn: decoder, step of the views' scale (an even half-octave: 1, 2, 4 ... pixels a view pixel), views at
    most, optimisation steps, views a step, learning rate, seed."""

    kind: Kind = "fpn"
    step: int = 0
    views: int = 48
    steps: int = 120
    batch: int = 4
    rate: float = 2e-3
    seed: int = 0
    plane: Plane = Plane()  # noqa: RUF009 - immutable


@dataclass(frozen=True, slots=True)
class ClassReport:
    """What was learned. accuracy : share of the held-out objects whose pixels are mostly called right, each class
    counting the same; None where no two classes are held out. chance : the same for always saying one class."""

    path: Path
    names: tuple[str, ...]
    views: int
    taught: int
    measured: int
    accuracy: float | None
    chance: float | None
    loss: float


def train_class_head(
    project: ProjectReader,
    source: Source,
    out: Path | None = None,
    *,
    predictor: Predictor,
    lesson: ClassLesson | None = None,
) -> Generator[Progress, None, ClassReport]:
    """Learn the classes of a project; a generator of progress whose return value is the report.

    Parameters
    ----------
    project, source : the project (it is only read) and its image.
    out : where the head is written; None: `class_head_path`.
    predictor : whose encoder is used.

    Raises
    ------
    UsageError
        There are not two classes (painted background and rejected proposals count as one) to tell apart.
    ImageError
    """
    lesson = lesson or ClassLesson()
    material = _material(project, source, lesson)
    views = _views(source.shape, material, lesson)
    total = len(views) + lesson.steps
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
    accuracy, chance = _measure(head, seen, material, predictor)
    card = ClassCard(
        lesson.kind, material.names, material.colors, predictor.encoder_hash, lesson.step,
        {"accuracy": accuracy, "chance": chance, "objects": len(material.held_out), "loss": loss},
    )  # fmt: skip
    path = out or class_head_path(project.path)
    save_class_head(path, head.eval(), card)
    held = len(material.held_out)
    return ClassReport(
        path, material.names, len(taught), len(material.objects) - held, held, accuracy, chance, loss
    )


@dataclass(frozen=True, eq=False, slots=True)
class _Material:
    """The classes, `background` first, the objects with the number of their class, and which of them are held out."""

    names: tuple[str, ...]
    colors: tuple[str, ...]
    objects: list[StoredObject]
    numbers: dict[int, int]
    held_out: frozenset[int]


@dataclass(frozen=True, eq=False, slots=True)
class _Seen:
    """A view's encoding (float16), its targets [112, 112] (-1 says nothing), and the held-out objects' ids there."""

    encoding: Encoding
    target: Labels
    measured: Labels


def _material(project: ProjectReader, source: Source, lesson: ClassLesson) -> _Material:
    shown = project.rows([int(i) for i in project.find(ObjectFilter(states=SHOWN, plane=lesson.plane))])
    rejected = project.rows([int(i) for i in project.find(ObjectFilter(states=("rejected",), plane=lesson.plane))])
    known = {info.name: info.color for info in project.classes()}
    used = sorted({stored.class_name for stored in shown} - {BACKGROUND}, key=list(known).index)
    ground = [stored for stored in shown if stored.class_name == BACKGROUND] or rejected
    if len(used) + bool(ground) < 2:
        raise UsageError(
            f"There is {'one class' if used else 'nothing'} to learn.",
            "Accept objects of two classes, or paint what is none of them as an object of the class `background`.",
        )
    names = (BACKGROUND, *used)
    numbers = {stored.id: names.index(stored.class_name) for stored in shown} | {stored.id: 0 for stored in rejected}
    objects = [*rejected, *shown]  # later ones lie on top
    held_out = _held_out(source.fingerprint, objects, numbers)
    return _Material(names, (GREY, *(known[name] for name in used)), objects, numbers, held_out)


def _held_out(fingerprint: str, objects: Sequence[StoredObject], numbers: dict[int, int]) -> frozenset[int]:
    """A fixed fifth of the objects, by block where there are enough blocks; of each class of three or more at least
    one, of none all."""
    blocks = {stored.id: _block(fingerprint, stored) for stored in objects}
    by_block = len(set(blocks.values())) >= 2 * HELD_OUT_OF
    names = blocks if by_block else {i: f"{fingerprint}/{i}" for i in blocks}
    out = {i for i, name in names.items() if _number_of(name) % HELD_OUT_OF == 0}
    for number in set(numbers.values()):
        members = {i for i, n in numbers.items() if n == number}
        if members <= out or len(members) < 3:
            out -= members
        if len(members) >= 3 and not members & out:
            out.add(min(members, key=lambda i: _number_of(f"{fingerprint}/{i}")))
    return frozenset(out)


def _block(fingerprint: str, stored: StoredObject) -> str:
    y, x = stored.box.centre
    return f"{fingerprint}/{stored.plane.t}/{stored.plane.z}/{int(y // BLOCK)}/{int(x // BLOCK)}"


def _number_of(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _views(shape: tuple[int, int], material: _Material, lesson: ClassLesson) -> list[View]:
    """Views round the objects, shifted at random, each class in turn, until enough or every object is in one."""
    rng = np.random.default_rng(lesson.seed)
    side = step_side(lesson.step)
    waiting = {
        number: [stored for stored in material.objects if material.numbers[stored.id] == number]
        for number in range(len(material.names))
    }
    for members in waiting.values():
        rng.shuffle(members)
    views: list[View] = []
    while len(views) < lesson.views and any(waiting.values()):
        for members in waiting.values():
            if members and len(views) < lesson.views:
                views.append(View(_box_round(shape, members.pop().box, side, rng)))
    # Of few objects each is seen more than once, at other places of the view.
    while len(views) < min(lesson.views, 16):
        stored = material.objects[int(rng.integers(len(material.objects)))]
        views.append(View(_box_round(shape, stored.box, side, rng)))
    return views


def _box_round(shape: tuple[int, int], box: Box, side: int, rng: np.random.Generator) -> Box:
    starts = []
    for first, last, extent in ((box.y0, box.y1, shape[0]), (box.x0, box.x1, shape[1])):
        middle = rng.uniform(first, last) - rng.uniform(0.2, 0.8) * side
        starts.append(round(float(np.clip(middle, 0, max(0, extent - side)))))
    return Box(starts[0], starts[1], starts[0] + side, starts[1] + side)


def _see(
    project: ProjectReader,
    source: Source,
    predictor: Predictor,
    view: View,
    material: _Material,
    lesson: ClassLesson,
    stretch: Stretch,
) -> _Seen:
    crops = read_crops(source, view_pair(source.shape, view), lesson.plane, default_mix(source), stretch)
    encoding = predictor.encode(replace(crops, key="")).encoding.map(lambda x: x.to(torch.float16).cpu())
    target, measured = _targets(project, source.shape, view, material, lesson.plane)
    return _Seen(encoding, target, measured)


def _targets(
    project: ProjectReader, shape: tuple[int, int], view: View, material: _Material, plane: Plane
) -> tuple[Labels, Labels]:
    """Class of each cell of the logits, -1 unknown or held out; and the held-out object's id there, 0 for none."""
    box = view.box.clip(shape)
    target = np.full((LOGIT_SIDE, LOGIT_SIDE), int(IGNORE), np.int64)
    measured = np.zeros((LOGIT_SIDE, LOGIT_SIDE), np.int64)
    cell = view.box.height / LOGIT_SIDE
    middle = np.floor((np.arange(LOGIT_SIDE) + 0.5) * cell).astype(int)
    rows, columns = middle + view.box.y0, middle + view.box.x0
    here = {stored.id for stored in project.objects(box, plane)}
    for stored in material.objects:
        if stored.id not in here:
            continue
        in_y = np.flatnonzero((rows >= stored.box.y0) & (rows < stored.box.y1) & (rows < box.y1))
        in_x = np.flatnonzero((columns >= stored.box.x0) & (columns < stored.box.x1) & (columns < box.x1))
        if not (len(in_y) and len(in_x)):
            continue
        seen = Box(int(rows[in_y[0]]), int(columns[in_x[0]]), int(rows[in_y[-1]]) + 1, int(columns[in_x[-1]]) + 1)
        mask = stored.mask_in(seen)[np.ix_(rows[in_y] - seen.y0, columns[in_x] - seen.x0)]
        place = np.ix_(in_y, in_x)
        held = stored.id in material.held_out
        target[place] = np.where(mask, int(IGNORE) if held else material.numbers[stored.id], target[place])
        measured[place] = np.where(mask, stored.id if held else 0, measured[place])
    return target, measured


def _new_head(lesson: ClassLesson, classes: int, predictor: Predictor) -> ClassHead:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(lesson.seed)
        return ClassHead(lesson.kind, classes).to(predictor.device).train()


def _fit(
    head: ClassHead, seen: Sequence[_Seen], lesson: ClassLesson, predictor: Predictor
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


@torch.inference_mode()
def _measure(
    head: ClassHead, seen: Sequence[_Seen], material: _Material, predictor: Predictor
) -> tuple[float | None, float | None]:
    """Accuracy on held-out objects, and of always saying the commonest class; classes count the same."""
    head.eval()
    votes: dict[int, npt.NDArray[np.int64]] = {}
    for one in seen:
        ids = np.unique(one.measured[one.measured > 0])
        if not len(ids):
            continue
        logits: Tensor = head(one.encoding.map(lambda x: x.to(predictor.device).float()))
        called = logits[0].argmax(dim=0).cpu().numpy()
        for i in ids:
            counts = np.bincount(called[one.measured == i], minlength=len(material.names))
            votes[int(i)] = votes.get(int(i), np.zeros(len(material.names), np.int64)) + counts
    right: dict[int, list[bool]] = {}
    for i, counts in votes.items():
        number = material.numbers[i]
        right.setdefault(number, []).append(int(counts.argmax()) == number)
    if len(right) < 2:
        return None, None
    accuracy = float(np.mean([np.mean(values) for values in right.values()]))
    return accuracy, 1 / len(right)


def command(
    project: Annotated[Path, typer.Argument(help="The project (IMAGE.relay).")],
    image: Annotated[Path, typer.Argument(help="Its image.")],
    out: Annotated[Path | None, typer.Option(help="Where to write the head; beside the project.")] = None,
    checkpoint: Annotated[str | None, typer.Option(help="Whose encoder (name or file).")] = None,
    kind: Annotated[str, typer.Option(help="Decoder: fpn, pup or mla.")] = "fpn",
    scale: Annotated[int, typer.Option(help="Image pixels per view pixel: 1, 2, 4 ...")] = 1,
    steps: Annotated[int, typer.Option(help="Optimisation steps.")] = ClassLesson().steps,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
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
        learning = train_class_head(opened, source, out, predictor=predictor, lesson=lesson)
        while True:
            try:
                at = next(learning)
            except StopIteration as end:
                report: ClassReport = end.value
                break
            bar.update(task, completed=at.done, total=at.total)
    said = "nothing was held out" if report.accuracy is None else f"{report.accuracy:.0%} of held-out objects right"
    typer.echo(f"{', '.join(report.names)}: {said}; {report.path}")

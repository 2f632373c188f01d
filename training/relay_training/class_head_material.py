"""What a project teaches about classes: objects by class, which of them measure, views, and targets in a view."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from napari_relay.errors import UsageError
from napari_relay.geometry import Box, Plane
from napari_relay.model.class_card import BACKGROUND
from napari_relay.model.class_head import Kind
from napari_relay.sources import Source
from napari_relay.store import ObjectFilter, ProjectReader, StoredObject
from napari_relay.views.policy import step_side
from napari_relay.views.values import LOGIT_SIDE, View
from relay_training.losses import IGNORE

SHOWN = ("accepted", "reviewed", "locked")
BLOCK = 1024
HELD_OUT_OF = 5
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
    plane: Plane = field(default_factory=Plane)


@dataclass(frozen=True, eq=False, slots=True)
class Material:
    """The classes, `background` first, the objects with the number of their class, and which of them are held out."""

    names: tuple[str, ...]
    colors: tuple[str, ...]
    objects: list[StoredObject]
    numbers: dict[int, int]
    held_out: frozenset[int]


def material_of(project: ProjectReader, source: Source, lesson: ClassLesson) -> Material:
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
    return Material(names, (GREY, *(known[name] for name in used)), objects, numbers, held_out)


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


def views_of(shape: tuple[int, int], material: Material, lesson: ClassLesson) -> list[View]:
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


def with_truth(material: Material, truth: ProjectReader) -> Material:
    """The same with the classes of another project."""
    named = {stored.id: stored for stored in truth.objects()}
    numbers = {
        i: 0 if named[i].state == "rejected" else material.names.index(named[i].class_name) for i in material.numbers
    }
    return replace(material, numbers=numbers)


def targets_of(
    project: ProjectReader, shape: tuple[int, int], view: View, material: Material, plane: Plane
) -> tuple[Labels, Labels, Labels]:
    """Class of each cell of the logits, -1 unknown or held out; the id there of a held-out object, 0 for none; and that
    of one that teaches."""
    box = view.box.clip(shape)
    target = np.full((LOGIT_SIDE, LOGIT_SIDE), int(IGNORE), np.int64)
    measured, taught = (np.zeros((LOGIT_SIDE, LOGIT_SIDE), np.int64) for _ in range(2))
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
        taught[place] = np.where(mask, 0 if held else stored.id, taught[place])
    return target, measured, taught

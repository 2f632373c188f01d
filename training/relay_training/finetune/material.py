"""What a project teaches: its accepted objects with their clicks, its rejected ones, and which of them are held out.

An accepted mask says of every pixel whether it belongs to that object. Of the area that nothing lies on nothing else is
known: no click is simulated as if something were there, and it says nothing about what looks like the object.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from napari_relay.errors import UsageError
from napari_relay.geometry import Box, Click, Plane
from napari_relay.learn.job import Material
from napari_relay.model.class_card import BACKGROUND
from napari_relay.sources import open_image
from napari_relay.store import ObjectFilter, Project
from napari_relay.views import default_mix, measure_stretch

Mask = npt.NDArray[np.bool_]

TEACHING = ("accepted", "reviewed", "locked")
BLOCK = 1024
HELD_OUT_OF = 5
"""One in so many blocks is held out."""
ENOUGH = 30
"""With fewer objects held out, folds take their place."""
LEAST = 10
"""Fewer accepted objects teach nothing that could be measured."""
MOST = 1200
"""Of more objects, so many are drawn, always the same."""


@dataclass(frozen=True, slots=True)
class Example:
    """An object that teaches.

    source : which of the job's projects it is in. clicks : those that made its mask, in order.
    rejected : somebody looked at the proposal and said no.
    """

    source: int
    id: int
    box: Box
    plane: Plane
    clicks: tuple[Click, ...]
    class_name: str
    rejected: bool = False

    @property
    def name(self) -> str:
        return f"{self.source}/{self.id}"


class OpenMaterial:
    """A project that is read, its image, and the truth to measure with. A context manager."""

    def __init__(self, material: Material, truth: Path | None = None) -> None:
        with ExitStack() as parts:
            self.source = parts.enter_context(open_image(material.image))
            self.project = parts.enter_context(
                Project.open(
                    material.project, fingerprint=self.source.fingerprint, shape=self.source.shape, create=False,
                    read_only=True, image_name=self.source.name,
                )
            )  # fmt: skip
            self._truth = (
                self.project
                if truth is None
                else parts.enter_context(Project.open(truth, create=False, read_only=True))
            )
            self.mix, self.stretch = default_mix(self.source), measure_stretch(self.source)
            self._closing = parts.pop_all()

    def truth(self, object_id: int) -> tuple[Box, Mask]:
        """Box and mask that an object is judged by."""
        stored = self._truth.object(object_id)
        return stored.box, stored.mask

    def examples(self, number: int) -> list[Example]:
        """The objects that teach, by id; `number` is the project's in the job.

        What was painted as background is no object: it teaches classes, not clicks.
        """
        ids = self.project.find(ObjectFilter(states=(*TEACHING, "rejected")))
        found = []
        for start in range(0, len(ids), 500):
            for stored in self.project.rows([int(i) for i in ids[start : start + 500]]):
                if stored.class_name == BACKGROUND:
                    continue
                clicks, _ = self.project.origin(stored.id)
                found.append(
                    Example(
                        number, stored.id, stored.box, stored.plane, clicks, stored.class_name,
                        stored.state == "rejected",
                    )
                )  # fmt: skip
        return found

    def block(self, example: Example) -> str:
        """Names the block of `BLOCK` x `BLOCK` level-0 pixels that an object's middle lies in, of all images."""
        y, x = example.box.centre
        plane = example.plane
        return f"{self.source.fingerprint}/{plane.t}/{plane.z}/{int(y // BLOCK)}/{int(x // BLOCK)}"

    def close(self) -> None:
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class Fold:
    """Objects that teach and objects that measure, no object in both."""

    teach: tuple[Example, ...]
    measure: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class Split:
    """How it is measured.

    mode : "held out" (a fixed fifth of the blocks) or "folds" (five times trained and measured on another fifth).
    final : the objects that the checkpoint is learned from.
    """

    mode: str
    folds: tuple[Fold, ...]
    final: tuple[Example, ...]

    @property
    def measured(self) -> list[Example]:
        return [example for fold in self.folds for example in fold.measure]


def number_of(text: str) -> int:
    """A number that depends on a text only."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def is_held_out(block: str) -> bool:
    """Whether a block measures; whatever else is or will be annotated."""
    return number_of(block) % HELD_OUT_OF == 0


def split(examples: Sequence[Example], blocks: Sequence[str]) -> Split:
    """Objects that teach and objects that measure.

    Parameters
    ----------
    examples, blocks : the objects, and each one's block.

    Raises
    ------
    UsageError
        There are too few accepted objects.
    """
    accepted = [(e, b) for e, b in zip(examples, blocks, strict=True) if not e.rejected]
    if len(accepted) < LEAST:
        raise UsageError(
            f"There are {len(accepted)} accepted objects to learn from.", f"Accept at least {LEAST}, better 50."
        )
    out = tuple(e for e, b in accepted if is_held_out(b))
    kept = tuple(e for e, b in zip(examples, blocks, strict=True) if not is_held_out(b))
    if len(out) >= ENOUGH and len(accepted) - len(out) >= len(out):
        return Split("held out", (Fold(kept, out),), kept)
    # One block or few cannot be dealt out: then objects are, although neighbours may look alike.
    names = set(blocks) if len(set(blocks)) >= 2 * HELD_OUT_OF else None
    groups = {e: b if names else e.name for e, b in accepted}
    order = {name: i for i, name in enumerate(sorted(set(groups.values()), key=number_of))}
    folds = []
    for number in range(HELD_OUT_OF):
        measure = tuple(e for e, _ in accepted if order[groups[e]] % HELD_OUT_OF == number)
        away = {groups[e] for e in measure}
        teach = tuple(e for e, b in zip(examples, blocks, strict=True) if (b if names else e.name) not in away)
        folds.append(Fold(teach, measure))
    return Split("folds", tuple(folds), tuple(examples))


def typical_size(examples: Sequence[Example]) -> float:
    """Longest side that three of four accepted objects do not exceed, in level-0 pixels."""
    return float(np.percentile([max(e.box.shape) for e in examples if not e.rejected], 75))


def drawn(examples: Sequence[Example], most: int = MOST) -> list[Example]:
    """At most `most` of the objects, chosen by their names, in their order."""
    if len(examples) <= most:
        return list(examples)
    chosen = set(sorted((e.name for e in examples), key=number_of)[:most])
    return [e for e in examples if e.name in chosen]


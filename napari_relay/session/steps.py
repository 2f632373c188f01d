"""What is known after each click, and the stack of it that undo and redo walk on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from napari_relay.geometry import Click
from napari_relay.session.edits import Edit
from napari_relay.session.proposal import Proposal
from napari_relay.session.region import PackedMask, Region
from napari_relay.views import follow_view, holds_click, touches_border, view_pair, widened_view
from napari_relay.views.policy import Shape
from napari_relay.views.values import Float32, View, ViewPair

PACK_PIXELS = 1 << 20
"""Masks of past steps above this size are kept as compressed bits."""


@dataclass(frozen=True, eq=False, slots=True)
class Alternatives:
    """Raw logits [count, 112, 112] and scores of a first prediction."""

    logits: Float32
    scores: tuple[float, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Step:
    """The outcome of the clicks so far.

    clicks : all clicks that went into it, and one for each drawing.
    proposal : what is shown; its `field` is what the next click gets as previous logits.
    planned : the view pair that the next click will use unless it lies outside; encoded ahead.
    alternatives : what the first prediction offers; None for later ones.
    edits : what was drawn by hand and still holds; the mask has it already.
    by_hand : whether no model had a part in it.
    """

    clicks: tuple[Click, ...]
    proposal: Proposal
    planned: ViewPair
    alternatives: Alternatives | None = None
    edits: tuple[Edit, ...] = ()
    by_hand: bool = False

    @property
    def region(self) -> Region:
        return Region(self.proposal.box, self.proposal.mask)


def opening_pair(shape: Shape, first: View, clicks: tuple[Click, ...]) -> ViewPair:
    """The view pair of a first prediction: that of the first click, wider if another click came before it."""
    return view_pair(shape, widened_view(shape, first, clicks))


def planned_pair(shape: Shape, proposal: Proposal, clicks: tuple[Click, ...]) -> ViewPair:
    """The view pair that follows a proposal."""
    current = proposal.views.local
    cut = touches_border(shape, current, proposal.box)
    local = follow_view(shape, current, proposal.box, cut, clicks)
    return proposal.views if local == current else view_pair(shape, local)


def next_pair(shape: Shape, step: Step, clicks: tuple[Click, ...]) -> ViewPair:
    """The view pair for `clicks`, which go on from those of `step`: the planned one if it shows them."""
    new = clicks[len(step.clicks) :]
    if all(holds_click(shape, step.planned.local, click) for click in new if click.positive):
        return step.planned
    return planned_pair(shape, step.proposal, clicks)


@dataclass(frozen=True, eq=False, slots=True)
class Prompt:
    """Clicks that were made, and are taken back, together; `edits` come over what is predicted for them. `drawn`: its
    click only stands for a drawing."""

    clicks: tuple[Click, ...]
    edits: tuple[Edit, ...] = ()
    drawn: bool = False


class Stack:
    """Prompts (mostly single clicks) and the steps they led to. Not thread-safe: the session holds its lock.

    Prompts that were taken back stay, with their steps, until a new one takes their place. One may have no step yet:
    it is being computed, or was overtaken by the next. Steps are known by how many clicks went into them.
    """

    def __init__(self) -> None:
        self._prompts: list[Prompt] = []
        self._open = 0
        self._steps: dict[int, Step | PackedStep] = {}

    @property
    def clicks(self) -> tuple[Click, ...]:
        """The clicks in effect, those that stand for drawings too."""
        return tuple(click for prompt in self._prompts[: self._open] for click in prompt.clicks)

    def made(self, step: Step | None = None) -> tuple[Click, ...]:
        """The clicks that the model gets to see, or those of them that went into a step. What is drawn holds by itself,
        and a click in the middle of an erased part would speak against the whole object; only an object that begins as
        a drawing begins with its click."""
        last = len(self.clicks) if step is None else len(step.clicks)
        found: list[Click] = []
        count = 0
        for place, prompt in enumerate(self._prompts[: self._open]):
            count += len(prompt.clicks)
            if count <= last and not (prompt.drawn and place):
                found += prompt.clicks
        return tuple(found)

    @property
    def can_redo(self) -> bool:
        return self._open < len(self._prompts)

    @property
    def pending(self) -> bool:
        """Whether the last prompt has no step yet."""
        return self._open > 0 and len(self.clicks) not in self._steps

    def add(self, *clicks: Click, edits: tuple[Edit, ...] = (), drawn: bool = False) -> None:
        """Add a prompt of one or more clicks."""
        self.forget_undone()
        self._prompts.append(Prompt(clicks, edits, drawn))
        self._open += 1

    def back(self) -> None:
        """Take back the last prompt; there must be one."""
        self._open -= 1

    def forward(self) -> None:
        """Do the prompt that was taken back last again; there must be one."""
        self._open += 1

    def forget_undone(self) -> None:
        """Prompts that were taken back can no longer be done again."""
        del self._prompts[self._open :]
        last = len(self.clicks)
        self._steps = {count: step for count, step in self._steps.items() if count <= last}

    def clear(self) -> None:
        self._prompts.clear()
        self._steps.clear()
        self._open = 0

    def edits_after(self, step: Step | None) -> tuple[Edit, ...]:
        """What comes with the prompts in effect that are not part of a step yet."""
        known = 0 if step is None else len(step.clicks)
        found: list[Edit] = []
        for prompt in self._prompts[: self._open]:
            if known <= 0:
                found += prompt.edits
            known -= len(prompt.clicks)
        return tuple(found)

    def shown(self) -> Step | None:
        """The step of the longest run of clicks in effect that has one."""
        last = len(self.clicks)
        counts = [count for count in self._steps if count <= last]
        return self._unpacked(max(counts)) if counts else None

    def put(self, step: Step) -> None:
        """Set the step of its clicks; large masks of the steps before are packed."""
        self._steps[len(step.clicks)] = step
        for count, earlier in self._steps.items():
            if count != len(step.clicks) and isinstance(earlier, Step):
                self._steps[count] = PackedStep.pack(earlier)

    def _unpacked(self, count: int) -> Step:
        step = self._steps[count]
        if isinstance(step, PackedStep):
            step = self._steps[count] = step.unpack()
        return step


@dataclass(frozen=True, eq=False, slots=True)
class PackedStep:
    """A past step whose mask is kept as bits."""

    step: Step
    mask: PackedMask

    @classmethod
    def pack(cls, step: Step) -> Step | PackedStep:
        """`step` itself where it is small."""
        proposal = step.proposal
        if proposal.mask.size <= PACK_PIXELS:
            return step
        hollow = replace(proposal, mask=np.zeros((0, 0), bool))
        return cls(replace(step, proposal=hollow), PackedMask.pack(proposal.mask))

    def unpack(self) -> Step:
        return replace(self.step, proposal=replace(self.step.proposal, mask=self.mask.unpack()))

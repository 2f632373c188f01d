"""What is known after each click, and the stack of it that undo and redo walk on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from napari_relay.geometry import Click
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

    clicks : all clicks that went into it.
    proposal : what is shown; its `field` is what the next click gets as previous logits.
    planned : the view pair that the next click will use unless it lies outside; encoded ahead.
    alternatives : what the first prediction offers; None for later ones.
    """

    clicks: tuple[Click, ...]
    proposal: Proposal
    planned: ViewPair
    alternatives: Alternatives | None = None

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


class Stack:
    """Clicks and the steps they led to. Not thread-safe: the session holds its lock.

    Clicks that were taken back stay, with their steps, until a new click takes their place. A click may have no
    step yet: it is being computed, or was overtaken by the next one.
    """

    def __init__(self) -> None:
        self._clicks: list[Click] = []
        self._open = 0
        self._steps: dict[int, Step | PackedStep] = {}

    @property
    def clicks(self) -> tuple[Click, ...]:
        """The clicks in effect."""
        return tuple(self._clicks[: self._open])

    @property
    def can_redo(self) -> bool:
        return self._open < len(self._clicks)

    @property
    def pending(self) -> bool:
        """Whether the last click has no step yet."""
        return self._open > 0 and self._open not in self._steps

    def add(self, click: Click) -> None:
        self.forget_undone()
        self._clicks.append(click)
        self._open += 1

    def back(self) -> None:
        """Take back the last click; there must be one."""
        self._open -= 1

    def forward(self) -> None:
        """Do the click that was taken back last again; there must be one."""
        self._open += 1

    def forget_undone(self) -> None:
        """Clicks that were taken back can no longer be done again."""
        del self._clicks[self._open :]
        self._steps = {count: step for count, step in self._steps.items() if count <= self._open}

    def clear(self) -> None:
        self._clicks.clear()
        self._steps.clear()
        self._open = 0

    def shown(self) -> Step | None:
        """The step of the longest run of clicks in effect that has one."""
        counts = [count for count in self._steps if count <= self._open]
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

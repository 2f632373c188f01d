"""Clicks on one object -> proposal -> accepted, with undo. One session works on one plane of one image."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from dataclasses import replace

from psygnal import Signal

from napari_relay.errors import ClickError, EmptyProposalError, SupersededError
from napari_relay.geometry import Click, Plane
from napari_relay.session.drawing import Drawing
from napari_relay.session.edits import edited
from napari_relay.session.making import first_step, later_step
from napari_relay.session.paste import carried_logits, clicks_in_view
from napari_relay.session.proposal import Proposal
from napari_relay.session.protocols import Keeps, Predicts
from napari_relay.session.refine import RefineProgress, refined_region
from napari_relay.session.sight import Sight, inside
from napari_relay.session.steps import Alternatives, Stack, Step, next_pair, opening_pair
from napari_relay.sources import Source
from napari_relay.views import (
    ChannelMix,
    Prediction,
    Stretch,
    View,
    ViewClick,
    ViewPair,
    first_view,
    view_pair,
)
from napari_relay.views.values import Float32


class ClickSession(Drawing):
    """The clicks on one object and what they led to.

    `add_click`, `undo` and `redo` of clicks, `reset` and the attributes are instant and may be used in a GUI
    thread. `compute`, `next_mask`, `prefetch_at`, `prepare`, `refine` and `accept` read images, predict or write,
    and may run in another thread. Each change of the clicks bumps the generation; an answer of an older generation
    is dropped with a SupersededError. A session holds nothing open, so nobody has to close it.

    Parameters
    ----------
    source : the image; must outlive the session.
    predicts : makes masks.
    keeps : keeps accepted ones.
    plane : index of t and z.
    mix : channel mix; the default one if None.
    stretch : contrast ranges, or what measures them at the first computation; None measures the source.
    object_px : tells the size of the objects that are clicked here, where that was learned; see `views.first_view`.

    Attributes
    ----------
    changed : Signal()
        After each change of clicks or proposal, in the thread that made it.
    """

    changed = Signal()

    def __init__(
        self,
        source: Source,
        predicts: Predicts,
        keeps: Keeps,
        *,
        plane: Plane | None = None,
        mix: ChannelMix | None = None,
        stretch: Stretch | Callable[[], Stretch] | None = None,
        object_px: Callable[[], float | None] = lambda: None,
    ) -> None:
        self.source = source
        self.plane = plane or Plane()
        self._sight = Sight(source, self.plane, predicts, mix, stretch)
        self._keeps = keeps
        self._lock = threading.RLock()
        self._stack = Stack()
        self._generation = 0
        self._first: View | None = None
        self._started_s = 0.0
        self._object_id: int | None = None
        self._object_px = object_px

    # What is shown -------------------------------------------------------------------------------------------

    @property
    def clicks(self) -> tuple[Click, ...]:
        """The clicks on the present object; of one that begins as a drawing, first one in the middle of that."""
        with self._lock:
            return self._stack.made()

    @property
    def proposal(self) -> Proposal | None:
        """The latest mask for these clicks; None before the first one."""
        with self._lock:
            step = self._stack.shown()
        return step.proposal if step else None

    @property
    def views(self) -> ViewPair | None:
        """The views that the proposal was predicted from."""
        proposal = self.proposal
        return proposal.views if proposal else None

    @property
    def object_id(self) -> int | None:
        """The object that was taken up (`resume`), whose mask `accept` replaces; None for a new one."""
        with self._lock:
            return self._object_id if self._stack.clicks else None

    @property
    def generation(self) -> int:
        """Number that changes with every change of the clicks."""
        with self._lock:
            return self._generation

    @property
    def pending(self) -> bool:
        """Whether the last click still waits for `compute`."""
        with self._lock:
            return self._stack.pending

    # Clicks --------------------------------------------------------------------------------------------------

    def click(self, y: float, x: float, positive: bool = True, zoom: float | None = None) -> Proposal:
        """Add a click and compute its proposal.

        Parameters
        ----------
        y, x : level-0 pixels.
        positive : inside the object; a negative click removes.
        zoom : level-0 pixels per view pixel for the first click; None: the whole image up to 1792 px on its
            longer side, else 1.

        Raises
        ------
        ClickError
            The click cannot be taken; nothing has changed.
        UsageError
            `zoom` is not a positive number; nothing has changed.
        ImageError, EngineError
            The pixels cannot be read, or the computing side failed; the click stays, `compute` tries again.
        """
        return self.compute(self.add_click(y, x, positive=positive, zoom=zoom))

    def add_click(self, y: float, x: float, positive: bool = True, zoom: float | None = None) -> int:
        """Add a click without computing; returns the generation to compute. Errors as in `click`."""
        return self.add_clicks([Click(y, x, positive)], zoom)

    def compute(self, generation: int | None = None) -> Proposal:
        """Predict the proposal of the clicks, or return it if it is there.

        Parameters
        ----------
        generation : what `add_click` returned; None takes the present clicks.

        Raises
        ------
        SupersededError
            The clicks have changed since.
        ClickError
            There are no clicks.
        """
        with self._lock:
            generation = self._generation if generation is None else generation
            self._check_generation(generation)
            clicks, base = self._stack.clicks, self._stack.shown()
            made, drawn = self._stack.made(), self._stack.edits_after(base)
            if not clicks:
                raise ClickError("There is no click to compute.", "Place a positive click first.")
            if base is not None and not self._stack.pending:
                return base.proposal
            pair = self._pair_for(base, clicks)
        previous = carried_logits(base.proposal.field, base.region, pair.local) if base else None
        found = self._sight.predict(pair, clicks_in_view(pair.local, made), previous)
        self._check_generation(generation)
        if base is None:
            step = first_step(self.source.shape, clicks, pair, Alternatives(found.logits, found.scores))
        else:
            step = later_step(self.source.shape, clicks, pair, found, base)
        step = self._finished(step, base, drawn)
        self._store(step, generation)
        self._encode_ahead(step.planned)
        return step.proposal

    def next_mask(self) -> Proposal | None:
        """Show the next alternative of the first click; the next click goes on from the one shown.

        Returns the proposal shown: the same one where there is no other, None where there is none. Raises
        SupersededError when the clicks change meanwhile.
        """
        with self._lock:
            step, generation, pending = self._stack.shown(), self._generation, self._stack.pending
        if step is None or step.alternatives is None or step.proposal.count < 2 or pending:
            return step.proposal if step else None
        proposal = step.proposal
        index = (proposal.index + 1) % proposal.count
        step = first_step(self.source.shape, step.clicks, proposal.views, step.alternatives, index)
        self._store(step, generation)
        self._encode_ahead(step.planned)
        return step.proposal

    def undo(self) -> object | None:
        """Take back the last click, or without clicks the last change of the project.

        Returns
        -------
        The proposal before that click, exactly as it was, or None; without clicks what the project undid.
        """
        with self._lock:
            walked = bool(self._stack.clicks)
            if walked:
                self._stack.back()
                self._moved()
            else:
                # The project goes back beyond these clicks; they may not fit what is there then.
                self._stack.forget_undone()
        return self._walked() if walked else self._keeps.undo()

    def redo(self) -> object | None:
        """Do what `undo` took back last again; returns as `undo` does."""
        with self._lock:
            walked, clicks = self._stack.can_redo, self._stack.clicks
            if walked:
                self._stack.forward()
                self._moved()
        if walked:
            return self._walked()
        return None if clicks else self._keeps.redo()

    def reset(self) -> None:
        """Forget the clicks and the proposal."""
        with self._lock:
            self._stack.clear()
            self._object_id = None
            self._first = None
            self._moved()
        self.changed.emit()

    def accept(self, class_name: str | None = None) -> object:
        """Keep the proposal that is shown as an object, or as the mask of the one taken up, and start anew.

        Parameters
        ----------
        class_name : its class; an unknown name makes a class; None takes the current one. An object that was taken up
            keeps its own.

        Returns
        -------
        The object.

        Raises
        ------
        EmptyProposalError
            There is no mask.
        ProjectError
            It cannot be written; clicks and proposal stay.
        """
        with self._lock:
            step, object_id = self._stack.shown(), self.object_id
            clicks = self._stack.made(step)
            seconds = time.monotonic() - self._started_s
        if step is None or step.proposal.empty:
            raise EmptyProposalError("There is no mask to accept.", "Click inside the object first.")
        proposal = step.proposal
        score, checkpoint = (None, None) if step.by_hand else (proposal.score, self._sight.checkpoint)
        if object_id is None:
            kept = self._keeps.accept(
                proposal.box, proposal.mask, class_name=class_name, plane=self.plane, clicks=clicks,
                views=proposal.views, score=score, seconds=seconds, checkpoint=checkpoint,
            )  # fmt: skip
        else:
            kept = self._keeps.revise(
                object_id, proposal.box, proposal.mask, clicks=clicks, views=proposal.views, score=score,
                seconds=seconds, checkpoint=checkpoint,
            )  # fmt: skip
        self.reset()
        return kept

    # Ahead of time and afterwards ----------------------------------------------------------------------------

    def prepare(self) -> None:
        """Measure the contrast and the fingerprint of the image, so that the first click need not."""
        _ = self._sight.stretch, self.source.fingerprint

    def prefetch_at(self, y: float, x: float, zoom: float | None = None) -> None:
        """Have the view encoded that a positive click at (y, x) would look at; nothing outside the image."""
        click = Click(float(y), float(x))
        if not inside(self.source, click):
            return
        with self._lock:
            base, clicks = self._stack.shown(), self._stack.clicks
            if clicks:
                pair = self._pair_for(base, (*clicks, click))
            else:
                first = first_view(self.source.shape, (click.y, click.x), zoom, self._object_px())
                pair = view_pair(self.source.shape, first)
        self._encode_ahead(pair)

    def refine(self) -> Generator[RefineProgress, None, Proposal | None]:
        """Predict the border of a coarse proposal again at native resolution, tile by tile.

        A generator of progress; closing it early changes nothing. The result takes the proposal's place and is
        the generator's return value; a proposal that is native already is returned as it is.

        Raises
        ------
        SupersededError
            The clicks have changed since it began.
        """
        with self._lock:
            step, generation = self._stack.shown(), self._generation
            clicks = self._stack.made(step)
        if step is None or step.proposal.native or step.proposal.empty:
            return step.proposal if step else None

        def predict(view: View, seen: list[ViewClick], previous: Float32) -> Prediction:
            self._check_generation(generation)
            return self._sight.predict(view_pair(self.source.shape, view), seen, previous)

        proposal = step.proposal
        coarse_scale = proposal.views.local.scale
        region = yield from refined_region(self.source.shape, coarse_scale, step.region, clicks, predict)
        region = edited(region, step.edits) if step.edits else region
        region.mask.setflags(write=False)
        proposal = replace(proposal, box=region.box, mask=region.mask, native=True)
        self._store(replace(step, proposal=proposal), generation)
        return proposal

    # Inside --------------------------------------------------------------------------------------------------

    def _check_generation(self, generation: int) -> None:
        if generation != self.generation:
            raise SupersededError("The clicks changed while a mask was computed.", "The newest mask follows.")

    def _moved(self) -> int:
        self._generation += 1
        return self._generation

    def _walked(self) -> Proposal | None:
        self.changed.emit()
        return self.proposal

    def _pair_for(self, base: Step | None, clicks: tuple[Click, ...]) -> ViewPair:
        if base is not None:
            return next_pair(self.source.shape, base, clicks)
        assert self._first is not None
        return opening_pair(self.source.shape, self._first, clicks)

    def _encode_ahead(self, pair: ViewPair) -> None:
        if pair != self.views:
            self._sight.prefetch(pair)

    def _store(self, step: Step, generation: int) -> None:
        with self._lock:
            self._check_generation(generation)
            self._stack.put(step)
        self.changed.emit()

"""Drawing on a proposal, prompting with more than a click, and taking up an object: the part of a session that is not
clicks alone."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from psygnal import Signal

from napari_relay.errors import ClickError
from napari_relay.geometry import Box, Click
from napari_relay.session.edits import Edit, EditKind, edited, holding
from napari_relay.session.fields import Mask
from napari_relay.session.proposal import Proposal
from napari_relay.session.region import Region
from napari_relay.session.resuming import drawn_step, middle, resumed_step
from napari_relay.session.sight import checked_click
from napari_relay.session.steps import Stack, Step
from napari_relay.sources import Source
from napari_relay.views import View, ViewPair, first_view
from napari_relay.views.values import VIEW_SIDE

BOX_FIELD = 1.4
"""Side of the view that looks at a box, over the box's longer side."""


class Drawing(ABC):
    """What `ClickSession` inherits; its attributes are the session's."""

    source: Source
    changed: Signal
    _lock: threading.RLock
    _stack: Stack
    _first: View | None
    _started_s: float
    _object_id: int | None
    _object_px: Callable[[], float | None]

    @abstractmethod
    def _moved(self) -> int:
        """Something is to be computed anew; returns its generation."""

    @abstractmethod
    def _encode_ahead(self, pair: ViewPair) -> None:
        """Have the views encoded while the user looks."""

    # -- prompts of several clicks -----------------------------------------------------------------------------

    def add_clicks(
        self, clicks: Sequence[Click], zoom: float | None = None, *, within: Box | None = None
    ) -> int:
        """Add several clicks at once, which one `undo` takes back; returns the generation to compute.

        Parameters
        ----------
        clicks : one or more; of an object's first ones, one must be positive.
        zoom : as in `ClickSession.click`.
        within : pixels outside this box are taken out of the mask, now and later.

        Raises
        ------
        ClickError, UsageError
            As `ClickSession.click`; nothing has changed.
        """
        checked = [checked_click(self.source, click.y, click.x, click.positive) for click in clicks]
        with self._lock:
            if not self._stack.clicks:
                first = next((click for click in checked if click.positive), None)
                if first is None:
                    raise ClickError("A negative click has nothing to take away yet.", "Place a positive click first.")
                self._object_id = None  # every click of an object taken up was taken back: this is another one
                self._first = first_view(self.source.shape, (first.y, first.x), zoom, self._object_px())
                self._started_s = time.monotonic()
            edits = () if within is None else (Edit(EditKind.WITHIN, _whole(within.clip(self.source.shape))),)
            self._stack.add(*checked, edits=edits)
            generation = self._moved()
        self.changed.emit()
        return generation

    def add_box(self, box: Box) -> int:
        """Prompt with a box round the object; returns the generation to compute.

        The network knows clicks and masks, no boxes: a box becomes a click in its middle, looked at from where it fills
        the view, and what the mask has outside the box is taken away. Negative clicks outside its sides would cost
        more than they bring (`benchmarks/box_prompt.py`).

        Raises
        ------
        ClickError
            The box does not lie in the image, or is too small.
        """
        inside = box.clip(self.source.shape)
        if min(inside.shape) < 2:
            raise ClickError("The box is too small, or outside the image.", "Draw it round the object.")
        return self.add_clicks([Click(*inside.centre)], BOX_FIELD * max(inside.shape) / VIEW_SIDE, within=inside)

    # -- drawing -----------------------------------------------------------------------------------------------

    def draw(self, box: Box, mask: Mask, *, add: bool = True) -> Proposal:
        """Add pixels to the proposal, or take them away; without one they become it. No model is asked.

        `undo` takes it back as a click. What was drawn stays as it is when clicks follow, unless one lies on it and
        says the opposite.

        Parameters
        ----------
        box, mask : bool [y, x] over the box; what hangs over the image is cut off.

        Raises
        ------
        ClickError
            There is nothing to take away from, or the drawing changes nothing.
        """
        region = _inside(box, mask, self.source.shape)
        edit = Edit(EditKind.ADD if add else EditKind.REMOVE, region)
        with self._lock:
            base = self._stack.shown()
            before = Region.nothing() if base is None else base.region
            if not add and before.box.empty:
                raise ClickError("There is no mask to take anything away from.", "Click or draw an object first.")
            known = before.within(region.box)
            fresh = Region(region.box, region.mask & (~known if add else known))
            if not fresh.mask.any():
                raise ClickError("The drawing changes nothing.", "Draw over pixels that shall change.")
            click = replace(middle(fresh.box, fresh.mask), positive=add)
            if not self._stack.clicks:
                self._object_id = None
                self._started_s = time.monotonic()
            self._stack.add(click, drawn=True)
            kept = () if base is None else holding(base.edits, (click,))
            step = drawn_step(self.source.shape, self._stack.clicks, edited(before, (edit,)), base)
            step = replace(step, edits=(*kept, edit), by_hand=base is None or base.by_hand)
            self._stack.put(step)
            if self._first is None:
                self._first = step.proposal.views.local
            self._moved()
        self.changed.emit()
        self._encode_ahead(step.planned)
        return step.proposal

    def _finished(self, step: Step, base: Step | None, drawn: tuple[Edit, ...]) -> Step:
        """A predicted step with what was drawn before, or comes with its clicks, put over the prediction."""
        before = base.edits if base is not None else ()
        new = step.clicks[len(base.clicks) if base is not None else 0 :]
        edits = (*holding(before, new), *drawn)
        if not edits:
            return step
        region = edited(step.region, edits)
        region.mask.setflags(write=False)
        proposal = replace(step.proposal, box=region.box, mask=region.mask)
        return replace(step, proposal=proposal, edits=edits)

    # -- taking up ---------------------------------------------------------------------------------------------

    def resume(
        self,
        object_id: int,
        box: Box,
        mask: Mask,
        *,
        clicks: Sequence[Click] = (),
        views: ViewPair | None = None,
        score: float | None = None,
        seconds: float | None = None,
    ) -> Proposal:
        """Take up an object that was accepted before: its mask is the proposal, its clicks are there, further ones go
        on from them, and `accept` gives the same object another mask. What was clicked so far is forgotten.

        Parameters
        ----------
        object_id, box, mask : the object; bool of the box's shape.
        clicks, views, score, seconds : how it came about; without clicks one is put into its middle.
        """
        step = resumed_step(self.source.shape, box, mask, clicks, views, 1.0 if score is None else score)
        with self._lock:
            self._stack.clear()
            for click in step.clicks:
                self._stack.add(click)
            self._stack.put(step)
            self._first = step.proposal.views.local
            self._started_s = time.monotonic() - (seconds or 0.0)
            self._object_id = object_id
            self._moved()
        self.changed.emit()
        return step.proposal


def _whole(box: Box) -> Region:
    return Region(box, np.ones(box.shape, bool))


def _inside(box: Box, mask: Mask, shape: tuple[int, int]) -> Region:
    """The part of a drawing that lies in the image, in its smallest box."""
    part = box.clip(shape)
    if part.empty:
        raise ClickError("The drawing lies outside the image.", "Draw inside it.")
    return Region(part, mask[part.relative_to(box).slices]).cropped()

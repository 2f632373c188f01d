"""Drafts of the planes of one image, and the jobs that change them: the part of a `ClickController` that computes.

Every plane (t, z) has its own draft. Jobs run in order; what a job made of a draft that is no longer wanted is dropped.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from psygnal import SignalInstance

from napari_relay.errors import CancelledError, ClickError, EngineClosedError, SupersededError, UsageError
from napari_relay.geometry import Plane
from napari_relay.widgets.accepting import Accepting
from napari_relay.widgets.drafts import Draft
from napari_relay.widgets.telling import sentence
from napari_relay.widgets.threads import Runner

DROPPED = (SupersededError, CancelledError, EngineClosedError)
"""Ends of a computation that are no failures: nobody wants its answer any more."""


class Drafting(ABC):
    """What `ClickController` inherits; its attributes are the controller's."""

    workspace: Any
    notice: SignalInstance
    _runner: Runner
    _plane: Plane
    _drafts: dict[Plane, Draft]
    _leaving: list[Draft]
    _accepting: Accepting

    @abstractmethod
    def cancel_prefetch(self) -> None:
        """Give up what is being prepared."""

    @abstractmethod
    def _refresh(self) -> None:
        """Tell the window that something is new."""

    @abstractmethod
    def _failed(self, error: BaseException) -> None:
        """Tell the user of a job that went wrong."""

    @property
    def draft(self) -> Draft:
        """The object being clicked on the present plane."""
        draft = self._drafts.get(self._plane)
        if draft is None:
            draft = self._drafts[self._plane] = Draft(self.workspace.session(plane=self._plane), self._plane)
        return draft

    def prompt(self, add: Callable[[Any], object]) -> bool:
        """Add clicks to the session of the present plane, whose mask is then computed; False when it takes none."""
        self.cancel_prefetch()
        draft = self.draft
        try:
            add(draft.session)
        except ClickError as error:
            self.notice.emit(str(error))
            return False
        self._compute(draft)
        return True

    def in_session(self, work: Callable[[], object], *, quiet: tuple[type[BaseException], ...] = ()) -> None:
        """Change the mask of the present plane in the background, in order; errors of the `quiet` kinds are told and
        change nothing."""
        draft = self.draft

        def settled(error: BaseException) -> None:
            if isinstance(error, quiet):
                self._settled(draft)
                self._failed(error)
            else:
                self._settled(draft, error)

        self._in_session(draft, work, settled)

    def take_up(self, object_id: int) -> None:
        """Correct an object: its mask and clicks come back as what is clicked on its plane, and accepting gives the
        same object another mask. Not while something else is being clicked there."""
        workspace = self.workspace

        def read() -> Draft:
            stored = workspace.project.object(object_id)
            if stored.state == "locked":
                raise UsageError(f"Object {object_id} is locked.", "Unlock it first.")
            clicks, views = workspace.project.origin(object_id)
            draft = Draft(workspace.session(plane=stored.plane), stored.plane, own_class=stored.class_name)
            draft.session.resume(
                object_id, stored.box, stored.mask, clicks=clicks, views=views, score=stored.score,
                seconds=stored.seconds,
            )  # fmt: skip
            return draft

        def done(draft: Draft) -> None:
            present = self._drafts.get(draft.plane)
            if present is not None and present.session.clicks:
                self.notice.emit("Accept or drop the mask you are working on first.")
                return
            self._drafts[draft.plane] = draft
            self._refresh()

        self._runner.submit(read, done, self._failed)

    # -- the cycle ---------------------------------------------------------------------------------------------

    def _compute(self, draft: Draft) -> None:
        session = draft.session
        generation = session.generation
        self._in_session(draft, lambda: session.compute(generation))

    def _in_session(
        self, draft: Draft, work: Callable[[], object], failed: Callable[[BaseException], None] | None = None
    ) -> None:
        draft.pending += 1
        draft.error = ""
        self._runner.submit(
            work, lambda _: self._settled(draft), failed or (lambda error: self._settled(draft, error))
        )
        self._refresh()

    def _settled(self, draft: Draft, error: BaseException | None = None) -> None:
        draft.pending -= 1
        if error is not None and not isinstance(error, DROPPED) and draft.session.clicks:
            draft.error = sentence(error)
        if draft in self._leaving and not draft.pending:
            self._leaving.remove(draft)
            self._leave(draft)
        self._refresh()

    def _leave(self, draft: Draft) -> None:
        """A draft that was accepted before its mask was there: the mask is there now, or will never be."""
        if draft.proposal is not None and not draft.proposal.empty and not draft.error:
            self._accepting.write(draft)
            return
        self.notice.emit(draft.error or "The model found no object at the last clicks, so nothing was accepted.")
        self._take_back(draft)

    def _returned(self, draft: Draft, error: BaseException) -> bool:
        draft.error = sentence(error)
        self.notice.emit(draft.error)
        return self._take_back(draft)

    def _take_back(self, draft: Draft) -> bool:
        """Put a draft that was not accepted back in the user's hands, unless the next object was begun there."""
        present = self._drafts.get(draft.plane)
        if present is not None and present.session.clicks:
            return False
        self._drafts[draft.plane] = draft
        return True

    def _step(self, draft: Draft, direction: str) -> None:
        session = draft.session
        if session.clicks:
            # Instant, and before any click that follows.
            getattr(session, direction)()
            self._stepped(draft)
            return

        def done(action: object) -> None:
            if action is None:
                self.notice.emit(f"There is nothing to {direction}.")
            self._stepped(draft)

        self._runner.submit(getattr(session, direction), done, self._failed, keep=True)

    def _stepped(self, draft: Draft) -> None:
        draft.error = ""
        if draft.session.pending:
            self._compute(draft)
        self._refresh()

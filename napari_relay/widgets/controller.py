"""What clicks and keys do to one open image. Plain Python: no Qt, no napari, so that tests need neither.

Cycle of a click:
  1. GUI thread: `click` gives it to the session (instant; bumps its generation) and asks the runner to compute.
  2. Runner's thread: `session.compute(generation)` reads crops, asks the engine, makes a Proposal, or raises
     SupersededError when a newer click came meanwhile.
  3. GUI thread: `changed` and `repaint` are emitted; the panels and the overlay read `shown` and `scene`.

Every plane (t, z) has its own draft, so going to another plane and back loses no clicks. Accepting hands the draft
over to be written and starts a new one at once: the next object can be clicked while the last is on its way to disk.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_relay.errors import (
    CancelledError,
    ClickError,
    EngineClosedError,
    RelayError,
    SupersededError,
    UsageError,
)
from napari_relay.geometry import Box, Plane
from napari_relay.widgets.accepting import Accepting
from napari_relay.widgets.drafts import Draft, Scene
from napari_relay.widgets.ledger import Ledger
from napari_relay.widgets.opening import Opened
from napari_relay.widgets.state import Model, Phase, Shown
from napari_relay.widgets.threads import Runner
from napari_relay.widgets.transforms import ImagePoint

if TYPE_CHECKING:
    # Only a name here: the store is imported by the thread that opens an image, not before the window shows.
    from napari_relay.store import Change

log = logging.getLogger(__name__)

DROPPED = (SupersededError, CancelledError, EngineClosedError)
"""Ends of a computation that are no failures: nobody wants its answer any more."""


class ClickController:
    """Drives the sessions of one open image. Who makes it closes it; the image is closed with it.

    Parameters
    ----------
    opened : the image's workspace and how to close it.
    runner : runs the slow work, in order.
    """

    changed = Signal(Shown)
    repaint = Signal()
    accepted = Signal(int)
    """An object was written; its id."""
    notice = Signal(str)

    def __init__(self, opened: Opened, runner: Runner, *, plane: Plane | None = None) -> None:
        self.workspace = workspace = opened.workspace
        self._opened = opened
        self._runner = runner
        self._plane = plane or Plane()
        self._drafts: dict[Plane, Draft] = {}
        self._accepting = Accepting(
            runner, written=lambda object_id: self.accepted.emit(object_id), returned=self._returned,
            changed=self._refresh,
        )  # fmt: skip
        self._leaving: list[Draft] = []
        """Accepted before their masks were there; they take no more clicks."""
        self._model = Model.STARTING
        self._model_message = ""
        self._closed = False
        self._stop_listening = workspace.engine.on_state(
            lambda state, message: runner.post(lambda: self._engine_said(str(state), message))
        )
        self.ledger = Ledger(workspace.project, runner, self._refresh, self._failed)
        runner.submit(self.draft.session.prepare)
        workspace.project.changed.connect(self._project_changed)
        self._engine_said(str(workspace.engine.state), workspace.engine.message)

    # -- what is shown -----------------------------------------------------------------------------------------

    @property
    def draft(self) -> Draft:
        """The object being clicked on the present plane."""
        draft = self._drafts.get(self._plane)
        if draft is None:
            draft = self._drafts[self._plane] = Draft(self.workspace.session(plane=self._plane), self._plane)
        return draft

    @property
    def shown(self) -> Shown:
        draft, source = self.draft, self.workspace.source
        proposal = draft.proposal
        return Shown(
            phase=draft.phase,
            image=source.name,
            plane=self._plane,
            clicks=tuple(draft.session.clicks),
            score=proposal.score if proposal is not None else None,
            alternative=proposal.index if proposal is not None else 0,
            alternatives=proposal.count if proposal is not None else 0,
            model=self._model,
            message=draft.error or self._model_message,
            current_class=self.ledger.current_class,
            classes=self.ledger.classes,
            objects=self.ledger.objects,
            accepting=self._accepting.under_way,
            unsaved=len(self._accepting.unsaved),
            project=str(self.workspace.project.path),
            temporary=self._opened.temporary,
        )

    @property
    def scene(self) -> Scene:
        """What the overlay shows on the present plane."""
        draft = self.draft
        return Scene(
            shape=self.workspace.source.shape,
            proposal=draft.proposal,
            accepted=self._accepting.on(self._plane),
            clicks=tuple(draft.session.clicks),
            views=draft.session.views,
            busy=draft.phase is Phase.COMPUTING,
        )

    # -- clicks and keys ---------------------------------------------------------------------------------------

    def click(self, point: ImagePoint, *, positive: bool = True, zoom: float | None = None) -> bool:
        """Add a click on the present plane; False when it cannot be taken (the state says why)."""
        self.cancel_prefetch()
        draft = self.draft
        try:
            draft.session.add_click(point.y, point.x, positive=positive, zoom=zoom)
        except ClickError as error:
            self.notice.emit(str(error))
            return False
        self._compute(draft)
        return True

    def accept(self) -> bool:
        """Keep the mask as an object; also before it is computed, then it is kept as soon as it is."""
        draft = self.draft
        if draft.phase is Phase.NOTHING:
            self.notice.emit("There is no mask to accept. Click another place inside the object.")
            return False
        if not draft.session.clicks:
            self._accepting.retry()
            self._refresh()
            return False
        del self._drafts[draft.plane]
        draft.class_name = draft.own_class or self.ledger.current_class
        if draft.pending:
            self._leaving.append(draft)
        else:
            self._accepting.write(draft)
        self._refresh()
        return True

    def drop(self) -> bool:
        """Forget the clicks of the present object; False when there are none."""
        draft = self.draft
        if not draft.session.clicks:
            return False
        draft.session.reset()
        draft.error = ""
        self._refresh()
        return True

    def next_mask(self) -> bool:
        """Show the next mask of the first click; False when there is only one."""
        draft = self.draft
        if draft.proposal is None or draft.proposal.count < 2:
            return False
        self._in_session(draft, draft.session.next_mask)
        return True

    def undo(self) -> None:
        """Take back the last click, or without clicks the last change of the project."""
        self._step(self.draft, "undo")

    def redo(self) -> None:
        self._step(self.draft, "redo")

    def set_plane(self, plane: Plane) -> None:
        """Work on another (t, z) plane; the clicks made on this one stay with it."""
        if plane != self._plane:
            self._plane = plane
            self.cancel_prefetch()
            self._refresh()

    def do(self, change: Callable[[], object]) -> None:
        """Change the project, in the order in which everything is done; what goes wrong is told."""
        self._runner.submit(change, failed=self._failed, keep=True)

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

    def choose_class(self, digit: int) -> bool:
        """The class of that digit becomes the current one; False when there is none."""
        name = self.ledger.class_of(digit)
        if name is not None:
            self.ledger.set_class(name)
        return name is not None

    # -- prefetch ----------------------------------------------------------------------------------------------

    def prefetch(self, point: ImagePoint, zoom: float | None) -> bool:
        """Encode the view that a first click at `point` would look at, unless there is other work."""
        draft = self.draft
        if draft.session.clicks or draft.pending or self._model is not Model.READY or point.plane != self._plane:
            return False
        session = draft.session
        self._runner.submit(lambda: session.prefetch_at(point.y, point.x, zoom), failed=_quietly)
        return True

    def cancel_prefetch(self) -> None:
        """Give up what is being prepared: the view moved, or there is a real click."""
        self.workspace.predicts.cancel_prefetch()

    # -- accepted objects --------------------------------------------------------------------------------------

    def awaited(self) -> list[tuple[int, Box, Plane]]:
        """(id, box, plane) of the objects that are written and still shown by the overlay."""
        return self._accepting.awaited()

    def forget_accepted(self, ids: set[int]) -> None:
        """The objects layer shows these objects now, so the overlay need not."""
        self._accepting.forget(ids)

    # -- life --------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Write what was accepted, then close the workspace, all in the background. Open clicks are given up."""
        if self._closed:
            return
        self._closed = True
        self._stop_listening()
        self.workspace.project.changed.disconnect(self._project_changed)
        self.ledger.close()
        for draft in self._leaving:
            self._runner.submit(draft.compute_and_accept, keep=True)
        self._accepting.retry()
        self._runner.close(self._opened.close)

    # -- the cycle ---------------------------------------------------------------------------------------------

    def _compute(self, draft: Draft) -> None:
        session = draft.session
        generation = session.generation
        self._in_session(draft, lambda: session.compute(generation))

    def _in_session(self, draft: Draft, work: Callable[[], object]) -> None:
        draft.pending += 1
        draft.error = ""
        self._runner.submit(work, lambda _: self._settled(draft), lambda error: self._settled(draft, error))
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

    # -- news --------------------------------------------------------------------------------------------------

    def _engine_said(self, state: str, message: str) -> None:
        self._model = {
            "new": Model.STARTING, "starting": Model.STARTING, "restarting": Model.RESTARTING, "failed": Model.FAILED,
        }.get(state, Model.READY)  # fmt: skip
        self._model_message = message
        self._refresh()

    def _project_changed(self, change: Change) -> None:
        # In the thread that made the change. What is taken back must not be shown as accepted any more.
        if change.kind != "accept":
            self._runner.post(lambda: self.forget_accepted(set(change.ids)))

    def _failed(self, error: BaseException) -> None:
        self.notice.emit(sentence(error))

    def _refresh(self) -> None:
        if not self._closed:
            self.changed.emit(self.shown)
            self.repaint.emit()


def sentence(error: BaseException) -> str:
    """An error in words for the user; one that is not ours goes to the log as well."""
    if isinstance(error, RelayError):
        return str(error)
    log.error("Unexpected error", exc_info=error)
    return f"Something failed: {type(error).__name__}: {error}. The log holds the details."


def _quietly(error: BaseException) -> None:
    """A prefetch that came to nothing is no news."""
    log.debug("Prefetch: %s", error)

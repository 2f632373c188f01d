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
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_relay.geometry import Box, Plane
from napari_relay.widgets.accepting import Accepting
from napari_relay.widgets.drafting import Drafting
from napari_relay.widgets.drafts import Draft, Scene
from napari_relay.widgets.ledger import Ledger
from napari_relay.widgets.opening import Opened
from napari_relay.widgets.state import Model, Phase, Shown
from napari_relay.widgets.telling import sentence
from napari_relay.widgets.threads import Runner
from napari_relay.widgets.transforms import ImagePoint

if TYPE_CHECKING:
    # Only a name here: the store is imported by the thread that opens an image, not before the window shows.
    from napari_relay.store import Change

log = logging.getLogger(__name__)


class ClickController(Drafting):
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
        self._stroke: Any = None
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
            stroke=self._stroke,
        )

    def show_stroke(self, stroke: Any) -> None:
        """Show (box, mask, adds) of what is being drawn over everything else; None shows nothing."""
        if stroke is not None or self._stroke is not None:
            self._stroke = stroke
            self.repaint.emit()

    # -- clicks and keys ---------------------------------------------------------------------------------------

    def click(self, point: ImagePoint, *, positive: bool = True, zoom: float | None = None) -> bool:
        """Add a click on the present plane; False when it cannot be taken (the state says why)."""
        return self.prompt(lambda session: session.add_click(point.y, point.x, positive=positive, zoom=zoom))

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

    def do(
        self,
        change: Callable[[], Any],
        done: Callable[[Any], None] | None = None,
        gone_wrong: Callable[[], None] | None = None,
    ) -> None:
        """Change the project, in the order in which everything is done; what goes wrong is told."""

        def failed(error: BaseException) -> None:
            if gone_wrong is not None:
                gone_wrong()
            self._failed(error)

        self._runner.submit(change, done, failed, keep=True)

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

    def show_until_rendered(self, object_id: int, box: Box, mask: Any, plane: Plane, class_name: str) -> None:
        """Let the overlay show pixels that were added to an object until the objects layer does."""
        self._accepting.show(object_id, box, mask, plane, class_name)
        self.accepted.emit(object_id)
        self._refresh()

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


def _quietly(error: BaseException) -> None:
    """A prefetch that came to nothing is no news."""
    log.debug("Prefetch: %s", error)

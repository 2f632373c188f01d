"""Objects on their way to disk: accepted by the user, written in the background, never lost in between."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from types import SimpleNamespace
from typing import Any

from napari_relay.errors import EmptyProposalError
from napari_relay.geometry import Box, Plane
from napari_relay.widgets.drafts import Accepted, Draft
from napari_relay.widgets.threads import Runner

GRACE_S = 0.012
"""The longest that the window waits for the disk before it goes on."""


class Accepting:
    """Writes drafts, and holds those that could not be written until they can.

    Parameters
    ----------
    written : called with the id of each object that was written.
    returned : called with a draft that could not be written and the error; tells whether it is back in the user's
        hands. If not, it is tried again after the next one that is written.
    changed : called when what is shown may have changed.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        written: Callable[[int], None],
        returned: Callable[[Draft, BaseException], bool],
        changed: Callable[[], None],
    ) -> None:
        self.items: list[Accepted] = []
        """Accepted objects that the overlay still shows."""
        self.unsaved: list[Draft] = []
        self._runner = runner
        self._written, self._returned, self._changed = written, returned, changed

    @property
    def under_way(self) -> int:
        return sum(not item.written for item in self.items)

    def on(self, plane: Plane) -> tuple[Accepted, ...]:
        """Those of a plane."""
        return tuple(item for item in self.items if item.plane == plane)

    def awaited(self) -> list[tuple[int, Box, Plane]]:
        """(id, box, plane) of those that are written and wait to be shown by the objects layer."""
        return [(item.object_id, item.proposal.box, item.plane) for item in self.items if item.written]

    def show(self, object_id: int, box: Box, mask: Any, plane: Plane, class_name: str) -> None:
        """Show pixels of an object that is written, as if it were accepted just now."""
        pixels = SimpleNamespace(box=box, mask=mask)
        self.items.append(Accepted(pixels, plane, class_name, object_id, written=True))

    def forget(self, ids: set[int]) -> None:
        """These are shown elsewhere now, or not at all any more."""
        kept = [item for item in self.items if item.object_id not in ids]
        if len(kept) != len(self.items):
            self.items = kept
            self._changed()

    def write(self, draft: Draft) -> None:
        """Write a draft whose mask is there."""
        item = Accepted(draft.proposal, draft.plane, draft.class_name)
        self.items.append(item)
        session, name = draft.session, draft.class_name or None

        def done(stored: Any) -> None:
            item.object_id, item.written = stored.id, True
            self._written(stored.id)
            self.retry()
            self._changed()

        def failed(error: BaseException) -> None:
            self.items.remove(item)
            if not self._returned(draft, error) and not isinstance(error, EmptyProposalError):
                self.unsaved.append(draft)
            self._changed()

        kept = Event()

        def work() -> Any:
            try:
                return session.accept(name)
            finally:
                kept.set()

        self._runner.submit(work, done, failed, keep=True)
        # A transaction takes 3 ms. Beside a frame, which Qt composes with the interpreter held, it would take 30.
        kept.wait(GRACE_S)

    def retry(self) -> None:
        """Write those that could not be written before."""
        drafts, self.unsaved = self.unsaved, []
        for draft in drafts:
            draft.error = ""
            self.write(draft)

"""The proposals that wait to be looked at: their order, the page that is shown, and what was made of the last ones.

No Qt here. Everything is read by a runner; changes go the way of all changes of the image.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_relay.store import Answers, Change, ObjectState, StoredObject
from napari_relay.store.query import Ids
from napari_relay.widgets.object_pictures import Picture, picture_of
from napari_relay.widgets.threads import Runner

if TYPE_CHECKING:
    # Only names here: scipy takes long to import, and the runner's thread does it.
    from napari_relay.fullimage.ranking import Precision, Ranked

PAGE = 48
LAST = 100
"""Answers that tell how good the proposals are."""
AT_ONCE = 8
"""Pictures made in one job: the first ones show while the others are read."""
KEPT = 10 * PAGE

Write = Callable[[Callable[[Any], object]], None]


@dataclass(frozen=True, eq=False, slots=True)
class Found:
    """What one look at the project gave."""

    ids: Ids
    ranked: Ranked | None
    answers: Answers


class ReviewQueue:
    """See above. Who makes it closes it, before its runner.

    Parameters
    ----------
    workspace : of the image.
    runner : reads the project and the image in the background.
    write : does changes of the project, and shows what went wrong.

    Attributes
    ----------
    changed : the order, the page or the numbers are new.
    pictured : Signal(id, picture uint8 [side, side, 3]).
    """

    changed = Signal()
    pictured = Signal(int, object)

    def __init__(self, workspace: Any, runner: Runner, write: Write) -> None:
        self._workspace, self._project = workspace, workspace.project
        self._runner, self._write = runner, write
        self.ids: Ids = np.zeros(0, np.int64)
        self.answers = Answers(0, 0, 0)
        self.page = 0
        self._ranked: Ranked | None = None
        self._skipped: dict[int, None] = {}
        self._pictures: OrderedDict[int, Picture] = OrderedDict()
        self._waits = self._closed = False

    # -- what is shown -----------------------------------------------------------------------------------------

    @property
    def pages(self) -> int:
        return max(1, -(-len(self.ids) // PAGE))

    @property
    def page_ids(self) -> list[int]:
        """Ids on the page that is shown, in order."""
        ids: list[int] = self.ids[self.page * PAGE : (self.page + 1) * PAGE].tolist()
        return ids

    @property
    def ranks(self) -> bool:
        """Whether the proposals come from a search for similar ones, and have a threshold."""
        return self._ranked is not None and len(self._ranked.open_ids) > 0

    def above(self, threshold: float) -> list[int]:
        """Ids of the open proposals of the search that are at least that similar."""
        return [] if self._ranked is None else self._ranked.above(threshold).tolist()

    def precision(self, threshold: float) -> Precision | None:
        """How many of those are right, as far as the answers tell; None without a search."""
        return None if self._ranked is None else self._ranked.precision(threshold)

    def turn(self, by: int) -> None:
        """Show another page."""
        page = min(max(0, self.page + by), self.pages - 1)
        if page != self.page:
            self.page = page
            self._show()

    def picture(self, object_id: int) -> Picture | None:
        """What was made of an object already."""
        return self._pictures.get(object_id)

    def load(self) -> None:
        """Look at the project again; instant. Asked for while that waits, it is done once."""
        if self._waits or self._closed:
            return
        self._waits = True

        def read() -> Found:
            self._waits = False
            ranked = self._workspace.ranked()
            return Found(self._project.proposals(), ranked, self._project.answers(LAST))

        self._runner.submit(read, self._take)

    def project_changed(self, change: Change) -> None:
        """Something was committed."""
        for object_id in change.ids:
            self._pictures.pop(object_id, None)
        self.load()

    def close(self) -> None:
        self._closed = True

    # -- what the user decides ---------------------------------------------------------------------------------

    def accept(self, ids: Sequence[int]) -> None:
        """Keep them as objects, by the project's rule for pixels of others."""
        self._decide(ids, lambda project: project.accept_proposals(ids))

    def reject(self, ids: Sequence[int]) -> None:
        """They are no objects: never proposed again there, and background for the next search."""
        self._decide(ids, lambda project: project.set_state(ids, ObjectState.REJECTED))

    def skip(self, ids: Sequence[int]) -> None:
        """Look at them at the end, for as long as the window is open."""
        for object_id in ids:
            self._skipped.pop(object_id, None)
            self._skipped[object_id] = None
        self.ids = self._ordered(self.ids)
        self._show()

    def _decide(self, ids: Sequence[int], change: Callable[[Any], object]) -> None:
        if ids:
            # They go at once; should the change fail, the project still has them and they come back.
            self.ids = self.ids[~np.isin(self.ids, ids)]
            self._show()
            self._write(change)

    # -- reading -----------------------------------------------------------------------------------------------

    def _take(self, found: Found) -> None:
        self._ranked, self.answers = found.ranked, found.answers
        self.ids = self._ordered(found.ids)
        self._show()

    def _ordered(self, ids: Ids) -> Ids:
        """Those of the latest search by likeness, least sure first, then the others by doubt; skipped ones last."""
        if self._ranked is not None:
            # What lies nearest to the middle teaches most, and moves the threshold most.
            doubt = np.argsort(np.abs(self._ranked.scores - 0.5), kind="stable")
            ranked = self._ranked.ids[doubt]
            ids = np.concatenate([ranked[np.isin(ranked, ids)], ids[~np.isin(ids, ranked)]])
        late = np.array([object_id for object_id in self._skipped if object_id in ids], np.int64)
        return np.concatenate([ids[~np.isin(ids, late)], late])

    def _show(self) -> None:
        if self._closed:
            return
        self.page = min(self.page, self.pages - 1)
        self.changed.emit()
        missing = [object_id for object_id in self.page_ids if object_id not in self._pictures]
        for start in range(0, len(missing), AT_ONCE):
            self._picture(missing[start : start + AT_ONCE])

    def _picture(self, ids: list[int]) -> None:
        workspace = self._workspace

        def make() -> list[tuple[StoredObject, Picture]]:
            shown = set(self.page_ids)  # a page that was turned meanwhile need not be read
            stored = self._project.rows([i for i in ids if i in shown and i not in self._pictures])
            return [(one, picture_of(workspace.source, workspace.contrast(), one)) for one in stored]

        self._runner.submit(make, self._pictured)

    def _pictured(self, made: list[tuple[StoredObject, Picture]]) -> None:
        for stored, picture in made:
            self._pictures[stored.id] = picture
            while len(self._pictures) > KEPT:
                self._pictures.popitem(last=False)
            self.pictured.emit(stored.id, picture)

"""A project that changes: who is told of it, and the way back and forth through its history."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

import numpy as np
from psygnal import EmitLoopError, Signal

from napari_relay.store import actions, objects
from napari_relay.store.projectfile import ProjectFile
from napari_relay.store.values import Action, Change

logger = logging.getLogger(__name__)


class ChangingProject(ProjectFile):
    """The part of a `Project` that tells of changes, and takes them back.

    Attributes
    ----------
    changed : Signal(Change)
        After each committed change, once a plane, in the thread that made it.
    """

    changed = Signal(Change)

    def undo(self) -> Action | None:
        """Take the last action back; returns it, or None when there is none left."""
        return self._step("undo")

    def redo(self) -> Action | None:
        """Do the action that was undone last again; returns it, or None when there is none."""
        return self._step("redo")

    def jump(self, action: int | Action) -> int:
        """Go to a point of the history: undo or redo until `action` is the newest one that is done.

        It is one transaction: whatever happens, the project is where it was or where it should be.

        Parameters
        ----------
        action : Action or int
            One of `history()`, or its id; 0 is before the first.

        Returns
        -------
        int
            How many actions were undone or redone.

        Raises
        ------
        UsageError
            It is no action, or an abandoned one.
        """
        target = action.id if isinstance(action, Action) else action
        with self._database.write() as db:
            walked = actions.jump(db, target)
            ids = {i for step in walked for i in actions.changed_objects(db, step)}
            changes = objects.changes_of(db, ids, "jump")
        if walked:
            self._tell(changes)
        return len(walked)

    def _step(self, kind: str) -> Action | None:
        with self._database.write() as db:
            action = actions.undo(db) if kind == "undo" else actions.redo(db)
            if action is None:
                return None
            changes = objects.changes_of(db, actions.changed_objects(db, action.id), kind)
        self._tell(changes)
        return action

    def _tell(self, changes: Iterable[Change]) -> None:
        """Tell the listeners of a committed change."""
        for change in changes:
            try:
                self.changed.emit(change)
            except EmitLoopError:  # the change is on the disk: a listener's mistake must not look like a failure
                logger.exception("A listener to the project's changes failed")


def count_words(ids: Sequence[int]) -> str:
    """`object 7`, or `20 objects`."""
    return f"object {ids[0]}" if len(ids) == 1 else f"{len(ids)} objects"


def as_ids(ids: int | Iterable[int]) -> Iterable[int]:
    """One id, or several, as several."""
    return [int(ids)] if isinstance(ids, int | np.integer) else ids

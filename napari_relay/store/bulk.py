"""Changes of one or many objects at once: each is one action, however many objects it is about."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from napari_relay.errors import UsageError
from napari_relay.store import actions, classes, objects
from napari_relay.store.changing import as_ids, count_words
from napari_relay.store.class_editing import ClassEditing
from napari_relay.store.values import Action, Actor, ObjectState, checked

PROTECTED = {
    Actor.USER: (ObjectState.LOCKED,),
    Actor.MODEL: (ObjectState.REVIEWED, ObjectState.LOCKED),
}
"""States in which an object is changed by nobody of that kind."""

FOR_MODELS = (ObjectState.PROPOSED, ObjectState.ACCEPTED, ObjectState.REJECTED)
"""States that a model may give: the others say that a person has looked."""

Patch = Callable[[sqlite3.Connection, int], dict[str, Any]]
"""Given the transaction and the action, the columns to set."""


class BulkChanges(ClassEditing):
    """The part of a `Project` that changes objects without touching their masks.

    In every method `ids` is one id or several, and `actor` says whether a person does it or a model on its own; what
    is locked is refused (and what is reviewed, to a model), and then nothing at all has changed.

    Raises of every method: UsageError (one of the ids is no object or protected, or none is given), StorageError.
    """

    def delete(self, ids: int | Iterable[int], *, actor: Actor = Actor.USER) -> Action:
        """Delete objects, as one action."""
        return self._change(ids, "delete", "delete {objects}", "live", lambda db, action: {"live": 0}, actor=actor)

    def set_class(self, ids: int | Iterable[int], class_name: str, *, actor: Actor = Actor.USER) -> Action:
        """Give objects another class (made when unknown), as one action."""
        name = classes.checked_name(class_name)

        def patch(db: sqlite3.Connection, action: int) -> dict[str, Any]:
            return {"class_id": (classes.find_class(db, name) or classes.add_class(db, action, name)).id}

        return self._change(ids, "class-change", f"{{objects}} to {name}", "class_id", patch, actor=actor)

    def set_state(self, ids: int | Iterable[int], state: ObjectState | str, *, actor: Actor = Actor.USER) -> Action:
        """Accept, review, lock, reject (or propose again) objects, as one action. A person may unlock; a model
        neither reviews nor locks."""
        new = checked(ObjectState, state, "state")
        if actor == Actor.MODEL and new not in FOR_MODELS:
            raise UsageError(f"A model cannot mark an object as {new}.", "Leave that to whoever looks at it.")
        return self._change(
            ids, "state-change", f"{{objects}} {new}", "state", lambda db, action: {"state": new.value}, actor=actor,
            unlocks=True,
        )  # fmt: skip

    def set_note(self, ids: int | Iterable[int], note: str, *, actor: Actor = Actor.USER) -> Action:
        """Give objects a note (free text; "" for none), as one action. A locked object takes notes too."""
        text = note.strip()
        return self._change(
            ids, "note", "note to {objects}", "note", lambda db, action: {"note": text}, actor=actor, unlocks=True
        )

    def _change(
        self,
        ids: int | Iterable[int],
        kind: str,
        summary: str,
        column: str,
        patch: Patch,
        *,
        actor: Actor,
        unlocks: bool = False,
    ) -> Action:
        """One action that gives one column of objects a new value; `unlocks`: a person may do it to locked ones."""
        with self._database.write() as db:
            wanted = objects.require_live(db, as_ids(ids))
            if not (unlocks and actor == Actor.USER):
                check_unprotected(db, wanted, actor)
            action = actions.begin_action(db, kind, summary.replace("{objects}", count_words(wanted)), actor=actor)
            new = patch(db, action)
            for old, members in objects.ids_by_value(db, column, wanted).items():
                actions.record_change(db, action, "object", members, {column: old}, new)
            actions.apply(db, action, "after", action)
            done, changes = actions.get_action(db, action), objects.changes_of(db, wanted, kind)
        self._tell(changes)
        return done


def check_unprotected(db: sqlite3.Connection, ids: Sequence[int], actor: Actor) -> None:
    """Refuse objects that `actor` may not change.

    Raises
    ------
    UsageError
        Names the first of them.
    """
    states = PROTECTED[Actor(actor)]
    marks = ", ".join("?" for _ in states)
    row = db.execute(
        f"""SELECT id, state FROM objects
        WHERE id IN (SELECT value FROM json_each(?)) AND state IN ({marks}) ORDER BY id LIMIT 1""",
        (json.dumps(list(ids)), *states),
    ).fetchone()
    if row is None:
        return
    if actor == Actor.MODEL:
        raise UsageError(f"Object {row[0]} is {row[1]}: a model does not change it.", "Leave it out.")
    raise UsageError(f"Object {row[0]} is {row[1]}.", "Unlock it first (give it another state), or leave it out.")

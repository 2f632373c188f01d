"""What a model proposes, and what somebody makes of it: one action each, however many objects it is about."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from napari_relay.errors import EmptyProposalError, UsageError
from napari_relay.geometry import Box, Plane
from napari_relay.store import actions, importing, objects, query, raw_masks, tiles
from napari_relay.store import overlap as rules
from napari_relay.store.bulk import FOR_MODELS, check_unprotected
from napari_relay.store.changing import as_ids, count_words
from napari_relay.store.cleaning import cleaner
from napari_relay.store.painting import Painting
from napari_relay.store.query import Ids, ObjectFilter, Order
from napari_relay.store.values import Action, Actor, Change, Imported, NewObject, ObjectState, Overlap, checked


@dataclass(frozen=True, slots=True)
class Taken:
    """What `Proposing.accept_proposals` did: its action, the ids that are accepted now, and those of which the
    overlap rule left no pixel: they stay what they were."""

    action: Action
    ids: tuple[int, ...]
    left_out: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Answers:
    """Of the latest proposals that people decided about: how many, how many were rejected, how many corrected."""

    decided: int
    rejected: int
    corrected: int


class Proposing(Painting):
    """The part of a `Project` that holds proposals: objects of state `proposed`, in no label image and no export
    until somebody accepts them. `set_state(ids, "rejected")` rejects them."""

    def propose(
        self, new: Iterable[NewObject], *, summary: str = "", colors: Mapping[str, str] | None = None
    ) -> Imported | None:
        """Take in what a model found, as one action of kind `propose` that one `undo` takes back; None (and no
        action) where it found nothing.

        Parameters
        ----------
        new : iterable of NewObject
            Written one by one as they are yielded, their masks cleaned by the project's settings (`cleaning`); their
            state becomes `proposed`, whatever it says.
        summary : str
            What the history says, for example "instances of the whole image".
        colors : mapping of class name to #rrggbb, optional
            Colours of classes that are made.

        Raises
        ------
        EmptyProposalError, UsageError, StorageError
            As `import_objects`; nothing has changed then, and nothing when `new` raises.
        """
        items = iter(new)
        first = next(items, None)
        if first is None:
            return None
        with self._database.write() as db:
            action = actions.begin_action(db, "propose", "propose", checkpoint=first.checkpoint, actor=Actor.MODEL)
            ids, left_out, _ = importing.insert_all(
                db, action, map(_proposed, itertools.chain([first], items)), self.shape, self.sizes, colors or {},
                Overlap.ALLOW, Actor.MODEL, cleaner(db),
            )  # fmt: skip
            actions.set_summary(db, action, f"propose {count_words(ids)}{f': {summary}' if summary else ''}")
            done, changes = actions.get_action(db, action), objects.changes_of(db, ids, "propose")
        self._tell(changes)
        return Imported(done, tuple(ids), tuple(left_out))

    def proposals(self, order: Order | str = Order.DOUBT, *, box: Box | None = None, plane: Plane | None = None) -> Ids:
        """Ids of the proposals that wait for somebody to look at them, the most doubtful first; int64 [n].

        `rows` reads those that are looked at.
        """
        wanted = ObjectFilter(states=(ObjectState.PROPOSED,), box=box, plane=plane)
        with self._database.read() as db:
            return query.find(db, wanted, Order(order), descending=False)

    def accept_proposals(
        self, ids: int | Iterable[int], *, overlap: Overlap | str | None = None, actor: Actor = Actor.USER
    ) -> Taken:
        """Accept proposals (or rejected ones, on second thoughts), as one action; each comes to lie on top.

        Parameters
        ----------
        overlap : Overlap, optional
            What becomes of pixels that belong to other objects, to proposals accepted before in the same call too;
            None takes the project's rule.

        Raises
        ------
        EmptyProposalError
            The rule leaves no pixel of any of them.
        UsageError
            One of the ids is no object, or neither proposed nor rejected.
        StorageError
        """
        with self._database.write() as db:
            wanted = objects.require_live(db, as_ids(ids))
            _require_hidden(db, wanted)
            rule = rules.get_rule(db, overlap)
            # What is left of them is known only once the earlier ones of the call are in, so the action comes first.
            action = actions.begin_action(db, "accept", "accept", actor=actor)
            losers: set[int] = set()
            kept, left_out = [], []
            for object_id in wanted:
                settled = self._settle_proposal(db, action, object_id, rule, actor)
                if settled is None:
                    left_out.append(object_id)
                    continue
                kept.append(object_id)
                losers.update(settled.taken)
            if not kept:
                raise _nothing_left(wanted)
            actions.set_summary(db, action, f"accept proposed {count_words(kept)}")
            actions.apply(db, action, "after", action)
            done, changes = actions.get_action(db, action), objects.changes_of(db, kept, "accept")
            changes += self._changes_of_others(db, losers - set(kept))
        self._tell(changes)
        return Taken(done, tuple(kept), tuple(left_out))

    def set_state(self, ids: int | Iterable[int], state: ObjectState | str, *, actor: Actor = Actor.USER) -> Action:
        """Accept, review, lock, reject (or propose again) objects, as one action. A person may unlock; a model neither
        reviews nor locks. Proposed and rejected ones come in by the project's overlap rule, and on top; those of which
        it leaves no pixel stay what they are.

        Raises
        ------
        EmptyProposalError
            The rule leaves no pixel of any of them.
        UsageError, StorageError
            As `set_class`.
        """
        new = checked(ObjectState, state, "state")
        with self._database.read() as db:
            wanted = objects.require_live(db, as_ids(ids))
            comes_in = new not in importing.HIDDEN and bool(_hidden(db, wanted))
        if not comes_in:
            return super().set_state(wanted, new, actor=actor)
        if actor == Actor.MODEL and new not in FOR_MODELS:
            raise UsageError(f"A model cannot mark an object as {new}.", "Leave that to whoever looks at it.")
        with self._database.write() as db:
            wanted = objects.require_live(db, wanted)
            if actor == Actor.MODEL:
                check_unprotected(db, wanted, actor)
            action = actions.begin_action(db, "state-change", "state", actor=actor)
            hidden = set(_hidden(db, wanted))
            settled = {i: self._settle_proposal(db, action, i, rules.get_rule(db), actor, new) for i in sorted(hidden)}
            kept = [i for i in wanted if i not in hidden or settled[i] is not None]
            if not kept:
                raise _nothing_left(wanted)
            losers = {loser for found in settled.values() if found is not None for loser in found.taken}
            shown = [i for i in kept if i not in hidden]
            for i in shown:
                actions.add_change(db, action, i, objects.get_columns(db, i, ["state"]), {"state": new.value})
            actions.set_summary(db, action, f"{count_words(kept)} {new}")
            actions.apply(db, action, "after", action)
            done, changes = actions.get_action(db, action), objects.changes_of(db, kept, "state-change")
            changes += self._changes_of_others(db, losers - set(kept))
        self._tell(changes)
        return done

    def answers(self, last: int = 100) -> Answers:
        """What people made of the `last` proposals that they decided about; what was undone does not count."""
        with self._database.read() as db:
            rows = db.execute(
                """SELECT a.kind, json_extract(c."after", '$.state') AS state
                FROM actions AS a JOIN changes AS c ON c.action_id = a.id AND c.entity = 'object'
                WHERE a.state = 'done' AND a.actor = 'user' AND a.kind IN ('accept', 'correct', 'state-change')
                AND json_extract(c."before", '$.state') = 'proposed' AND state <> 'proposed'
                ORDER BY a.id DESC LIMIT ?""",
                (last,),
            ).fetchall()
        rejected = sum(state == ObjectState.REJECTED for _, state in rows)
        return Answers(len(rows), rejected, sum(kind == "correct" for kind, _ in rows))

    def _settle_proposal(
        self,
        db: sqlite3.Connection,
        action: int,
        object_id: int,
        rule: Overlap,
        actor: Actor,
        state: ObjectState = ObjectState.ACCEPTED,
    ) -> rules.Settled | None:
        """Accept one proposal as the rule leaves it; None where it leaves nothing."""
        (stored,) = objects.get_objects(db, [object_id], self._read_mask)
        mask = tiles.assemble(objects.get_tiles(db, object_id, stored.box), stored.box, f"object {object_id},")
        settled = rules.settle(db, stored.box, mask, stored.plane, rule, actor=actor, own_id=object_id)
        if settled.box.empty:
            return None
        for loser in settled.taken:
            rules.cut_away(db, action, loser, settled.box, settled.mask)
        raw_masks.hand_on(db, action, stored)
        new = {"state": state.value, "action_id": action}
        if settled.lost:
            actions.replace_tiles(db, action, object_id, tiles.split(settled.box, settled.mask))
            new |= objects.mask_columns(settled.box, settled.mask)
        actions.add_change(db, action, object_id, objects.get_columns(db, object_id, list(new)), new)
        return settled

    def _changes_of_others(self, db: sqlite3.Connection, ids: Iterable[int]) -> list[Change]:
        """What to tell of objects that lost pixels; nothing where there is none."""
        losers = list(ids)
        return objects.changes_of(db, losers, "overlap") if losers else []


def _proposed(new: NewObject) -> NewObject:
    return new if new.state is ObjectState.PROPOSED else replace(new, state=ObjectState.PROPOSED)


def _nothing_left(ids: list[int]) -> EmptyProposalError:
    return EmptyProposalError(
        f"Every pixel of the proposed {count_words(ids)} belongs to other objects already.",
        "Reject what is proposed, or choose another overlap rule.",
    )


def _hidden(db: sqlite3.Connection, ids: list[int]) -> list[int]:
    """Those of the objects that are proposed or rejected."""
    rows = db.execute(
        """SELECT id FROM objects WHERE state IN ('proposed', 'rejected')
        AND id IN (SELECT value FROM json_each(?)) ORDER BY id""",
        (json.dumps(ids),),
    )
    return [row[0] for row in rows]


def _require_hidden(db: sqlite3.Connection, ids: list[int]) -> None:
    row = db.execute(
        """SELECT id, state FROM objects WHERE state NOT IN ('proposed', 'rejected')
        AND id IN (SELECT value FROM json_each(?)) ORDER BY id LIMIT 1""",
        (json.dumps(ids),),
    ).fetchone()
    if row is not None:
        raise UsageError(f"Object {row[0]} is {row[1]}, not a proposal.", "Leave it out.")

"""Holes filled, islands dropped, outlines smoothed: settings of a project, and the way back.

What cleaning changes of a mask is never lost: the tiles as they were before lie in `raw_tiles`, under the action that
gave the object its mask. They are only ever added to, so undo and redo leave them right. Other settings clean the mask
anew from what it was; without any it is what it was. An object that was drawn on since (a stroke, a merge, pixels lost
to another) keeps the mask that it has: its old one is no longer what anybody wants back.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Generator, Iterable
from dataclasses import asdict, fields

from napari_relay.errors import EmptyProposalError
from napari_relay.geometry import Box
from napari_relay.steps import finish
from napari_relay.store import actions, objects, overlap, raw_masks, tiles
from napari_relay.store.bulk import check_unprotected
from napari_relay.store.changing import as_ids, count_words
from napari_relay.store.importing import CutObject
from napari_relay.store.mask_cleaning import MAX_PIXELS, CleaningRules, cleaned
from napari_relay.store.painting import Painting
from napari_relay.store.raw_masks import Tiles
from napari_relay.store.tiles import MaskTile
from napari_relay.store.values import Action, Actor, Mask, ObjectState, Overlap, StoredObject

_PAGE = 50
"""Objects between two values of progress: some tenths of a second at most, unless they are huge."""


class Cleaning(Painting):
    """The part of a `Project` that cleans masks."""

    @property
    def cleaning(self) -> CleaningRules:
        """What is done to masks when they are accepted; nothing in a new project."""
        with self._database.read() as db:
            return get_rules(db)

    def set_cleaning(self, rules: CleaningRules, *, existing: bool = True, actor: Actor = Actor.USER) -> Action:
        """Choose other settings, as one action; undoing it brings the old ones back, and the masks with them.

        Parameters
        ----------
        rules : CleaningRules
        existing : bool
            Clean the objects that are there anew, from their masks as they were accepted. Locked ones stay.
        """
        return finish(self.cleaning_steps(rules, existing=existing, actor=actor))

    def cleaning_steps(
        self, rules: CleaningRules, *, existing: bool = True, actor: Actor = Actor.USER
    ) -> Generator[tuple[int, int], None, Action]:
        """`set_cleaning` for very many objects: yields (done, total), and leaves everything as it was when it is
        closed before its end. Nobody else can change the project until then; it must run in one thread."""
        with self._database.write() as db:
            action = actions.begin_action(db, "cleaning", "cleaning", actor=actor)
            db.execute("INSERT INTO cleanings VALUES (?, ?)", (action, json.dumps(asdict(rules), sort_keys=True)))
            ids = _changeable(db, actor) if existing else []
            changed = yield from self._clean(db, action, ids, rules, actor)
            actions.set_summary(db, action, f"cleaning {_words(rules)}{_count(changed)}")
            actions.apply(db, action, "after", action)
            done = actions.get_action(db, action)
            changes = objects.changes_of(db, changed, "cleaning")
        self._tell(changes)
        return done

    def clean(
        self, ids: int | Iterable[int], rules: CleaningRules | None = None, *, actor: Actor = Actor.USER
    ) -> Action:
        """Clean some objects anew from their masks as they were accepted, as one action; None takes the project's
        settings.

        Raises
        ------
        EmptyProposalError
            It changes none of them.
        UsageError, StorageError
            As `set_class`.
        """
        with self._database.write() as db:
            wanted = objects.require_live(db, as_ids(ids))
            check_unprotected(db, wanted, actor)
            chosen = rules or get_rules(db)
            action = actions.begin_action(db, "cleaning", f"clean {count_words(wanted)}", actor=actor)
            changed = finish(self._clean(db, action, wanted, chosen, actor))
            if not changed:
                raise EmptyProposalError("Cleaning changes none of these objects.", "Choose other settings.")
            actions.apply(db, action, "after", action)
            done, changes = actions.get_action(db, action), objects.changes_of(db, changed, "cleaning")
        self._tell(changes)
        return done

    def _clean(
        self, db: sqlite3.Connection, action: int, ids: Iterable[int], rules: CleaningRules, actor: Actor
    ) -> Generator[tuple[int, int], None, list[int]]:
        """Clean objects from their raw masks; the ids of those that it changed."""
        rule = overlap.get_rule(db)
        rule = Overlap.KEEP if rule is Overlap.REPLACE else rule  # nobody asked for the pixels of others
        changed, wanted = [], list(ids)
        for start in range(0, len(wanted), _PAGE):
            for stored in objects.get_objects(db, wanted[start : start + _PAGE], self._read_mask):
                if stored.box.area <= MAX_PIXELS and _clean_one(db, action, stored, rules, rule, actor):
                    changed.append(stored.id)
            yield min(start + _PAGE, len(wanted)), len(wanted)
        return changed


def get_rules(db: sqlite3.Connection) -> CleaningRules:
    """The settings that the newest done action has chosen."""
    row = db.execute(
        """SELECT c.settings FROM cleanings AS c JOIN actions AS a ON a.id = c.action_id
        WHERE a.state = 'done' ORDER BY c.action_id DESC LIMIT 1"""
    ).fetchone()
    if row is None:
        return CleaningRules()
    known = {field.name for field in fields(CleaningRules)}
    return CleaningRules(**{name: value for name, value in json.loads(row[0]).items() if name in known})


def cleaner(db: sqlite3.Connection) -> Callable[[CutObject], CutObject]:
    """Cleans new objects by the project's settings."""
    rules = get_rules(db)
    return lambda new: cleaned_object(new, rules)


def cleaned_object(new: CutObject, rules: CleaningRules) -> CutObject:
    """A new object after cleaning; itself where that changes nothing."""
    box, mask = cleaned(new.box, new.mask, rules)
    return new if mask is new.mask else new.reduced(box, mask)


def _clean_one(
    db: sqlite3.Connection, action: int, stored: StoredObject, rules: CleaningRules, rule: Overlap, actor: Actor
) -> bool:
    """Clean one object from its raw mask; whether its mask is another one now."""
    if raw_masks.drawn_on_since(db, stored):
        return False
    present: Tiles = {(tile.row, tile.column): tile for tile in objects.get_all_tiles(db, stored.id)}
    raw = present | raw_masks.get(db, stored)
    box, mask = _assembled(raw, stored.id)
    new_box, new_mask = cleaned(box, mask, rules)
    fresh = {(tile.row, tile.column): tile for tile in tiles.split(new_box, new_mask)}
    settled = overlap.settle(db, new_box, new_mask, stored.plane, rule, actor=actor, own_id=stored.id)
    if settled.box.empty:
        return False
    final: Tiles = dict.fromkeys(present) | {(t.row, t.column): t for t in tiles.split(settled.box, settled.mask)}
    different: Tiles = {place: tile for place, tile in final.items() if not _same(present.get(place), tile)}
    if not different:
        return False
    for place in raw.keys() | fresh.keys():
        if not _same(raw.get(place), fresh.get(place)):
            raw_masks.insert(db, stored.action_id, stored.id, place, raw.get(place))
    actions.put_tiles(db, action, stored.id, different)
    new = objects.mask_columns(settled.box, settled.mask)
    actions.add_change(db, action, stored.id, objects.get_columns(db, stored.id, list(new)), new)
    return True


def _assembled(found: Tiles, object_id: int) -> tuple[Box, Mask]:
    there = [tile for tile in found.values() if tile is not None]
    hull = Box(0, 0, 0, 0)
    for tile in there:
        hull = hull.hull(tile.box)
    mask = tiles.assemble(there, hull, f"object {object_id},")
    tight = tiles.tight_box(hull, mask)
    return tight, mask[tight.relative_to(hull).slices]


def _same(one: MaskTile | None, other: MaskTile | None) -> bool:
    return one is None and other is None if one is None or other is None else one.bits == other.bits


def _changeable(db: sqlite3.Connection, actor: Actor) -> list[int]:
    states = (ObjectState.LOCKED,) if actor is Actor.USER else (ObjectState.REVIEWED, ObjectState.LOCKED)
    marks = ", ".join("?" for _ in states)
    return [row[0] for row in db.execute(f"SELECT id FROM objects WHERE live = 1 AND state NOT IN ({marks})", states)]


def _words(rules: CleaningRules) -> str:
    said = [
        f"holes up to {rules.holes_px:g} px" if rules.holes_px else "",
        f"islands up to {rules.islands_px:g} px" if rules.islands_px else "",
        f"smoothing {rules.smooth_px:g} px" if rules.smooth_px else "",
    ]
    return ", ".join(part for part in said if part) or "off"


def _count(changed: list[int]) -> str:
    return f": {count_words(changed)}" if changed else ""

"""Holes filled, islands dropped, outlines smoothed: settings of a project, and the way back.

What cleaning changes of a mask is never lost: the tiles as they were before lie in `raw_tiles`, under the action that
gave the object its mask. They are only ever added to, so undo and redo leave them right. Other settings clean the mask
anew from what it was; without any it is what it was. An object that was drawn on since (a stroke, a merge, pixels lost
to another) keeps the mask that it has: its old one is no longer what anybody wants back.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields

import numpy as np

from napari_relay.errors import EmptyProposalError, UsageError
from napari_relay.geometry import Box
from napari_relay.store import actions, objects, overlap, tiles
from napari_relay.store.bulk import check_unprotected
from napari_relay.store.changing import as_ids, count_words
from napari_relay.store.importing import CutObject
from napari_relay.store.painting import Painting
from napari_relay.store.tiles import MaskTile
from napari_relay.store.values import Action, Actor, Mask, ObjectState, Overlap, StoredObject

MAX_PIXELS = 1 << 26
"""Masks whose box has more pixels are left as they are: cleaning holds a mask as a whole, several times."""
_LIMITS = {"holes_px": 1e9, "islands_px": 1e9, "smooth_px": 100.0}

Tiles = dict[tuple[int, int], MaskTile | None]


@dataclass(frozen=True, slots=True)
class CleaningRules:
    """What is done to a mask when it is accepted; 0 leaves out a step.

    Attributes
    ----------
    holes_px : holes of up to so many pixels are filled.
    islands_px : pieces of up to so many pixels are dropped, but never the largest.
    smooth_px : radius of the smoothing of the outline (sigma of a Gaussian).
    """

    holes_px: float = 0
    islands_px: float = 0
    smooth_px: float = 0

    def __post_init__(self) -> None:
        for name, most in _LIMITS.items():
            value = getattr(self, name)
            if not (isinstance(value, int | float) and 0 <= value <= most):
                raise UsageError(f"{name} = {value!r} is no setting.", f"Give a number from 0 to {most:g}.")

    @property
    def none(self) -> bool:
        return self == CleaningRules()


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
        with self._database.write() as db:
            action = actions.begin_action(db, "cleaning", "cleaning", actor=actor)
            db.execute("INSERT INTO cleanings VALUES (?, ?)", (action, json.dumps(asdict(rules), sort_keys=True)))
            ids = _changeable(db, actor) if existing else []
            changed = self._clean(db, action, ids, rules, actor)
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
            changed = self._clean(db, action, wanted, chosen, actor)
            if not changed:
                raise EmptyProposalError("Cleaning changes none of these objects.", "Choose other settings.")
            actions.apply(db, action, "after", action)
            done, changes = actions.get_action(db, action), objects.changes_of(db, changed, "cleaning")
        self._tell(changes)
        return done

    def _clean(
        self, db: sqlite3.Connection, action: int, ids: Iterable[int], rules: CleaningRules, actor: Actor
    ) -> list[int]:
        """Clean objects from their raw masks; the ids of those that it changed."""
        rule = overlap.get_rule(db)
        rule = Overlap.KEEP if rule is Overlap.REPLACE else rule  # nobody asked for the pixels of others
        changed, wanted = [], list(ids)
        for start in range(0, len(wanted), 500):
            for stored in objects.get_objects(db, wanted[start : start + 500], self._read_mask):
                if stored.box.area <= MAX_PIXELS and _clean_one(db, action, stored, rules, rule, actor):
                    changed.append(stored.id)
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


def cleaned(box: Box, mask: Mask, rules: CleaningRules) -> tuple[Box, Mask]:
    """A mask (bool [y, x] over its box) after cleaning, in its smallest box; itself where nothing is to be done, or
    where nothing would be left."""
    if rules.none or box.area > MAX_PIXELS:
        return box, mask
    result = mask
    if rules.islands_px:
        result = _without_islands(result, rules.islands_px)
    if rules.holes_px:
        result = _without_holes(result, rules.holes_px)
    if rules.smooth_px:
        result = _smooth(result, rules.smooth_px)
    if not result.any() or np.array_equal(result, mask):
        return box, mask
    tight = tiles.tight_box(box, result)
    return tight, result[tight.relative_to(box).slices]


def cleaned_object(new: CutObject, rules: CleaningRules) -> CutObject:
    """A new object after cleaning; itself where that changes nothing."""
    box, mask = cleaned(new.box, new.mask, rules)
    return new if mask is new.mask else new.reduced(box, mask)


def keep_raw(
    db: sqlite3.Connection, action: int, object_id: int, raw: Iterable[MaskTile], now: Iterable[MaskTile]
) -> None:
    """Remember the tiles of a mask that cleaning changed, as they were; `action` gave the object its mask."""
    before = {(tile.row, tile.column): tile for tile in raw}
    after = {(tile.row, tile.column): tile for tile in now}
    for place in before.keys() | after.keys():
        old, new = before.get(place), after.get(place)
        if (old is None) != (new is None) or (old is not None and new is not None and old.bits != new.bits):
            _insert_raw(db, action, object_id, place, old)


def _insert_raw(
    db: sqlite3.Connection, action: int, object_id: int, place: tuple[int, int], tile: MaskTile | None
) -> None:
    full = None if tile is None else int(tile.bits is None)
    db.execute(
        "INSERT OR IGNORE INTO raw_tiles VALUES (?, ?, ?, ?, ?, ?)",
        (object_id, action, *place, full, None if tile is None else tile.bits),
    )


def _clean_one(
    db: sqlite3.Connection, action: int, stored: StoredObject, rules: CleaningRules, rule: Overlap, actor: Actor
) -> bool:
    """Clean one object from its raw mask; whether its mask is another one now."""
    if _drawn_on_since(db, stored):
        return False
    present: Tiles = {(tile.row, tile.column): tile for tile in objects.get_all_tiles(db, stored.id)}
    raw = present | _raw_tiles(db, stored)
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
            _insert_raw(db, stored.action_id, stored.id, place, raw.get(place))
    actions.put_tiles(db, action, stored.id, different)
    new = objects.mask_columns(settled.box, settled.mask)
    actions.add_change(db, action, stored.id, objects.get_columns(db, stored.id, list(new)), new)
    return True


def _drawn_on_since(db: sqlite3.Connection, stored: StoredObject) -> bool:
    """Whether something else than cleaning has changed an object's pixels since it got its mask."""
    row = db.execute(
        """SELECT 1 FROM replaced_tiles AS k JOIN actions AS a ON a.id = k.action_id
        WHERE k.object_id = ? AND k.action_id > ? AND a.state = 'done' AND a.kind != 'cleaning' LIMIT 1""",
        (stored.id, stored.action_id),
    ).fetchone()
    return row is not None


def _raw_tiles(db: sqlite3.Connection, stored: StoredObject) -> Tiles:
    rows = db.execute(
        'SELECT "row", "column", "full", bits FROM raw_tiles WHERE object_id = ? AND action_id = ?',
        (stored.id, stored.action_id),
    )
    return {(row, column): None if full is None else MaskTile(row, column, bits) for row, column, full, bits in rows}


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
    return [
        row[0] for row in db.execute(f"SELECT id FROM objects WHERE live = 1 AND state NOT IN ({marks})", states)
    ]


def _without_islands(mask: Mask, most_px: float) -> Mask:
    from scipy import ndimage  # half a second that only this needs

    labels, count = ndimage.label(mask, np.ones((3, 3), bool))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    keep = sizes > most_px
    keep[int(sizes.argmax())] = True
    keep[0] = False
    kept: Mask = keep[labels]
    return kept


def _without_holes(mask: Mask, most_px: float) -> Mask:
    from scipy import ndimage

    labels, count = ndimage.label(~np.pad(mask, 1))
    small = np.bincount(labels.ravel(), minlength=count + 1) <= most_px
    small[[0, int(labels[0, 0])]] = False
    filled: Mask = mask | small[labels][1:-1, 1:-1]
    return filled


def _smooth(mask: Mask, sigma_px: float) -> Mask:
    from scipy import ndimage

    pad = math.ceil(4 * sigma_px) + 1
    soft = ndimage.gaussian_filter(np.pad(mask, pad).astype(np.float32), sigma_px)
    # Above a half: outside the mask's own box less than half of the weight can be inside it.
    smooth: Mask = soft[pad:-pad, pad:-pad] > 0.5
    return smooth if smooth.any() else mask


def _words(rules: CleaningRules) -> str:
    said = [
        f"holes up to {rules.holes_px:g} px" if rules.holes_px else "",
        f"islands up to {rules.islands_px:g} px" if rules.islands_px else "",
        f"smoothing {rules.smooth_px:g} px" if rules.smooth_px else "",
    ]
    return ", ".join(part for part in said if part) or "off"


def _count(changed: list[int]) -> str:
    return f": {count_words(changed)}" if changed else ""

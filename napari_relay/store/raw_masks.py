"""Tiles of masks as they were before cleaning. They are only ever added to, so undo and redo leave them right."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from napari_relay.store.tiles import MaskTile
from napari_relay.store.values import StoredObject

Tiles = dict[tuple[int, int], MaskTile | None]
"""(row, column) -> tile; None where there is none."""


def keep(db: sqlite3.Connection, action: int, object_id: int, raw: Iterable[MaskTile], now: Iterable[MaskTile]) -> None:
    """Remember the tiles of a mask that cleaning changed, as they were; `action` gave the object its mask."""
    before = {(tile.row, tile.column): tile for tile in raw}
    after = {(tile.row, tile.column): tile for tile in now}
    for place in before.keys() | after.keys():
        old, new = before.get(place), after.get(place)
        if (old is None) != (new is None) or (old is not None and new is not None and old.bits != new.bits):
            insert(db, action, object_id, place, old)


def insert(db: sqlite3.Connection, action: int, object_id: int, place: tuple[int, int], tile: MaskTile | None) -> None:
    """Remember one tile as it was, None where there was none; what is known of it stays."""
    full = None if tile is None else int(tile.bits is None)
    db.execute(
        "INSERT OR IGNORE INTO raw_tiles VALUES (?, ?, ?, ?, ?, ?)",
        (object_id, action, *place, full, None if tile is None else tile.bits),
    )


def get(db: sqlite3.Connection, stored: StoredObject) -> Tiles:
    """The tiles of an object's mask that cleaning has changed, as they were."""
    rows = db.execute(
        'SELECT "row", "column", "full", bits FROM raw_tiles WHERE object_id = ? AND action_id = ?',
        (stored.id, stored.action_id),
    )
    return {(row, column): None if full is None else MaskTile(row, column, bits) for row, column, full, bits in rows}


def drawn_on_since(db: sqlite3.Connection, stored: StoredObject) -> bool:
    """Whether something else than cleaning has changed an object's pixels since it got its mask."""
    row = db.execute(
        """SELECT 1 FROM replaced_tiles AS k JOIN actions AS a ON a.id = k.action_id
        WHERE k.object_id = ? AND k.action_id > ? AND a.state = 'done' AND a.kind != 'cleaning' LIMIT 1""",
        (stored.id, stored.action_id),
    ).fetchone()
    return row is not None


def hand_on(db: sqlite3.Connection, action: int, stored: StoredObject) -> None:
    """An object gets another action for the same mask (a proposal is accepted): remember its raw tiles under that one,
    too, unless it was drawn on since and nobody wants them back."""
    if not drawn_on_since(db, stored):
        for place, tile in get(db, stored).items():
            insert(db, action, stored.id, place, tile)

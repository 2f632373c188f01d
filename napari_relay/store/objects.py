"""Rows of objects and mask tiles: written and found. Every function runs in a transaction that the caller opened."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from napari_relay.errors import UsageError
from napari_relay.geometry import Box, Plane
from napari_relay.store.schema import TILE
from napari_relay.store.tiles import MaskTile
from napari_relay.store.values import Change, Mask, StoredObject

RENDERED = "o.live = 1 AND o.state NOT IN ('proposed', 'rejected')"
"""SQL: the object `o` is part of the label pyramid and of exports."""

COLUMNS = """o.id, c.name, o.y0, o.x0, o.y1, o.x1, o.t, o.z, o.area, o.state, o.score, o.seconds, o.checkpoint,
    o.author, o.created, o.n_clicks, o.note, o.action_id"""

MOST_BOXES = 1000
"""A change of more objects than this is told with one box a plane, round them all."""

ReadMask = Callable[[StoredObject, Box], Mask]


def mask_columns(box: Box, mask: Mask) -> dict[str, Any]:
    """The columns of an object that follow from its mask."""
    return {"y0": box.y0, "x0": box.x0, "y1": box.y1, "x1": box.x1, "area": int(np.count_nonzero(mask))}


def get_columns(db: sqlite3.Connection, object_id: int, names: Sequence[str]) -> dict[str, Any]:
    """Some columns of an object, as they are."""
    row = db.execute(f"SELECT {', '.join(names)} FROM objects WHERE id = ?", (object_id,)).fetchone()
    return dict(zip(names, row, strict=True))


def insert_object(db: sqlite3.Connection, values: dict[str, Any], tiles: Iterable[MaskTile]) -> int:
    """Add an object with its tiles; returns its id."""
    names = ", ".join(values)
    marks = ", ".join(f":{name}" for name in values)
    object_id = db.execute(f"INSERT INTO objects ({names}) VALUES ({marks})", values).lastrowid
    assert object_id is not None
    insert_tiles(db, object_id, tiles)
    return object_id


def insert_tiles(db: sqlite3.Connection, object_id: int, tiles: Iterable[MaskTile]) -> None:
    db.executemany(
        'INSERT INTO tiles (object_id, "row", "column", "full", bits) VALUES (?, ?, ?, ?, ?)',
        ((object_id, tile.row, tile.column, int(tile.bits is None), tile.bits) for tile in tiles),
    )


def mark_dirty(db: sqlite3.Connection, ids: Iterable[int], stamp: int) -> None:
    """Remember every tile of these objects for the label pyramid. `stamp` is the action that caused it: a tile is
    forgotten only by whoever rendered it at that stamp."""
    db.execute(
        """INSERT INTO dirty_tiles (t, z, "row", "column", stamp)
        SELECT DISTINCT o.t, o.z, i."row", i."column", ?
        FROM json_each(?) AS ids JOIN objects AS o ON o.id = ids.value JOIN tiles AS i ON i.object_id = o.id
        WHERE true
        ON CONFLICT DO UPDATE SET stamp = excluded.stamp""",
        (stamp, json.dumps(list(ids))),
    )


def get_tiles(db: sqlite3.Connection, object_id: int, box: Box) -> list[MaskTile]:
    """The tiles of one object that meet a level-0 box."""
    if box.empty:
        return []
    rows = db.execute(
        """SELECT "row", "column", bits FROM tiles
        WHERE object_id = ? AND "row" BETWEEN ? AND ? AND "column" BETWEEN ? AND ?""",
        (object_id, box.y0 // TILE, (box.y1 - 1) // TILE, box.x0 // TILE, (box.x1 - 1) // TILE),
    )
    return [MaskTile(*row) for row in rows]


def get_all_tiles(db: sqlite3.Connection, object_id: int) -> list[MaskTile]:
    """Every tile of one object."""
    rows = db.execute('SELECT "row", "column", bits FROM tiles WHERE object_id = ?', (object_id,))
    return [MaskTile(*row) for row in rows]


def find_ids(db: sqlite3.Connection, box: Box, plane: Plane | None) -> list[int]:
    """Ids of the live objects whose box meets `box`, ascending."""
    condition = "y0 < ? AND y1 > ? AND x0 < ? AND x1 > ?"
    values = [box.y1, box.y0, box.x1, box.x0]
    if plane is not None:
        condition += " AND t0 = ? AND z0 = ?"
        values += [plane.t, plane.z]
    return sorted(row[0] for row in db.execute(f"SELECT id FROM object_boxes WHERE {condition}", values))


def find_rendered(db: sqlite3.Connection, box: Box, plane: Plane) -> list[tuple[int, Box]]:
    """(id, box) of the objects that the label pyramid shows in `box`, bottom first."""
    rows = db.execute(
        f"""SELECT o.id, o.y0, o.x0, o.y1, o.x1
        FROM object_boxes AS b JOIN objects AS o ON o.id = b.id
        WHERE b.y0 < ? AND b.y1 > ? AND b.x0 < ? AND b.x1 > ? AND b.t0 = ? AND b.z0 = ? AND {RENDERED}
        ORDER BY o.action_id, o.id""",
        (box.y1, box.y0, box.x1, box.x0, plane.t, plane.z),
    )
    return [(row[0], Box(*row[1:])) for row in rows]


def find_shown(db: sqlite3.Connection, box: Box, plane: Plane | None) -> list[int]:
    """Ids of the objects of one plane or all that the label pyramid shows, whose box meets `box`, ascending."""
    shown = db.execute(
        f"""SELECT id FROM objects AS o WHERE {RENDERED} AND id IN (SELECT value FROM json_each(?)) ORDER BY id""",
        (json.dumps(find_ids(db, box, plane)),),
    )
    return [row[0] for row in shown]


def occupied_tiles(db: sqlite3.Connection, box: Box, plane: Plane) -> list[tuple[int, int]]:
    """(row, column) of the tiles that meet `box` and hold a pixel of an object that the label pyramid shows."""
    rows = db.execute(
        f"""SELECT DISTINCT i."row", i."column"
        FROM object_boxes AS b JOIN objects AS o ON o.id = b.id JOIN tiles AS i ON i.object_id = o.id
        WHERE b.y0 < ? AND b.y1 > ? AND b.x0 < ? AND b.x1 > ? AND b.t0 = ? AND b.z0 = ? AND {RENDERED}
            AND i."row" BETWEEN ? AND ? AND i."column" BETWEEN ? AND ? ORDER BY 1, 2""",
        (box.y1, box.y0, box.x1, box.x0, plane.t, plane.z, box.y0 // TILE, (box.y1 - 1) // TILE, box.x0 // TILE,
         (box.x1 - 1) // TILE),
    )  # fmt: skip
    return rows.fetchall()


def get_objects(db: sqlite3.Connection, ids: Sequence[int], read_mask: ReadMask) -> list[StoredObject]:
    """The live objects among `ids`, by id."""
    rows = db.execute(
        f"""SELECT {COLUMNS} FROM objects AS o JOIN classes AS c ON c.id = o.class_id
        WHERE o.id IN (SELECT value FROM json_each(?)) AND o.live = 1 ORDER BY o.id""",
        (json.dumps([int(i) for i in ids]),),
    )
    return [_object(row, read_mask) for row in rows]


def get_page(
    db: sqlite3.Connection, after: int, plane: Plane | None, count: int, read_mask: ReadMask
) -> list[StoredObject]:
    """The next `count` live objects with an id above `after`."""
    where, values = "", []
    if plane is not None:
        where, values = "AND o.t = ? AND o.z = ?", [plane.t, plane.z]
    rows = db.execute(
        f"""SELECT {COLUMNS} FROM objects AS o JOIN classes AS c ON c.id = o.class_id
        WHERE o.id > ? AND o.live = 1 {where} ORDER BY o.id LIMIT ?""",
        (after, *values, count),
    )
    return [_object(row, read_mask) for row in rows]


def require_live(db: sqlite3.Connection, ids: Iterable[int]) -> list[int]:
    """The given ids, sorted, each once.

    Raises
    ------
    UsageError
        One of them is no object, or a deleted one, or there are none.
    """
    wanted = sorted({int(i) for i in ids})
    if not wanted:
        raise UsageError("No object was named.", "Select one or more first.")
    found = {
        row[0]
        for row in db.execute(
            "SELECT id FROM objects WHERE live = 1 AND id IN (SELECT value FROM json_each(?))", (json.dumps(wanted),)
        )
    }
    missing = [i for i in wanted if i not in found]
    if missing:
        raise UsageError(f"The project has no object {missing[0]}.", "List its objects to see the ids it has.")
    return wanted


def changes_of(db: sqlite3.Connection, ids: Iterable[int], kind: str) -> list[Change]:
    """What to tell of a change of these objects, live or not: one a plane; one of no object where there is none."""
    wanted = json.dumps(sorted(ids))
    planes: dict[Plane, list[int]] = {}
    boxes: dict[Plane, list[Box]] = {}
    here = "FROM objects WHERE id IN (SELECT value FROM json_each(?))"
    for object_id, t, z in db.execute(f"SELECT id, t, z {here} ORDER BY id", (wanted,)):
        planes.setdefault(Plane(t, z), []).append(object_id)
    columns, tail = "y0, x0, y1, x1", "ORDER BY id"
    if sum(map(len, planes.values())) > MOST_BOXES:
        columns, tail = "min(y0), min(x0), max(y1), max(x1)", "GROUP BY t, z"
    for t, z, *box in db.execute(f"SELECT t, z, {columns} {here} {tail}", (wanted,)):
        boxes.setdefault(Plane(t, z), []).append(Box(*box))
    changes = [Change(tuple(boxes[plane]), plane, tuple(members), kind) for plane, members in planes.items()]
    return changes or [Change((), Plane(), (), kind)]


def _object(row: tuple[Any, ...], read_mask: ReadMask) -> StoredObject:
    object_id, name, y0, x0, y1, x1, t, z, *rest = row
    return StoredObject(object_id, name, Box(y0, x0, y1, x1), Plane(t, z), *rest, read_mask)  # type: ignore[call-arg]


def ids_by_value(db: sqlite3.Connection, column: str, ids: Iterable[int]) -> dict[Any, list[int]]:
    """The given objects' ids, grouped by what stands in a column."""
    groups: dict[Any, list[int]] = {}
    rows = db.execute(
        f'SELECT "{column}", id FROM objects WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id',
        (json.dumps(list(ids)),),
    )
    for value, object_id in rows:
        groups.setdefault(value, []).append(object_id)
    return groups


def get_colors(db: sqlite3.Connection, ids: Iterable[int] | None = None) -> list[tuple[int, str, str]]:
    """(id, class name, colour) of every object that the label pyramid shows, or of those among `ids`, by id."""
    some = "" if ids is None else "AND o.id IN (SELECT value FROM json_each(?))"
    return db.execute(
        f"""SELECT o.id, c.name, c.color FROM objects AS o JOIN classes AS c ON c.id = o.class_id
        WHERE {RENDERED} {some} ORDER BY o.id""",
        () if ids is None else (json.dumps(list(ids)),),
    ).fetchall()

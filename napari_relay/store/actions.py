"""The history of a project: what was done, what it replaced, and the way back.

An action records for every object or class it touches the columns that changed, as they were and as they became,
both as JSON; an edited mask leaves the tiles it replaced. Undoing an action writes the old values back, redoing it
the new ones. Undo goes down the `done` actions from the newest; redo goes up the `undone` ones from the oldest; a
new action turns the undone ones into `abandoned` ones, which stay in the table but can no longer be redone. Undo
and redo are actions too (state `log`). Every function runs in a transaction that the caller opened.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

from napari_relay import __version__
from napari_relay.errors import UsageError
from napari_relay.geometry import Click
from napari_relay.store.objects import get_all_tiles, insert_tiles, mark_dirty
from napari_relay.store.provenance import (
    clicks_from_json,
    clicks_to_json,
    now,
    user_name,
    views_from_json,
    views_to_json,
)
from napari_relay.store.tiles import MaskTile
from napari_relay.store.values import Action, Actor
from napari_relay.views.values import ViewPair

PROGRAM = f"napari-relay {__version__}"

_COLUMNS = {
    "object": {
        "live", "state", "class_id", "y0", "x0", "y1", "x1", "area", "action_id", "n_clicks", "score", "seconds",
        "checkpoint", "note",
    },
    "class": {"live", "name", "color", "key", "parent_id", "position"},
}  # fmt: skip
_TABLE = {"object": "objects", "class": "classes"}
_VISIBLE = {"live", "action_id"}
"""Columns whose change alters all of an object in the label pyramid; the state does where it hides or shows it."""
_HIDDEN = ("proposed", "rejected")


def begin_action(
    db: sqlite3.Connection,
    kind: str,
    summary: str,
    *,
    checkpoint: str | None = None,
    clicks: Iterable[Click] = (),
    views: ViewPair | None = None,
    actor: Actor = Actor.USER,
) -> int:
    """Add an action to the history and give up what could have been redone; returns its id."""
    db.execute("UPDATE actions SET state = 'abandoned' WHERE state = 'undone'")
    return _insert(
        db, kind, "done", summary, checkpoint=checkpoint, clicks=clicks_to_json(clicks), views=views_to_json(views),
        actor=actor,
    )  # fmt: skip


def log_action(db: sqlite3.Connection, kind: str, summary: str, checkpoint: str | None = None) -> None:
    """Record something that cannot be undone and does not touch what can be redone."""
    _insert(db, kind, "log", summary, checkpoint=checkpoint)


def set_summary(db: sqlite3.Connection, action: int, summary: str) -> None:
    """Say what an action did, where that is known only afterwards."""
    db.execute("UPDATE actions SET summary = ? WHERE id = ?", (summary, action))


def record_change(
    db: sqlite3.Connection, action: int, entity: str, ids: Iterable[int], before: dict[str, Any], after: dict[str, Any]
) -> None:
    """Record that the action gives these rows other values; `apply` writes them."""
    old, new = json.dumps(before, sort_keys=True), json.dumps(after, sort_keys=True)
    db.executemany(
        """INSERT INTO changes (action_id, entity, entity_id, "before", "after") VALUES (?, ?, ?, ?, ?)""",
        ((action, entity, i, old, new) for i in ids),
    )


def add_change(
    db: sqlite3.Connection, action: int, object_id: int, before: dict[str, Any], after: dict[str, Any]
) -> None:
    """Record and write at once that the action gives an object other values, perhaps on top of an earlier change by
    the same action. No value may be None."""
    db.execute(
        """INSERT INTO changes (action_id, entity, entity_id, "before", "after") VALUES (?, 'object', ?, ?, ?)
        ON CONFLICT DO UPDATE SET "before" = json_patch(excluded."before", "before"),
            "after" = json_patch("after", excluded."after")""",
        (action, object_id, json.dumps(before, sort_keys=True), json.dumps(after, sort_keys=True)),
    )
    columns = ", ".join(f'"{name}" = :{name}' for name in after)
    db.execute(f"UPDATE objects SET {columns} WHERE id = :_id", {**after, "_id": object_id})


def apply(db: sqlite3.Connection, action: int, side: str, stamp: int) -> None:
    """Write the `before` or `after` values of an action's changes, and note the tiles that look different then."""
    assert side in ("before", "after")
    mark_dirty(db, _visible_ids(db, action), stamp)
    _mark_replaced(db, action, stamp)
    patches: dict[tuple[str, str], list[int]] = {}
    for entity, text, entity_id in db.execute(
        f'SELECT entity, "{side}", entity_id FROM changes WHERE action_id = ?', (action,)
    ):
        patches.setdefault((entity, text), []).append(entity_id)
    for (entity, text), ids in patches.items():
        patch = json.loads(text)
        unknown = set(patch) - _COLUMNS[entity]
        assert not unknown, unknown
        columns = ", ".join(f'"{name}" = :{name}' for name in patch)
        db.execute(
            f"UPDATE {_TABLE[entity]} SET {columns} WHERE id IN (SELECT value FROM json_each(:_ids))",
            {**patch, "_ids": json.dumps(ids)},
        )


def replace_tiles(db: sqlite3.Connection, action: int, object_id: int, new: Iterable[MaskTile]) -> None:
    """Give an object other mask tiles; the action keeps those that differ."""
    old = {(t.row, t.column) for t in get_all_tiles(db, object_id)}
    fresh: dict[tuple[int, int], MaskTile | None] = {(t.row, t.column): t for t in new}
    put_tiles(db, action, object_id, dict.fromkeys(old) | fresh)


def put_tiles(
    db: sqlite3.Connection, action: int, object_id: int, new: Mapping[tuple[int, int], MaskTile | None]
) -> None:
    """Put other mask tiles into some places (row, column) of an object, or none; the action keeps what differs."""
    here = 'object_id = ? AND "row" = ? AND "column" = ?'
    for place, tile in new.items():
        old = db.execute(f'SELECT "full", bits FROM tiles WHERE {here}', (object_id, *place)).fetchone()
        if (old is None) == (tile is None) and (old is None or tile is None or old[1] == tile.bits):
            continue
        db.execute(
            # Ignored where the same action has replaced it before: what was there first counts.
            "INSERT OR IGNORE INTO replaced_tiles VALUES (?, ?, ?, ?, ?, ?)",
            (action, object_id, *place, *(old or (None, None))),
        )
        db.execute(f"DELETE FROM tiles WHERE {here}", (object_id, *place))
        if tile is not None:
            insert_tiles(db, object_id, [tile])


def swap_tiles(db: sqlite3.Connection, action: int) -> None:
    """Exchange the tiles that an action keeps with those of its objects: undoes it, and done twice redoes it."""
    rows = db.execute(
        """SELECT k."full", k.bits, i."full", i.bits, k.object_id, k."row", k."column"
        FROM replaced_tiles AS k LEFT JOIN tiles AS i USING (object_id, "row", "column") WHERE k.action_id = ?""",
        (action,),
    ).fetchall()
    here = 'object_id = ? AND "row" = ? AND "column" = ?'
    db.executemany(f"DELETE FROM tiles WHERE {here}", [row[4:] for row in rows])
    db.executemany(
        'INSERT INTO tiles ("full", bits, object_id, "row", "column") VALUES (?, ?, ?, ?, ?)',
        [(*row[:2], *row[4:]) for row in rows if row[0] is not None],
    )
    db.executemany(
        f'UPDATE replaced_tiles SET "full" = ?, bits = ? WHERE {here} AND action_id = ?',
        [(*row[2:], action) for row in rows],
    )


def undo(db: sqlite3.Connection) -> Action | None:
    """Take the newest done action back; None when there is none."""
    return _step(db, "done", "undone", "before", "undo", "SELECT max(id) FROM actions WHERE state = 'done'")


def redo(db: sqlite3.Connection) -> Action | None:
    """Do the oldest undone action again; None when there is none."""
    return _step(db, "undone", "done", "after", "redo", "SELECT min(id) FROM actions WHERE state = 'undone'")


def jump(db: sqlite3.Connection, target: int) -> list[int]:
    """Undo or redo until `target` is the newest action that is done (0: until none is); the ids walked over.

    Raises
    ------
    UsageError
        It is no action, or one that can be neither undone nor redone.
    """
    row = db.execute("SELECT state, kind FROM actions WHERE id = ?", (target,)).fetchone()
    if target != 0 and (row is None or row[0] not in ("done", "undone")):
        reason = "does not exist" if row is None else f"is {row[1] if row[0] == 'log' else row[0]}"
        raise UsageError(f"Action {target} of the history {reason}.", "Choose one that is done or undone, or 0.")
    kind, query = ("redo", "undone") if row is not None and row[0] == "undone" else ("undo", "done")
    condition = "<= ?" if kind == "redo" else "> ?"
    steps = db.execute(f"SELECT count(*) FROM actions WHERE state = ? AND id {condition}", (query, target)).fetchone()
    walked = [undo(db) if kind == "undo" else redo(db) for _ in range(steps[0])]
    return [action.id for action in walked if action is not None]


def has_done(db: sqlite3.Connection) -> bool:
    return bool(db.execute("SELECT EXISTS (SELECT 1 FROM actions WHERE state = 'done')").fetchone()[0])


def has_undone(db: sqlite3.Connection) -> bool:
    return bool(db.execute("SELECT EXISTS (SELECT 1 FROM actions WHERE state = 'undone')").fetchone()[0])


def get_action(db: sqlite3.Connection, action: int) -> Action:
    return _actions(db, "WHERE id = ?", (action,))[0]


def get_history(db: sqlite3.Connection, limit: int | None, *, everything: bool) -> list[Action]:
    """The newest actions first; without `everything` only those that can be undone or redone."""
    where = "" if everything else "WHERE state IN ('done', 'undone')"
    return _actions(db, f"{where} ORDER BY id DESC LIMIT ?", (-1 if limit is None else limit,))


def get_origin(db: sqlite3.Connection, object_id: int) -> tuple[tuple[Click, ...], ViewPair | None]:
    """The clicks and views of the action that gave an object its mask."""
    row = db.execute(
        "SELECT a.clicks, a.views FROM objects AS o JOIN actions AS a ON a.id = o.action_id WHERE o.id = ?",
        (object_id,),
    ).fetchone()
    return (clicks_from_json(row[0]), views_from_json(row[1])) if row else ((), None)


def changed_objects(db: sqlite3.Connection, action: int) -> list[int]:
    """Ids of the objects that an action touches."""
    rows = db.execute(
        "SELECT entity_id FROM changes WHERE action_id = ? AND entity = 'object' ORDER BY entity_id", (action,)
    )
    return [row[0] for row in rows]


def _step(db: sqlite3.Connection, old: str, new: str, side: str, kind: str, query: str) -> Action | None:
    target = db.execute(query).fetchone()[0]
    if target is None:
        return None
    summary = db.execute("SELECT summary FROM actions WHERE id = ?", (target,)).fetchone()[0]
    stamp = _insert(db, kind, "log", f"{kind}: {summary}", target=target)
    db.execute("UPDATE actions SET state = ? WHERE id = ? AND state = ?", (new, target, old))
    swap_tiles(db, target)
    apply(db, target, side, stamp)
    return get_action(db, target)


def _visible_ids(db: sqlite3.Connection, action: int) -> list[int]:
    rows = db.execute(
        """SELECT entity_id, "before", "after" FROM changes WHERE action_id = ? AND entity = 'object'""", (action,)
    ).fetchall()
    different = {texts: _looks_different(*map(json.loads, texts)) for texts in {row[1:] for row in rows}}
    return [row[0] for row in rows if different[row[1:]]]


def _mark_replaced(db: sqlite3.Connection, action: int, stamp: int) -> None:
    """Remember the tiles that an action replaced, gone ones too, for the label pyramid."""
    db.execute(
        """INSERT INTO dirty_tiles (t, z, "row", "column", stamp)
        SELECT DISTINCT o.t, o.z, k."row", k."column", ?
        FROM replaced_tiles AS k JOIN objects AS o ON o.id = k.object_id
        WHERE k.action_id = ?
        ON CONFLICT DO UPDATE SET stamp = excluded.stamp""",
        (stamp, action),
    )


def _looks_different(before: dict[str, Any], after: dict[str, Any]) -> bool:
    if "state" in after and (before["state"] in _HIDDEN) != (after["state"] in _HIDDEN):
        return True
    return bool(_VISIBLE & set(after))


def _insert(
    db: sqlite3.Connection,
    kind: str,
    state: str,
    summary: str,
    *,
    target: int | None = None,
    checkpoint: str | None = None,
    clicks: str | None = None,
    views: str | None = None,
    actor: Actor = Actor.USER,
) -> int:
    cursor = db.execute(
        """INSERT INTO actions
            (kind, state, target_id, summary, created, author, program, checkpoint, clicks, views, actor)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (kind, state, target, summary, now(), user_name(), PROGRAM, checkpoint, clicks, views, actor),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def _actions(db: sqlite3.Connection, tail: str, values: tuple[Any, ...]) -> list[Action]:
    rows = db.execute(
        f"""SELECT id, kind, state, summary, created, author, program, checkpoint, target_id,
            (SELECT count(*) FROM changes WHERE action_id = actions.id AND entity = 'object'), clicks, actor
        FROM actions {tail}""",
        values,
    )
    return [Action(*row[:10], clicks_from_json(row[10]), row[11]) for row in rows]  # type: ignore[call-arg]

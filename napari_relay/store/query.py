"""Which objects, in what order: for a table that shows a million of them a page at a time.

Every function runs in a transaction that the caller opened.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_relay.geometry import Box, Plane
from napari_relay.store import objects

Ids = npt.NDArray[np.int64]

_SLICE = 1 << 17
"""Bytes of ids turned into numbers at a time (1 ms): a thread that must not wait gets its turn between two."""


class Order(StrEnum):
    """What objects are sorted by; equal ones by id."""

    ID = "id"
    CLASS = "class"
    STATE = "state"
    POSITION = "position"
    AREA = "area"
    CLICKS = "clicks"
    SECONDS = "seconds"
    SCORE = "score"
    AUTHOR = "author"
    CREATED = "created"
    CHECKPOINT = "checkpoint"
    NOTE = "note"
    DOUBT = "doubt"
    """Of proposals: those without a score, then the lowest score first."""


_TERMS = {
    Order.ID: ("o.id",),
    Order.CLASS: ("c.name",),
    Order.STATE: ("o.state",),
    Order.POSITION: ("o.t", "o.z", "o.y0", "o.x0"),
    Order.AREA: ("o.area",),
    Order.CLICKS: ("o.n_clicks",),
    Order.SECONDS: ("o.seconds",),
    Order.SCORE: ("o.score",),
    Order.AUTHOR: ("o.author",),
    Order.CREATED: ("o.created",),
    Order.CHECKPOINT: ("o.checkpoint",),
    Order.NOTE: ("o.note",),
    Order.DOUBT: ("o.score",),
}


_CLASSES = """o.class_id IN (
    WITH RECURSIVE below(id) AS (
        SELECT id FROM classes WHERE live = 1 AND name IN ({})
        UNION SELECT c.id FROM classes AS c JOIN below ON c.parent_id = below.id WHERE c.live = 1)
    SELECT id FROM below)"""
"""SQL: the class of object `o` is one of some, or lies below one."""


@dataclass(frozen=True, slots=True)
class ObjectFilter:
    """Which objects; what is None or empty does not count. A class stands for those below it, too.

    `text` is looked for in note, author and class name, large and small letters alike.
    """

    class_names: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    box: Box | None = None
    plane: Plane | None = None
    text: str = ""


def find(db: sqlite3.Connection, wanted: ObjectFilter, order: Order, *, descending: bool) -> Ids:
    """Ids of the live objects that the filter lets through, sorted; int64 [n]."""
    where, values = _conditions(db, wanted)
    direction = "DESC" if descending else "ASC"
    terms = ", ".join(f"{term} {direction}" for term in dict.fromkeys((*_TERMS[order], "o.id")))
    # One string instead of a row an id: a row costs the interpreter's lock, which the window's thread needs too.
    # (SQLite keeps the order of a subquery for an aggregate that depends on it.)
    text = db.execute(
        f"""SELECT group_concat(id) FROM (
            SELECT o.id FROM objects AS o JOIN classes AS c ON c.id = o.class_id
            WHERE o.live = 1 {where} ORDER BY {terms})""",
        values,
    ).fetchone()[0]
    return _numbers(text or "")


def get_totals(db: sqlite3.Connection) -> dict[tuple[str, str], int]:
    """How many live objects there are, by class name and state."""
    rows = db.execute(
        """SELECT c.name, s.state, s.n FROM totals AS s JOIN classes AS c ON c.id = s.class_id
        WHERE s.n > 0 ORDER BY c.position, c.id"""
    )
    return {(name, state): n for name, state, n in rows}


def _conditions(db: sqlite3.Connection, wanted: ObjectFilter) -> tuple[str, list[Any]]:
    terms: list[str] = []
    values: list[Any] = []
    for term, names in ((_CLASSES, wanted.class_names), ("o.state IN ({})", wanted.states)):
        if names:
            terms.append(term.format(", ".join("?" for _ in names)))
            values += names
    if wanted.plane is not None:
        terms.append("o.t = ? AND o.z = ?")
        values += [wanted.plane.t, wanted.plane.z]
    if wanted.box is not None:
        terms.append("o.id IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(objects.find_ids(db, wanted.box, wanted.plane)))
    if wanted.text.strip():
        pattern = "%" + _escaped(wanted.text.strip()) + "%"
        columns: Sequence[str] = ("o.note", "o.author", "c.name")
        terms.append("(" + " OR ".join(f"{column} LIKE ? ESCAPE '\\'" for column in columns) + ")")
        values += [pattern] * len(columns)
    return "".join(f" AND {term}" for term in terms), values


def _escaped(text: str) -> str:
    """The text with LIKE's own signs taken literally."""
    for sign in "\\%_":
        text = text.replace(sign, "\\" + sign)
    return text


def _numbers(text: str) -> Ids:
    """`1,2,3` -> int64 [3]."""
    parts, start = [], 0
    while start < len(text):
        end = text.find(",", start + _SLICE)
        end = len(text) if end < 0 else end
        parts.append(np.fromstring(text[start:end], np.int64, sep=","))
        start = end + 1
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)

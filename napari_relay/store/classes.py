"""The classes of a project. Every function runs in a transaction that the caller opened."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence

from napari_relay.errors import UsageError
from napari_relay.store.actions import record_change
from napari_relay.store.values import ClassInfo, ClassSpec

FIRST_CLASS = "object"
"""The class that a new project starts with."""

PALETTE = (
    "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#8dd3c7", "#bebada", "#fb8072",
    "#b3de69", "#fccde5",
)  # fmt: skip
"""Colours of new classes, in turn; the first seven are Okabe and Ito's, told apart by colour-blind people too."""

KEYS = "1234567890"
"""Keys that choose a class, in the order in which they are given to new ones."""

_COLUMNS = "id, name, color, key, parent_id"


def get_classes(db: sqlite3.Connection) -> list[ClassInfo]:
    rows = db.execute(f"SELECT {_COLUMNS} FROM classes WHERE live = 1 ORDER BY position, id")
    return [ClassInfo(*row) for row in rows]


def find_class(db: sqlite3.Connection, name: str) -> ClassInfo | None:
    row = db.execute(f"SELECT {_COLUMNS} FROM classes WHERE live = 1 AND name = ?", (name,)).fetchone()
    return ClassInfo(*row) if row else None


def add_class(
    db: sqlite3.Connection, action: int | None, name: str, color: str | None = None, *, key: str | None = None
) -> ClassInfo:
    """Make a class with the next free colour (or `color`, `#rrggbb`) and digit (or `key`); undoing `action` takes it
    away again."""
    position = db.execute("SELECT count(*) FROM classes WHERE live = 1").fetchone()[0]
    taken = {row[0] for row in db.execute("SELECT key FROM classes WHERE live = 1")}
    key = next((digit for digit in KEYS if digit not in taken), "") if key is None else key
    color = checked_color(color) if color else PALETTE[position % len(PALETTE)]
    class_id = db.execute(
        "INSERT INTO classes (name, color, key, position) VALUES (?, ?, ?, ?)",
        (name, color, key, position),
    ).lastrowid
    assert class_id is not None
    if action is not None:
        record_change(db, action, "class", [class_id], {"live": 0}, {"live": 1})
    return ClassInfo(class_id, name, color, key)


def current_class(db: sqlite3.Connection) -> str:
    """The chosen class; the first one when the chosen one has been undone."""
    row = db.execute("SELECT value FROM project WHERE key = 'current_class'").fetchone()
    if row and find_class(db, row[0]):
        return str(row[0])
    first = get_classes(db)
    return first[0].name if first else FIRST_CLASS


def checked_color(color: str) -> str:
    """The colour in small letters.

    Raises
    ------
    UsageError
        It is not of the form `#rrggbb`.
    """
    if not re.fullmatch("#[0-9a-fA-F]{6}", color):
        raise UsageError(f"{color!r} is not a colour.", "Write it as #rrggbb.")
    return color.lower()


def checked_name(name: str) -> str:
    """The name without surrounding blanks.

    Raises
    ------
    UsageError
        It is empty or has control characters.
    """
    cleaned = name.strip()
    if not cleaned or not cleaned.isprintable():
        raise UsageError(f"{name!r} cannot be a class name.", "Give a name of at least one printable character.")
    return cleaned


def checked_key(key: str) -> str:
    """The key itself.

    Raises
    ------
    UsageError
        It is neither empty nor one digit.
    """
    if key not in ("", *KEYS):
        raise UsageError(f"{key!r} cannot be the key of a class.", "Take one digit, or none.")
    return key


def as_tree(specs: Sequence[ClassSpec]) -> list[tuple[int, ClassSpec]]:
    """(depth, class) of each class, those below another right after it, else in the order given."""
    names = {spec.name for spec in specs}
    found: list[tuple[int, ClassSpec]] = []

    def walk(parent: str, depth: int) -> None:
        for spec in specs:
            if (spec.parent if spec.parent in names else "") == parent:
                found.append((depth, spec))
                walk(spec.name, depth + 1)

    walk("", 0)
    return found

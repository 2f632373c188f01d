"""A job's own file: the plan, which tasks are done, and what they found. It lies in the job's folder beside the project
until the result is in the project; one process writes it.

SQLite, so that a task and what it found are there together or not at all, and so that candidates of an image of any
size are found by place without holding them in memory.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np

from napari_relay.errors import StorageError
from napari_relay.fullimage.candidates import Candidate
from napari_relay.fullimage.plan import Place
from napari_relay.geometry import Box
from napari_relay.session.region import PackedMask

NAME = "job.sqlite"
TILES, JOINED, SEAMS = "tiles", "joined", "seams"
"""Kinds of candidates: as the views gave them, unions over seams, those seen again in their own window."""

_TABLES = """
CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS done (task TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS candidates (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, step INTEGER NOT NULL, "row" INTEGER NOT NULL,
    "column" INTEGER NOT NULL, number INTEGER NOT NULL, y0 INTEGER NOT NULL, x0 INTEGER NOT NULL,
    y1 INTEGER NOT NULL, x1 INTEGER NOT NULL, score REAL NOT NULL, cut INTEGER NOT NULL, mask BLOB NOT NULL,
    vector BLOB, kept INTEGER NOT NULL DEFAULT 0, UNIQUE (kind, step, "row", "column", number)
);
CREATE VIRTUAL TABLE IF NOT EXISTS boxes USING rtree_i32(id, y0, y1, x0, x1);
CREATE TRIGGER IF NOT EXISTS candidate_added AFTER INSERT ON candidates BEGIN
    INSERT INTO boxes VALUES (new.id, new.y0, new.y1, new.x0, new.x1);
END;
"""
_COLUMNS = 'step, "row", "column", number, y0, x0, y1, x1, score, cut, mask, vector'
_ORDER = 'step, "row", "column", number'


class JobFile:
    """Open from construction to `close`; a context manager. Methods may be called from any thread, one at a time."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self._lock = threading.RLock()
        try:
            self._db = sqlite3.connect(folder / NAME, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            # What a crash of the machine takes back is computed again; the program's own end takes nothing.
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.executescript(_TABLES)
        except sqlite3.Error as error:
            raise StorageError(
                f"The unfinished job in {folder} cannot be used: {error}.", "Remove that folder, then start anew."
            ) from error

    # -- facts and tasks ---------------------------------------------------------------------------------------

    def fact(self, key: str) -> Any:
        """A JSON value by its key, or None."""
        with self._lock:
            row = self._db.execute("SELECT value FROM facts WHERE key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def set_fact(self, key: str, value: Any) -> None:
        with self._lock:
            self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (key, json.dumps(value, sort_keys=True)))

    def done(self) -> set[str]:
        """Names of the tasks that are done."""
        with self._lock:
            return {row[0] for row in self._db.execute("SELECT task FROM done")}

    def finish(self, task: str, kind: str = TILES, found: Iterable[Candidate] = ()) -> None:
        """Record that a task is done, with what it found, in one transaction."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._add(kind, found)
                self._db.execute("INSERT OR IGNORE INTO done VALUES (?)", (task,))
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    # -- candidates --------------------------------------------------------------------------------------------

    def _add(self, kind: str, found: Iterable[Candidate]) -> None:
        for one in found:
            packed = PackedMask.pack(one.mask)
            vector = None if one.vector is None else one.vector.astype("<f4").tobytes()
            box = one.box
            self._db.execute(
                f"INSERT OR REPLACE INTO candidates (kind, {_COLUMNS}) VALUES ({', '.join('?' * 13)})",
                (kind, one.place.step, one.place.row, one.place.column, one.number, box.y0, box.x0, box.y1, box.x1,
                 one.score, int(one.cut), packed.bits, vector),
            )  # fmt: skip

    def candidates(self, kind: str, condition: str = "", *values: object) -> Iterator[tuple[int, Candidate]]:
        """(id, candidate) of one kind, by place; read in pages."""
        last: tuple[object, ...] = (-(1 << 40), 0, 0, 0)
        while True:
            with self._lock:
                rows = self._db.execute(
                    f"""SELECT id, {_COLUMNS} FROM candidates WHERE kind = ? AND ({_ORDER}) > (?, ?, ?, ?) {condition}
                    ORDER BY {_ORDER} LIMIT 200""",
                    (kind, *last, *values),
                ).fetchall()
            for row in rows:
                yield row[0], _candidate(row[1:])
            if len(rows) < 200:
                return
            last = rows[-1][1:5]

    def near(self, kinds: tuple[str, ...], box: Box, condition: str = "") -> list[tuple[int, Candidate]]:
        """(id, candidate) of those whose box meets `box`, by place."""
        marks = ", ".join("?" * len(kinds))
        columns = ", ".join(f"c.{name.strip()}" for name in _COLUMNS.split(","))
        with self._lock:
            rows = self._db.execute(
                f"""SELECT c.id, {columns} FROM boxes AS b JOIN candidates AS c ON c.id = b.id
                WHERE b.y0 < ? AND b.y1 > ? AND b.x0 < ? AND b.x1 > ? AND c.kind IN ({marks}) {condition}
                ORDER BY c.step, c."row", c."column", c.number, c.kind""",
                (box.y1, box.y0, box.x1, box.x0, *kinds),
            ).fetchall()
        return [(row[0], _candidate(row[1:])) for row in rows]

    def ranked(self, kinds: tuple[str, ...], condition: str = "") -> list[int]:
        """Ids of these kinds, the highest score first."""
        marks = ", ".join("?" * len(kinds))
        with self._lock:
            rows = self._db.execute(
                f"""SELECT id FROM candidates WHERE kind IN ({marks}) {condition}
                ORDER BY round(score, 6) DESC, {_ORDER}, kind""",
                kinds,
            )
            return [row[0] for row in rows]

    def candidate(self, candidate_id: int) -> Candidate:
        with self._lock:
            row = self._db.execute(f"SELECT {_COLUMNS} FROM candidates WHERE id = ?", (candidate_id,)).fetchone()
        return _candidate(row)

    def keep_none(self) -> None:
        """No candidate is kept."""
        with self._lock:
            self._db.execute("UPDATE candidates SET kept = 0")

    def keep(self, candidate_id: int) -> None:
        """Mark a candidate as kept. Not flushed to the disk by itself: it can be found out again."""
        with self._lock:
            self._db.execute("UPDATE candidates SET kept = 1 WHERE id = ?", (candidate_id,))

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _candidate(row: tuple[Any, ...]) -> Candidate:
    step, y, x, number, y0, x0, y1, x1, score, cut, bits, vector = row
    box = Box(y0, x0, y1, x1)
    return Candidate(
        Place(step, y, x), number, box, PackedMask(box.shape, bits).unpack(), score, bool(cut),
        None if vector is None else np.frombuffer(vector, "<f4"),
    )  # fmt: skip

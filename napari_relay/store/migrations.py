"""Making a new project file, and bringing an old one up to date.

`PRAGMA user_version` counts the format. Each step takes the file from one version to the next inside one
transaction, after a copy of the file as it was has been laid beside it: `<file>.v<version>.backup`.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path

from napari_relay.errors import ProjectDamagedError, ProjectVersionError
from napari_relay.store.backup import copy_database
from napari_relay.store.database import Database
from napari_relay.store.schema import APPLICATION_ID, RAW, SCHEMA, SCHEMA_VERSION, TOTALS

logger = logging.getLogger(__name__)

Step = Callable[[sqlite3.Connection], None]


def _count_objects(db: sqlite3.Connection) -> None:
    """1 -> 2: actions say whether a person or a model did them; the objects are counted by class and state."""
    db.execute("ALTER TABLE actions ADD COLUMN actor TEXT NOT NULL DEFAULT 'user' CHECK (actor IN ('user', 'model'))")
    for statement in _statements(TOTALS):
        db.execute(statement)
    db.execute("INSERT INTO totals SELECT class_id, state, count(*) FROM objects WHERE live = 1 GROUP BY 1, 2")


def _keep_raw_masks(db: sqlite3.Connection) -> None:
    """2 -> 3: masks as they were before cleaning, and its settings."""
    for statement in _statements(RAW):
        db.execute(statement)


STEPS: Mapping[int, Step] = {1: _count_objects, 2: _keep_raw_masks}
"""What takes a file of version n to n + 1, by n."""


def is_new(database: Database) -> bool:
    """Whether the file holds nothing yet (just made, or its making was cut short).

    Raises
    ------
    ProjectDamagedError
        It holds something, but not a project.
    """
    with database.read() as db:
        tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        application = db.execute("PRAGMA application_id").fetchone()[0]
    if application == APPLICATION_ID:
        return False
    if tables:
        raise ProjectDamagedError(
            f"{database.path} is a database of another program, not a napari-relay project.",
            "Choose another project file (--project).",
        )
    return True


def create_tables(db: sqlite3.Connection) -> None:
    """Make every table, in the transaction that is open."""
    for statement in _statements(SCHEMA):
        db.execute(statement)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def migrate(database: Database, steps: Mapping[int, Step] = STEPS, newest: int = SCHEMA_VERSION) -> list[Path]:
    """Bring a project to the `newest` version; returns the backups that were made.

    Raises
    ------
    ProjectVersionError
        A newer program wrote it, or it is older than what can be migrated.
    """
    backups = []
    while (version := _version(database)) != newest:
        if version > newest or version not in steps or database.read_only:
            raise _cannot_read(database, version, newest)
        backup = database.path.with_name(f"{database.path.name}.v{version}.backup")
        with database.exclusive() as db:
            copy_database(db, backup)
        logger.info("Migrating %s from version %d; the old file is kept as %s", database.path, version, backup)
        with database.write() as db:
            steps[version](db)
            db.execute(f"PRAGMA user_version = {version + 1}")
        backups.append(backup)
    return backups


def _version(database: Database) -> int:
    with database.read() as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


def _cannot_read(database: Database, version: int, newest: int) -> ProjectVersionError:
    if version > newest:
        fix = "Update napari-relay, then open it again."
    elif database.read_only:
        fix = "Open it for writing once: that brings it up to date."
    else:
        fix = "Open it once with an older napari-relay."
    return ProjectVersionError(
        f"The project {database.path} has format version {version}; this program reads version {newest}.", fix
    )


def _statements(script: str) -> list[str]:
    """Single statements of an SQL script (triggers hold semicolons, so SQLite decides where one ends)."""
    statements, current = [], ""
    for line in script.splitlines(keepends=True):
        current += line
        if sqlite3.complete_statement(current):
            statements.append(current)
            current = ""
    return statements

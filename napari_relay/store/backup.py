"""Copies of a project while it is in use, through SQLite's online backup, and the way back from one."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from napari_relay.errors import StorageError
from napari_relay.store.database import Database, backup_path, translate

EVERY_ACTIONS = 100
"""A backup is due after this many actions, and one more for each MiB of the project: copying must stay rare."""


def write_backup(database: Database) -> Path:
    """Copy the project to its backup, which is replaced in one step; writers are not held up.

    Raises
    ------
    StorageError
        There is no room for it.
    """
    target = backup_path(database.path)
    with database.read() as db:
        newest = _newest_action(db)
        copy_database(db, target)
    with database.write() as db:
        db.execute(
            "INSERT INTO project (key, value) VALUES ('backup_action', ?) "
            "ON CONFLICT DO UPDATE SET value = excluded.value",
            (str(newest),),
        )
    return target


def actions_since_backup(database: Database) -> int:
    """How many actions the backup lacks."""
    with database.read() as db:
        row = db.execute("SELECT value FROM project WHERE key = 'backup_action'").fetchone()
        return _newest_action(db) - (int(row[0]) if row else 0)


def is_backup_due(database: Database) -> bool:
    """Whether enough has happened since the last backup to make the next one."""
    return actions_since_backup(database) >= EVERY_ACTIONS + (database.path.stat().st_size >> 20)


def copy_database(source: sqlite3.Connection, target: Path) -> None:
    """Copy the whole database to `target`, which is replaced in one step when the copy is complete and on the disk.

    The copy loses the token that ties the project to its label pyramid: a restored project renders it anew.
    """
    partial = target.with_name(target.name + ".partial")
    try:
        partial.unlink(missing_ok=True)
        with closing(sqlite3.connect(partial, isolation_level=None)) as copy:
            copy.execute("PRAGMA synchronous = FULL")
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one plain file, without a log beside it
            copy.execute("DELETE FROM project WHERE key = 'pyramid_token'")
        partial.replace(target)
        sync_folder(target.parent)
    except OSError as error:
        raise StorageError(
            f"Cannot write the backup {target}: {error.strerror or error}.",
            "Free some space; the project itself is safe.",
        ) from error
    except sqlite3.Error as error:
        known = translate(error, partial)
        if known is None:
            raise
        raise known from error
    finally:
        with suppress(OSError):  # the error above says more
            partial.unlink(missing_ok=True)


def restore_backup(project: Path) -> Path:
    """Put the backup in the place of a project that is damaged; returns where the damaged file is kept.

    Raises
    ------
    StorageError
        There is no backup, or the folder cannot be written.
    """
    backup = backup_path(project)
    if not backup.is_file():
        raise StorageError(f"There is no backup {backup}.", "Look for a copy made by your own backups.")
    kept = project.with_name(project.name + ".damaged")
    try:
        # The log goes with its file: without it a part of the last actions would be missing from the damaged copy, and
        # beside the restored file it would be taken for that file's own.
        for ending in ("-wal", "-shm", ""):
            old = project.with_name(project.name + ending)
            if old.exists():
                old.replace(kept.with_name(kept.name + ending))
        backup.replace(project)
        sync_folder(project.parent)
    except OSError as error:
        raise StorageError(
            f"Cannot restore {project}: {error.strerror or error}.", "Make the folder writable."
        ) from error
    return kept


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable; does nothing where folders cannot be synced (Windows)."""
    if os.name == "nt":
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _newest_action(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT coalesce(max(id), 0) FROM actions").fetchone()[0])

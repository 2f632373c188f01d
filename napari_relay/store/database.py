"""The SQLite file of a project: one connection that writes, a pool that reads, errors in our words.

Durability is SQLite's: write-ahead log with `synchronous=FULL`, so a committed transaction is on the disk. On a
network file system, where the log's shared memory does not work, the rollback journal is used instead.
"""

from __future__ import annotations

import logging
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Protocol

import psutil

from napari_relay.errors import ProjectDamagedError, ProjectError, ProjectLockedError, StorageError

logger = logging.getLogger(__name__)

BUSY_MS = 10_000
_NETWORK = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "lustre", "gpfs", "beegfs", "fuse.sshfs", "fuse.glusterfs")

_DISK = {
    sqlite3.SQLITE_FULL: ("the disk is full", "Free some space, then go on: nothing that was accepted is lost."),
    sqlite3.SQLITE_READONLY: ("it is read-only", "Make file and folder writable, or choose another place (--project)."),
    sqlite3.SQLITE_PERM: ("access is denied", "Make file and folder writable, or choose another place (--project)."),
    sqlite3.SQLITE_CANTOPEN: ("it cannot be opened", "Check that the folder exists and can be written to (--project)."),
    sqlite3.SQLITE_IOERR: ("the disk reported an error", "Check the disk and the network drive, then try again."),
    sqlite3.SQLITE_NOLFS: ("the file system cannot hold so large a file", "Move the project to another disk."),
}


class Connections(Protocol):
    """What a project needs of its file: a `Database`, or a `Snapshot` of one."""

    path: Path
    read_only: bool

    def read(self) -> AbstractContextManager[sqlite3.Connection]: ...

    def write(self) -> AbstractContextManager[sqlite3.Connection]: ...

    def exclusive(self) -> AbstractContextManager[sqlite3.Connection]: ...

    def close(self) -> None: ...


class Database:
    """Connections to one file. Who makes it closes it.

    `write()` is a transaction: it commits at the end of the block and leaves nothing behind when the block raises.
    Only one thread is inside at a time. `read()` is a consistent snapshot; it never waits for a writer (in the
    rollback journal of a network drive it waits for the moment of a commit).

    Parameters
    ----------
    path : Path
        The file; made when missing, unless `read_only`.
    read_only : bool
        Open without ever writing, also from a medium that cannot be written.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self.read_only = read_only
        self.on_network = not read_only and is_network_path(path)
        self._write_lock = threading.RLock()
        self._pool_lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._closed = False
        with self.translated():
            self._writer = self._connect(write=not read_only)

    @property
    def closed(self) -> bool:
        return self._closed

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction on the writing connection."""
        with self._write_lock, self.translated():
            self._check_open()
            if self.read_only:
                raise StorageError(f"The project {self.path} was opened for reading only.", "Open it for writing.")
            db = self._writer
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                # SQLite has rolled back by itself after a full disk or an I/O error.
                if db.in_transaction:
                    with suppress(sqlite3.Error):
                        db.execute("ROLLBACK")
                raise

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A read transaction on a connection of the pool."""
        with self.translated():
            db = self._borrow()
            try:
                db.execute("BEGIN")
                yield db
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                self._give_back(db)

    @contextmanager
    def exclusive(self) -> Iterator[sqlite3.Connection]:
        """The writing connection outside a transaction, for statements that must not run in one (backup, VACUUM)."""
        with self._write_lock, self.translated():
            self._check_open()
            yield self._writer

    def close(self) -> None:
        """Close every connection; the log is folded into the file. A second call does nothing."""
        with self._write_lock, self._pool_lock:
            if self._closed:
                return
            self._closed = True
            idle, self._idle = self._idle, []
            for db in [*idle, self._writer]:  # the writer last: it folds the log in
                db.close()

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn SQLite's errors into ours."""
        try:
            yield
        except sqlite3.Error as error:
            known = translate(error, self.path)
            if known is None:
                raise
            raise known from error

    def _connect(self, *, write: bool) -> sqlite3.Connection:
        db = sqlite3.connect(
            self._uri(write=write), uri=True, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        try:
            db.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
            db.execute("PRAGMA foreign_keys = ON")
            db.execute("PRAGMA cache_size = -16000")  # 16 MB: the upper pages of the trees of a million objects
            if write:
                db.execute(f"PRAGMA journal_mode = {'DELETE' if self.on_network else 'WAL'}")
                db.execute("PRAGMA synchronous = FULL")
            else:
                db.execute("PRAGMA query_only = ON")
        except BaseException:
            db.close()
            raise
        return db

    def _uri(self, *, write: bool) -> str:
        uri = self.path.absolute().as_uri()
        if write:
            return f"{uri}?mode=rwc"
        if not self.read_only:
            return f"{uri}?mode=rw"
        log = self.path.with_name(self.path.name + "-wal")
        # A file in write-ahead mode needs its log beside it even for reading, which a read-only folder cannot give;
        # with no log there is nothing to miss. A live log means that a writer may be at work: then follow it.
        live = log.exists() and log.stat().st_size > 0
        return f"{uri}?mode=ro" + ("" if live else "&immutable=1")

    def _borrow(self) -> sqlite3.Connection:
        with self._pool_lock:
            self._check_open()
            if self._idle:
                return self._idle.pop()
        return self._connect(write=False)

    def _give_back(self, db: sqlite3.Connection) -> None:
        with self._pool_lock:
            if not self._closed:
                self._idle.append(db)
                return
        db.close()  # lent when the project was closed

    def _check_open(self) -> None:
        if self._closed:
            raise ProjectError(f"The project {self.path} is closed.", "Open it again.")


def translate(error: sqlite3.Error, path: Path) -> ProjectError | None:
    """Our error for one of SQLite's; None for what only a mistake of ours can cause."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _DISK:
        reason, fix = _DISK[code]
        return StorageError(f"Cannot use the project {path}: {reason} ({error}).", fix)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return damaged(path, str(error))
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return ProjectLockedError(
            f"Another program keeps the project {path} locked.", "Close the program that has it open, then try again."
        )
    return None


def damaged(path: Path, reason: str) -> ProjectDamagedError:
    """The error for a file that is broken; names its backup where there is one."""
    backup = backup_path(path)
    fix = f"Its last backup is {backup}." if backup.exists() else "Choose another project file (--project)."
    return ProjectDamagedError(f"The project {path} is damaged or not a project file: {reason}.", fix)


def backup_path(project: Path) -> Path:
    """Where the backup of a project lies."""
    return project.with_name(project.name + ".backup")


def is_network_path(path: Path) -> bool:
    """Whether the file lies on a network file system."""
    resolved = path.resolve()
    if sys.platform == "win32" and str(resolved).startswith("\\\\"):
        return True
    try:
        mounts = psutil.disk_partitions(all=True)
    except (OSError, RuntimeError, psutil.Error):  # no mount table (a container, a sandbox)
        return False
    inside = [m for m in mounts if resolved.is_relative_to(m.mountpoint)]
    if not inside:
        return False
    mount = max(inside, key=lambda m: len(m.mountpoint))
    return mount.fstype.lower().startswith(_NETWORK) or "remote" in mount.opts.split(",")

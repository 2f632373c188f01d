"""A project as it was at one moment, for long reading (an export) while somebody goes on annotating."""

from __future__ import annotations

import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NoReturn

from napari_relay.errors import StorageError
from napari_relay.store.backup import copy_database
from napari_relay.store.database import Database


class Snapshot:
    """Reads like a `Database`, always the same state. Who makes it closes it.

    It is one long read transaction: the write-ahead log lets others write meanwhile. The rollback journal of a
    network drive does not, so there it is a temporary copy.
    """

    read_only = True

    def __init__(self, database: Database) -> None:
        self.path = database.path
        self._lock = threading.RLock()
        self._stack = ExitStack()
        try:
            if database.on_network:
                database = self._copy(database)
            self._db = self._stack.enter_context(database.read())
            self._db.execute("SELECT count(*) FROM project").fetchone()  # the state is fixed by the first read
        except BaseException:
            self._stack.close()
            raise

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """The one connection, for one thread at a time."""
        with self._lock:
            yield self._db

    def write(self) -> NoReturn:
        raise StorageError(f"A snapshot of {self.path} cannot be changed.", "Change the project itself.")

    exclusive = write

    def close(self) -> None:
        """Let the state go; a second call does nothing."""
        self._stack.close()

    def _copy(self, database: Database) -> Database:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="napari-relay-")))
        with database.exclusive() as db:
            copy_database(db, folder / self.path.name)
        copy = Database(folder / self.path.name, read_only=True)
        self._stack.callback(copy.close)
        return copy

"""A project file that is open for writing: its settings, backups, checks, and its end."""

from __future__ import annotations

import logging
from collections.abc import Generator
from pathlib import Path

from napari_relay.errors import RelayError
from napari_relay.store import actions, opening
from napari_relay.store.backup import actions_since_backup, is_backup_due, write_backup
from napari_relay.store.check import Damage, quick_check, repair
from napari_relay.store.database import Database
from napari_relay.store.dirty import Journal
from napari_relay.store.lock import ProjectLock
from napari_relay.store.reader import ProjectReader
from napari_relay.store.snapshot import Snapshot

logger = logging.getLogger(__name__)


class ProjectFile(ProjectReader):
    """The part of a `Project` that cares for the file rather than for what is annotated.

    Attributes
    ----------
    journal : Journal
        Which tiles the label pyramid has not caught up with.
    """

    def __init__(self, database: Database, lock: ProjectLock | None, info: dict[str, str]) -> None:
        super().__init__(database, info)
        self._file = database
        self._lock = lock
        self.journal = Journal(database)

    def set_value(self, key: str, value: str) -> None:
        """Set an entry of the project's settings; not part of the history."""
        with self._database.write() as db:
            opening.set_value(db, key, value)

    def record_learning(self, checkpoint: str, summary: str, *, value: str, kind: str = "learn") -> None:
        """Record that a learned checkpoint is used from now on, and which: one transaction. `undo` leaves it alone."""
        with self._database.write() as db:
            actions.log_action(db, kind, summary, checkpoint)
            opening.set_value(db, "checkpoint", value)

    def backup(self) -> Path:
        """Copy the project to `<project>.backup`; others may write meanwhile.

        Raises
        ------
        StorageError
            There is no room for it.
        """
        return write_backup(self._file)

    def backup_if_due(self) -> None:
        """Make a backup when enough has happened since the last one. For a thread that has time."""
        if is_backup_due(self._file):
            self.backup()

    def quick_check(self) -> list[str]:
        """What SQLite finds wrong with the file; empty when all is well. Reads the whole file: not for the window."""
        return quick_check(self._database)

    def repair(self) -> Generator[int, None, list[Damage]]:
        """Check every object, mend what can be mended; yields the number checked and returns the damage found.

        The label pyramid is mended apart, by `PyramidWriter.rebuild`.
        """
        return repair(self._file)

    def relocate(self, fingerprint: str, *, shape: tuple[int, int], image_name: str) -> None:
        """Tie the project to another file of the same image (saved anew, in another format).

        Raises
        ------
        ProjectMismatchError
            The image has another shape.
        """
        opening.check_image(self._info, self.path, None, shape, None, image_name)
        with self._database.write() as db:
            actions.log_action(db, "relocate", f"from {self.image_name} to {image_name}")
            opening.set_value(db, "fingerprint", fingerprint)
            opening.set_value(db, "image_name", image_name)
        self._info |= {"fingerprint": fingerprint, "image_name": image_name}
        self.fingerprint, self.image_name = fingerprint, image_name

    def close(self) -> None:
        """Make a backup of what is new, close the file and give the lock back; a second call does nothing."""
        if self._lock is not None and not self._file.closed:
            try:
                if actions_since_backup(self._file):
                    self.backup()
            except RelayError as error:  # closing must not fail: the project itself is safe
                logger.warning("No backup was made: %s", error)
        super().close()
        if self._lock is not None:
            self._lock.release()

    def snapshot(self) -> ProjectReader:
        """The project as it is now, for long reading; others may write meanwhile."""
        return ProjectReader(Snapshot(self._file), self._info)

"""Moving a project file, with its backup, to another place."""

from __future__ import annotations

import shutil
from pathlib import Path

from napari_relay.errors import StorageError
from napari_relay.store.database import backup_path


def move_project(project: Path, target: Path) -> None:
    """Move a project that nobody has open, and its backup, to `target`, also over the border of a disk.

    The label pyramid stays: it is rendered anew where it is missing.

    Raises
    ------
    StorageError
        Something lies at `target`, or the folders cannot be written; the project is where it was then.
    """
    if target.exists():
        raise StorageError(f"{target} is in the way.", "Move it to another place.")
    left = [name for name in ("-wal", "-shm", ".lock") if project.with_name(project.name + name).exists()]
    if left:
        raise StorageError(f"{project} is in use, or was not closed in order.", "Close it, or open it once, first.")
    try:
        # The project last: until then everything is where it was.
        backup = backup_path(project)
        if backup.exists():
            shutil.copy2(backup, backup_path(target))
        shutil.move(project, target)
        backup.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"Cannot move {project} to {target}: {error.strerror or error}.", "Make both folders writable."
        ) from error

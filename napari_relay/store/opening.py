"""What is checked, and what is written first, when a project is opened."""

from __future__ import annotations

import sqlite3
import uuid
from contextlib import ExitStack
from pathlib import Path

from napari_relay.errors import ProjectDamagedError, ProjectMismatchError, StorageError, UsageError
from napari_relay.store.classes import FIRST_CLASS, add_class
from napari_relay.store.database import Database
from napari_relay.store.lock import ProjectLock
from napari_relay.store.migrations import create_tables, is_new, migrate
from napari_relay.store.provenance import now

UNCLEAN = "unclean"
"""Key that is set while the last run's crash has not been cleaned up after in the label pyramid."""

Opened = tuple[Database, ProjectLock | None, dict[str, str]]

_KEYS = {"id", "fingerprint", "image_name", "height", "width", "size_t", "size_z", "created"}


def open_project(
    path: Path,
    fingerprint: str | None,
    shape: tuple[int, int] | None,
    sizes: tuple[int, int] | None,
    image_name: str,
    *,
    create: bool,
    read_only: bool,
) -> Opened:
    """Lock, open, make or migrate, and check a project file; see `Project.open`. Nothing stays open when it raises."""
    create = create and not read_only and fingerprint is not None and shape is not None
    check_place(path, create=create)
    with ExitStack() as on_error:
        lock = None
        if not read_only:
            lock = ProjectLock(path)
            on_error.callback(lock.release)
        database = Database(path, read_only=read_only)
        on_error.callback(database.close)
        if is_new(database):
            if not create or fingerprint is None or shape is None:
                raise StorageError(f"The project {path} is empty.", "Open its image to start it anew.")
            create_project(database, fingerprint, shape, sizes or (1, 1), image_name)
        migrate(database)
        with database.read() as db:
            info = read_info(db, path)
        check_image(info, path, fingerprint, shape, sizes, image_name)
        if lock is not None and lock.stale is not None:
            with database.write() as db:
                set_value(db, UNCLEAN, "1")
                if lock.machine_went_down:
                    # SQLite had flushed its file; the label pyramid is ordinary files, of which some may be lost.
                    set_value(db, "pyramid_token", "")
        on_error.pop_all()
    return database, lock, info


def set_value(db: sqlite3.Connection, key: str, value: str) -> None:
    """Set an entry of the `project` table."""
    db.execute(
        "INSERT INTO project (key, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (key, value)
    )


def check_place(path: Path, *, create: bool) -> None:
    """Refuse a path that cannot hold a project, before anything is made there.

    Raises
    ------
    StorageError
        Folder or file are missing.
    ProjectDamagedError
        It is a folder.
    """
    if path.is_dir():
        raise ProjectDamagedError(f"{path} is a folder, not a project file.", "Name the project file itself.")
    if not path.parent.is_dir():
        raise StorageError(f"The folder {path.parent} does not exist.", "Make it, or choose another place (--project).")
    if not create and not path.exists():
        raise StorageError(f"There is no project {path}.", "Check the path, or open the image to start a project.")


def create_project(
    database: Database, fingerprint: str, shape: tuple[int, int], sizes: tuple[int, int], image_name: str
) -> None:
    """Write the tables and what is known of the image into an empty file, in one transaction."""
    if min(*shape, *sizes) < 1:
        raise UsageError(f"An image of {shape} pixels and {sizes} planes cannot be annotated.", "Open another image.")
    info = {
        "id": uuid.uuid4().hex,
        "fingerprint": fingerprint,
        "image_name": image_name,
        "height": shape[0],
        "width": shape[1],
        "size_t": sizes[0],
        "size_z": sizes[1],
        "created": now(),
        "current_class": FIRST_CLASS,
    }
    with database.write() as db:
        create_tables(db)
        db.executemany("INSERT INTO project (key, value) VALUES (?, ?)", [(k, str(v)) for k, v in info.items()])
        add_class(db, None, FIRST_CLASS)


def read_info(db: sqlite3.Connection, path: Path) -> dict[str, str]:
    """The `project` table.

    Raises
    ------
    ProjectDamagedError
        An entry is missing.
    """
    info = dict(db.execute("SELECT key, value FROM project").fetchall())
    missing = sorted(_KEYS - set(info))
    if missing:
        raise ProjectDamagedError(
            f"The project {path} is damaged: its table `project` has no {missing[0]!r}.", "Restore it from its backup."
        )
    return info


def check_image(
    info: dict[str, str],
    path: Path,
    fingerprint: str | None,
    shape: tuple[int, int] | None,
    sizes: tuple[int, int] | None,
    image_name: str,
) -> None:
    """Refuse another image than the one the project was made for; None leaves that part unchecked.

    Raises
    ------
    ProjectMismatchError
    """
    old_shape = (int(info["height"]), int(info["width"]))
    old_sizes = (int(info["size_t"]), int(info["size_z"]))
    if fingerprint is not None and fingerprint != info["fingerprint"]:
        reason = "their contents differ"
    elif shape is not None and tuple(shape) != old_shape:
        reason = f"it has {old_shape[0]} x {old_shape[1]} pixels, not {shape[0]} x {shape[1]}"
    elif sizes is not None and tuple(sizes) != old_sizes:
        reason = f"it has {old_sizes[0]} x {old_sizes[1]} planes (t, z), not {sizes[0]} x {sizes[1]}"
    else:
        return
    raise ProjectMismatchError(
        f"The project {path} belongs to the image {info['image_name'] or '(unnamed)'}"
        f"{f', not to {image_name}' if image_name else ''}: {reason}.",
        "Open that image, or give this one a project file of its own (--project).",
    )

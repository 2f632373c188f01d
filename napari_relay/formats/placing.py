"""Where an export goes: checked before, written under another name, put in place when it is complete."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_relay.errors import ExportError, StorageError
from napari_relay.formats.certificate import certificate_path
from napari_relay.store.backup import sync_folder
from napari_relay.store.folders import remove_folder


def check_path(path: Path, *, overwrite: bool) -> None:
    """Refuse a place where nothing can be written, or where something lies.

    Raises
    ------
    ExportError
    """
    if not path.parent.is_dir():
        raise ExportError(f"The folder {path.parent} does not exist.", "Make it, or choose another place.")
    if path.exists() and not overwrite:
        raise ExportError(f"{path} already exists.", "Choose another name, or allow to replace it.")


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """The place to write an export of `path` to, empty; nothing is left of it at the end.

    Raises
    ------
    StorageError
        The disk is full or read-only.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        remove(partial)
        yield partial
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(
            f"Cannot write the export {path}: {error.strerror or error}.", "Free some space, or choose another place."
        ) from error
    finally:
        remove(partial)


def put_in_place(partial: Path, path: Path) -> None:
    """Give what was written its name, in place of what lay there; the old one's certificate goes."""
    if partial.is_file():
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
    # A certificate never stands beside what it does not speak of.
    certificate_path(path).unlink(missing_ok=True)
    if path.is_dir():
        remove_folder(path)
    partial.replace(path)
    sync_folder(path.parent)


def put_certificate(path: Path, content: bytes) -> None:
    """Write a certificate, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        remove(partial)


def remove(path: Path) -> None:
    """Remove a file or folder, where there is one."""
    if path.is_dir():
        remove_folder(path)
    else:
        path.unlink(missing_ok=True)

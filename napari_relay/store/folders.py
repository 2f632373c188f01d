"""Removing derived folders, and what a crash leaves in them."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path


def remove_folder(folder: Path) -> None:
    """Remove a folder with all that is in it; nothing happens when there is none.

    It is renamed first, so that nobody sees it half-removed.
    """
    doomed = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}.partial")
    try:
        folder.rename(doomed)
    except FileNotFoundError:
        return
    shutil.rmtree(doomed)


def remove_leftovers(folder: Path) -> int:
    """Remove every `*.partial` file and folder below `folder`; returns how many. zarr writes a chunk under such a
    name and renames it, so a killed process leaves one."""
    removed = 0
    for parent, folders, files in os.walk(folder):
        for name in [name for name in folders if name.endswith(".partial")]:
            shutil.rmtree(Path(parent, name))
            folders.remove(name)
            removed += 1
        for name in files:
            if name.endswith(".partial"):
                Path(parent, name).unlink()
                removed += 1
    return removed

"""Files that are kept for ever: a copy under a number and a hash of its own, the same content once."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

SUFFIX = ".safetensors"


def keep(file: Path, folder: Path) -> Path:
    """A durable copy in the folder, `0002-3f5a91c2.safetensors`; the one that is there where the content is the same.

    Raises
    ------
    OSError
    """
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    known = sorted(folder.glob(f"*-{digest}{SUFFIX}"))
    if known:
        return known[0]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{len(list(folder.glob(f'*{SUFFIX}'))) + 1:04d}-{digest}{SUFFIX}"
    copy_durably(file, path)
    return path


def copy_durably(file: Path, place: Path) -> None:
    """Copy a file so that a reader sees the old or the new one, on the disk when this returns.

    Raises
    ------
    OSError
    """
    partial = place.with_name(f"{place.name}.partial")
    shutil.copyfile(file, partial)
    with partial.open("rb+") as copied:
        os.fsync(copied.fileno())
    partial.replace(place)

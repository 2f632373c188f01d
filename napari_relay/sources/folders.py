"""Which files and folders of a folder are images, told by name alone: nothing is opened, nothing heavy imported."""

from __future__ import annotations

import re
from pathlib import Path

SUFFIXES = (
    ".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".svslide", ".tif", ".tiff", ".btf", ".png", ".jpg",
    ".jpeg", ".jp2", ".j2k", ".webp", ".bmp", ".ozx", ".zarr.zip",
)  # fmt: skip
OUR_SUFFIXES = (".labels.ome.zarr", ".classes.ome.zarr", ".probabilities.ome.zarr")
"""Folders of our own that look like images."""
_ZARR = ("zarr.json", ".zgroup", ".zarray", ".zattrs")


def is_image_folder(path: Path) -> bool:
    """Whether it is a folder, and not an image that is a folder (OME-Zarr)."""
    return path.is_dir() and not _is_zarr(path)


def images_in(folder: Path, *, recursive: bool = False) -> list[Path]:
    """The images of a folder, sorted as people count: 2 before 10; `recursive`: then those of the folders below it, one
    after the other. Hidden folders and links to folders are passed over."""
    entries = sorted(folder.iterdir(), key=_natural)
    images = [path for path in entries if _is_image(path)]
    if recursive:
        for path in entries:
            if is_image_folder(path) and not path.is_symlink() and not path.name.startswith("."):
                images += images_in(path, recursive=True)
    return images


def _is_image(path: Path) -> bool:
    name = path.name.lower()
    if name.startswith("."):
        return False
    if path.is_dir():
        return _is_zarr(path) and not name.endswith(OUR_SUFFIXES)
    return name.endswith(SUFFIXES)


def _is_zarr(path: Path) -> bool:
    return any((path / name).is_file() for name in _ZARR)


def _natural(path: Path) -> list[tuple[int, int | str]]:
    # A number sorts before a word; within each kind numbers by size, words by letter.
    parts = re.split(r"(\d+)", path.name.casefold())
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts if part]

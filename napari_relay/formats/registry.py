"""The formats there are, by name. A new one is a file of this folder and a line here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from napari_relay.errors import UsageError
from napari_relay.formats import label_tiff, ome_zarr
from napari_relay.formats.job import ExportJob, IdTile
from napari_relay.formats.witness import Place

Write = Callable[[ExportJob, Path, Iterator[IdTile]], Iterator[int]]
"""Writes the tiles, which come in the order of `ExportJob.places`, to a path; yields how many steps are done."""
ReadBack = Callable[[ExportJob, Path], Iterator[tuple[Place, IdTile]]]
"""Reads every tile of level 0 back out of the file."""


@dataclass(frozen=True, slots=True)
class Format:
    """A format: its name, its file endings (the first is the usual one), and how it is written and read back.

    `losses` says in words what of a project it cannot hold.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    write: Write
    read_back: ReadBack
    losses: tuple[str, ...] = ()


FORMATS: Mapping[str, Format] = {
    "ome-zarr": Format(
        "ome-zarr",
        "OME-Zarr 0.5 label image with levels and class colours",
        (".ome.zarr", ".zarr"),
        ome_zarr.write,
        ome_zarr.read_back,
    ),
    "label-tiff": Format(
        "label-tiff",
        "tiled BigTIFF of object ids",
        (".tif", ".tiff"),
        label_tiff.write,
        label_tiff.read_back,
        ("Classes and their colours are not in a label TIFF.",),
    ),
}


def find_format(name: str | None, path: Path) -> Format:
    """The format of that name, or the one that the path's ending tells.

    Raises
    ------
    UsageError
        There is none.
    """
    known = ", ".join(FORMATS)
    if name is not None:
        if name not in FORMATS:
            raise UsageError(f"There is no export format {name!r}.", f"Choose one of {known}.")
        return FORMATS[name]
    for entry in FORMATS.values():
        if path.name.lower().endswith(entry.suffixes):
            return entry
    raise UsageError(f"The ending of {path.name} tells no export format.", f"Name one of {known}.")

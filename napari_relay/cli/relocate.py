"""`napari-relay relocate PROJECT IMAGE`: ties a project to its image again after that was moved or saved anew."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from napari_relay.cli.console import out, print_json, with_progress
from napari_relay.cli.options import JsonOption
from napari_relay.errors import ImageError, MissingExtraError, ProjectMismatchError, UsageError


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of an image: where it is, and what ties a project to it."""

    path: Path
    fingerprint: str
    shape: tuple[int, int]


def relocate(
    project: Annotated[Path, typer.Argument(help="The project (IMAGE.relay).")],
    image: Annotated[Path, typer.Argument(help="The image, or a folder to look for it in, with all below.")],
    saved_anew: Annotated[
        bool,
        typer.Option("--saved-anew", help="Take an image whose content differs: the same picture in another file."),
    ] = False,
    move: Annotated[
        bool, typer.Option("--move", help="Move the project beside the image, where opening the image finds it.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Find a project's image again after it was moved, renamed or saved anew.

    A project knows its image by its content, so a moved or renamed one is told from others, also in a folder full of
    them. An image that was saved anew (in another format, with levels) has other content: say so with --saved-anew;
    it must have the same number of pixels.

    \b
    Examples:
      napari-relay relocate old/slide.svs.relay new/case-7.svs --move
      napari-relay relocate old/slide.svs.relay /archive              looks through the folder
      napari-relay relocate slide.svs.relay slide.ome.zarr --saved-anew
    """
    from napari_relay.store import Project
    from napari_relay.store.moving import move_project

    with Project.open(project, create=False) as opened:
        found = _find(image, opened.fingerprint)
        if found.fingerprint != opened.fingerprint and not saved_anew:
            raise ProjectMismatchError(
                f"{found.path} is not the image that {project} was made for: their contents differ.",
                "Give that image or a folder to look in; for the same picture in another file add --saved-anew.",
            )
        opened.relocate(found.fingerprint, shape=found.shape, image_name=found.path.name)
    place = project
    if move:
        place = found.path.with_name(f"{found.path.name}.relay")
        if place.absolute() != project.absolute():
            move_project(project, place)
    if as_json:
        print_json({"project": str(place), "image": str(found.path), "fingerprint": found.fingerprint})
        return
    out.print(f"{place} belongs to {found.path} now", markup=False, highlight=False, soft_wrap=True)
    if place.absolute() != found.path.absolute().with_name(f"{found.path.name}.relay"):
        line = f"Open it with: napari-relay {found.path} --project {place}"
        out.print(line, markup=False, highlight=False, soft_wrap=True)


def _find(image: Path, fingerprint: str) -> Found:
    """The image itself, or the one of that fingerprint in a folder."""
    if not _is_plain_folder(image):
        return _look_at(image)
    for candidate in with_progress(_candidates(image), "Looking for the image"):
        try:
            found = _look_at(candidate)
        except (ImageError, MissingExtraError):  # no image, or one that cannot be read: not this one
            continue
        if found.fingerprint == fingerprint:
            return found
    raise UsageError(f"The image of the project is not in {image}.", "Give another folder, or the image itself.")


def _look_at(image: Path) -> Found:
    from napari_relay.sources import open_image

    with open_image(image) as source:
        return Found(source.path or image, source.fingerprint, source.shape)


def _candidates(folder: Path) -> Iterator[Path]:
    """Files and OME-Zarr folders below, nearest first; not what this program writes."""
    for parent, folders, files in os.walk(folder):
        for name in sorted(files):
            if not name.endswith((".relay", ".backup", ".lock", "-wal", "-shm")):
                yield Path(parent, name)
        folders.sort()
        for name in list(folders):
            if not _is_plain_folder(Path(parent, name)):
                folders.remove(name)
                if not name.endswith(".labels.ome.zarr"):
                    yield Path(parent, name)


def _is_plain_folder(path: Path) -> bool:
    """Whether it is a folder of files, not an image that is a folder."""
    return path.is_dir() and not any((path / name).exists() for name in ("zarr.json", ".zgroup", ".zarray"))

"""Labels inside an OME-Zarr image: where they lie, and the list in which the image names them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zarr

from napari_relay.errors import StorageError, UsageError
from napari_relay.store.ome_metadata import OmeVersion, from_attributes, to_attributes

if TYPE_CHECKING:
    from napari_relay.store.project import Project

NAME = "napari-relay"
"""Name of our label image among the labels of an image."""
SOURCE = "../../"
"""The image's group, seen from the label image's."""


KEY = "labels_inside"
"""Key of the table `project`: the image that the label pyramid lies in, seen from the project's folder."""


@dataclass(frozen=True, slots=True)
class LabelsPlace:
    """Where a label pyramid lies, which version it must have, and where its image lies, seen from it (None: it lies
    beside the image)."""

    path: Path
    version: OmeVersion = OmeVersion.V05
    source: str | None = None


def place_labels(project: Project, beside: Path, image: Path | None, *, inside: bool | None = None) -> LabelsPlace:
    """Where the label pyramid of a project lies: inside its OME-Zarr image, or at `beside`.

    Parameters
    ----------
    project : Project
        Remembers the choice.
    beside : Path
        The place outside the image.
    image : Path, optional
        The image; None finds the one that the choice was made for.
    inside : bool, optional
        The choice; None: as it was chosen before, beside at first.

    Raises
    ------
    UsageError
        Labels should lie inside what is not the folder of one OME-Zarr image.
    StorageError
        The image's folder cannot be written.
    """
    chosen = project.value(KEY)
    if inside is None:
        inside = bool(chosen)
    if not inside:
        if chosen:
            project.set_value(KEY, "")
        return LabelsPlace(beside)
    if image is None:
        image = project.path.parent / (chosen or "")
    place = image_labels(image)
    list_labels(place)
    relative = os.path.relpath(image.absolute(), project.path.absolute().parent)
    if relative != chosen:
        project.set_value(KEY, relative)
    return place


def image_labels(image: Path) -> LabelsPlace:
    """The place for labels inside an image: `<image>/labels/napari-relay`, in the image's own version.

    Raises
    ------
    UsageError
        It is not the folder of one OME-Zarr image.
    """
    group = _open(image)
    multiscales = from_attributes(dict(group.attrs)).get("multiscales") if group is not None else None
    if group is None or not multiscales:
        raise UsageError(
            f"{image} is not the folder of an OME-Zarr image, so no labels can lie inside it.",
            "Let the labels lie beside the image.",
        )
    version = OmeVersion.V04 if group.metadata.zarr_format == 2 else OmeVersion.V05
    return LabelsPlace(image / "labels" / NAME, version, SOURCE)


def list_labels(place: LabelsPlace) -> None:
    """Name our label image among the image's labels, beside those that others have put there.

    Raises
    ------
    StorageError
        The image's folder cannot be written.
    """
    folder = place.path.parent
    try:
        group = _open(folder)
        if group is None:
            group = zarr.create_group(folder, zarr_format=place.version.zarr_format)
        attributes = dict(group.attrs)
        known = from_attributes(attributes).get("labels")
        names = [name for name in known if isinstance(name, str)] if isinstance(known, list) else []
        if NAME in names:
            return
        listed: dict[str, Any] = to_attributes({"labels": [*names, NAME]}, place.version)
        if place.version is OmeVersion.V05:
            listed = {"ome": {**attributes.get("ome", {}), **listed["ome"]}}
        group.attrs.update(listed)
    except OSError as error:
        raise StorageError(
            f"Cannot write labels into {folder}: {error.strerror or error}.",
            "Make the image's folder writable, or let the labels lie beside it.",
        ) from error


def _open(folder: Path) -> zarr.Group | None:
    """The group of a folder, to be changed; None where there is none."""
    if not any((folder / name).is_file() for name in ("zarr.json", ".zgroup", ".zattrs")):
        return None
    try:
        return zarr.open_group(folder, mode="r+", use_consolidated=False)
    except (OSError, ValueError, KeyError, TypeError):
        return None

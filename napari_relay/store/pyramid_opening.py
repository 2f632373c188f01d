"""Opening a label pyramid: reuse it where it can be trusted, else make it anew."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import zarr

from napari_relay.errors import StorageError, UsageError
from napari_relay.store import ome_metadata
from napari_relay.store.chunks import create_levels, full_shape
from napari_relay.store.folders import remove_folder, remove_leftovers
from napari_relay.store.image_labels import NAME
from napari_relay.store.ome_metadata import OmeVersion
from napari_relay.store.opening import UNCLEAN
from napari_relay.store.project import Project
from napari_relay.store.pyramid import OURS, TOKEN, LabelPyramid

logger = logging.getLogger(__name__)

Shapes = Sequence[tuple[int, int]]


def open_pyramid(
    path: str | Path,
    project: Project,
    level_shapes: Shapes,
    *,
    pixel_size_um: tuple[float, float] | None = None,
    name: str = "labels",
    source: str | None = None,
    version: OmeVersion | str = OmeVersion.V05,
) -> LabelPyramid:
    """Open the label pyramid of a project, or make it; what it lacks then stands on the project's journal.

    Parameters
    ----------
    path : str or Path
        The OME-Zarr group (`<image file name>.labels.ome.zarr`).
    project : Project
        Its truth, open for writing.
    level_shapes : sequence of (int, int)
        (height, width) of each level of the image, finest first; the pyramid gets the same.
    pixel_size_um : (float, float), optional
        (y, x) size of a level-0 pixel.
    name, source : str
        Name of the label image, and relative path of the image's group where the pyramid lies inside one
        (`image_labels` gives both places).
    version : OmeVersion
        Of OME-Zarr. A pyramid that is there in another version is made anew.

    Raises
    ------
    UsageError
        The version is unknown, or the shapes are not those of a pyramid of the project's image.
    StorageError
        It cannot be written, or something else lies at `path`.
    """
    path, shapes = Path(path), [(int(height), int(width)) for height, width in level_shapes]
    _check_shapes(project, shapes)
    version = _checked_version(version)
    try:
        if project.value(UNCLEAN) and path.is_dir():
            removed = remove_leftovers(path)
            logger.info("The last run did not end in order; %d unfinished files removed from %s", removed, path)
        group = _open_group(path, project, shapes, version)
        if group is None:
            # The project gives up its token first: a crash before the end of this makes the next opening start over.
            project.set_value(TOKEN, "")
            remove_folder(path)
            group = _create_group(path, project, shapes, pixel_size_um, name, source, version)
            project.journal.mark_all()
        pyramid = LabelPyramid(path, project, group, shapes)
        pyramid.renew_token()
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(
            f"Cannot open the label pyramid {path}: {error.strerror or error}.",
            "Make the folder writable, or choose another place for the project (--project).",
        ) from error
    project.set_value(UNCLEAN, "")
    # Exports that know only the project take these.
    project.set_value("level_shapes", json.dumps(shapes))
    project.set_value("pixel_size_um", json.dumps(pixel_size_um))
    return pyramid


def _open_group(path: Path, project: Project, shapes: Shapes, version: OmeVersion) -> zarr.Group | None:
    """The pyramid at `path` when it is the project's own, complete and tied to it; None when it must be made."""
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return None
    try:
        group = zarr.open_group(path, mode="r+")
        tie = dict(group.attrs.get(OURS, {}))
    except (OSError, ValueError, KeyError, TypeError):  # no zarr, or damaged metadata
        tie, group = {}, None
    if not tie and not _looks_ours(path, readable=group is not None):
        raise StorageError(
            f"{path} is in the way: it is not a label pyramid of napari-relay.", "Move it to another place."
        )
    if not tie.get("token") or tie != {"project": project.id, "token": project.value(TOKEN)}:
        return None
    if group is None or group.metadata.zarr_format != version.zarr_format:
        return None
    return group if _has_levels(group, project, shapes) else None


def _looks_ours(path: Path, *, readable: bool) -> bool:
    """Whether a folder whose metadata is not ours (any more) bears a name that only we give."""
    if path.name.endswith(".labels.ome.zarr"):
        return path.is_dir()
    return path.is_dir() and not readable and path.parts[-2:] == ("labels", NAME)


def _has_levels(group: zarr.Group, project: Project, shapes: Shapes) -> bool:
    for index, shape in enumerate(shapes):
        try:
            array = group[str(index)]
        except (KeyError, OSError, ValueError):
            return False
        if array.shape != full_shape(shape, project.sizes) or array.dtype != "uint32":
            return False
    return str(len(shapes)) not in group


def _create_group(
    path: Path,
    project: Project,
    shapes: Shapes,
    pixel_size_um: tuple[float, float] | None,
    name: str,
    source: str | None,
    version: OmeVersion,
) -> zarr.Group:
    # Known for ours from the first moment: what a crash leaves half-made is made anew by the next opening.
    ours = {OURS: {"project": project.id, "token": ""}}
    group = zarr.create_group(path, zarr_format=version.zarr_format, attributes=ours)
    create_levels(group, shapes, project.sizes, "uint32")
    entries: dict[str, Any] = {
        "multiscales": [ome_metadata.multiscales(name, shapes, project.sizes, pixel_size_um)],
        "image-label": ome_metadata.image_label((), source),
    }
    group.attrs.update(ome_metadata.to_attributes(entries, version))
    return group


def _checked_version(version: OmeVersion | str) -> OmeVersion:
    try:
        return OmeVersion(version)
    except ValueError:
        raise UsageError(
            f"The label pyramid cannot be OME-Zarr {version}.", f"Use one of: {', '.join(OmeVersion)}."
        ) from None


def _check_shapes(project: Project, shapes: Shapes) -> None:
    if not shapes or tuple(shapes[0]) != project.shape:
        raise UsageError(
            f"The first level has {tuple(shapes[0]) if shapes else 'no'} pixels, the project {project.shape}.",
            "Pass the level shapes of the project's image, finest first.",
        )
    for finer, coarser in pairwise(shapes):
        if not all(1 <= small <= large for small, large in zip(coarser, finer, strict=True)):
            raise UsageError(f"Level {coarser} does not fit under {finer}.", "Pass the levels finest first.")

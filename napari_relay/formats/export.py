"""Export: check, stream to a temporary name, read back and compare, rename."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_relay.errors import ExportError, StorageError, UsageError
from napari_relay.formats.job import ExportJob
from napari_relay.formats.registry import Format, find_format
from napari_relay.formats.witness import Witness
from napari_relay.geometry import Box, Plane
from napari_relay.sources.pyramid import Progress, pyramid_shapes
from napari_relay.store import Project, ProjectReader
from napari_relay.store.backup import sync_folder
from napari_relay.store.folders import remove_folder


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export holds.

    `hidden` are objects of the region that other objects cover wholly, so that no pixel bears their id; `losses`
    says in sentences what of the project is not in the file.
    """

    path: Path
    format: str
    shape: tuple[int, ...]
    dtype: str
    n_objects: int
    hidden: tuple[int, ...]
    losses: tuple[str, ...]


def export(
    project: Project,
    path: str | Path,
    *,
    format: str | None = None,
    region: Box | None = None,
    plane: Plane | None = None,
    level_shapes: Sequence[tuple[int, int]] | None = None,
    pixel_size_um: tuple[float, float] | None = None,
    overwrite: bool = False,
) -> Generator[Progress, None, ExportReport]:
    """Write the objects of a project into a file of another format; their ids stay what they are.

    Nothing is written before the first value is asked for. The file takes its name only when it is complete and,
    read back, equal to what was to be written; a generator that is closed early leaves nothing behind.

    Parameters
    ----------
    project : Project
    path : str or Path
        The file (or OME-Zarr folder) to make.
    format : str, optional
        `ome-zarr` or `label-tiff`; told by the path's ending otherwise.
    region : Box, optional
        The part of the image, level-0 pixels; the whole image otherwise.
    plane : Plane, optional
        One plane; all planes otherwise.
    level_shapes : sequence of (int, int), optional
        Levels for formats that have them; those of the image where they are known, else halves.
    pixel_size_um : (float, float), optional
        (y, x) size of a level-0 pixel; taken from the project's label pyramid otherwise.
    overwrite : bool
        Replace what lies at `path`.

    Yields
    ------
    Progress
        Tiles done, written and read back counted separately.

    Returns
    -------
    ExportReport

    Raises
    ------
    UsageError
        No such format; the region or plane is not of the image.
    ExportError
        Something lies at `path`; the format cannot hold the project; the file was not written correctly.
    StorageError
        The disk is full or read-only.
    """
    path = Path(path)
    chosen = find_format(format, path)
    _check_path(path, overwrite=overwrite)

    def plan(of: ProjectReader) -> ExportJob:
        return _plan(of, region, plane, level_shapes, pixel_size_um)

    plan(project)  # a wrong call is told at once
    return _run(project, plan, chosen, path)


def _plan(
    project: ProjectReader,
    region: Box | None,
    plane: Plane | None,
    level_shapes: Sequence[tuple[int, int]] | None,
    pixel_size_um: tuple[float, float] | None,
) -> ExportJob:
    box = _checked_region(project, region)
    ids = tuple(project.shown_ids(box, plane))
    return ExportJob(
        project,
        box,
        _planes(project, plane),
        _shapes(project, box, level_shapes),
        pixel_size_um or _stored_pixel_size(project),
        dtype_for(max(ids, default=0)),
        ids,
    )


def dtype_for(highest_id: int) -> np.dtype[np.unsignedinteger]:
    """The smallest unsigned dtype that holds every id.

    Raises
    ------
    ExportError
        Not even 32 bits do.
    """
    for dtype in (np.uint8, np.uint16, np.uint32):
        if highest_id <= np.iinfo(dtype).max:
            return np.dtype(dtype)
    raise ExportError(
        f"Object {highest_id} has an id above {np.iinfo(np.uint32).max}, which no label image holds.",
        "Import the objects into a new project, which numbers them anew.",
    )


def _run(
    project: Project, plan: Callable[[ProjectReader], ExportJob], chosen: Format, path: Path
) -> Generator[Progress, None, ExportReport]:
    partial = path.with_name(path.name + ".partial")
    try:
        # Of one moment: an object accepted meanwhile is in the next export, not in half of this one.
        with closing(project.snapshot()) as snapshot:
            job = plan(snapshot)
            witness = Witness(job)
            _remove(partial)
            for done in chosen.write(job, partial, witness.watch()):
                yield Progress(done, 2 * job.n_tiles)
            for done in witness.compare(chosen.read_back(job, partial), str(path)):
                yield Progress(job.n_tiles + done, 2 * job.n_tiles)
            report = _report(job, chosen, path, witness.ids())
        _put_in_place(partial, path)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(
            f"Cannot write the export {path}: {error.strerror or error}.", "Free some space, or choose another place."
        ) from error
    finally:
        _remove(partial)
    return report


def _report(job: ExportJob, chosen: Format, path: Path, seen: set[int]) -> ExportReport:
    hidden = tuple(i for i in job.ids if i not in seen and job.project.object(i).mask_in(job.region).any())
    losses = list(chosen.losses)
    if hidden:
        losses.append(f"{len(hidden)} objects lie wholly under others and have no pixel: {_some(hidden)}.")
    shape = (*(size for size in job.sizes if size > 1), *job.region.shape)
    return ExportReport(path, chosen.name, shape, job.dtype.name, len(seen), hidden, tuple(losses))


def _some(ids: Sequence[int]) -> str:
    return ", ".join(str(i) for i in ids[:10]) + (" .." if len(ids) > 10 else "")


def _checked_region(project: ProjectReader, region: Box | None) -> Box:
    image = Box(0, 0, *project.shape)
    if region is None:
        return image
    if region.empty or not image.covers(region):
        raise UsageError(f"The region {region} does not lie in the image of {project.shape} pixels.", "Choose another.")
    return region


def _planes(project: ProjectReader, plane: Plane | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if plane is None:
        return tuple(range(project.sizes[0])), tuple(range(project.sizes[1]))
    if not (0 <= plane.t < project.sizes[0] and 0 <= plane.z < project.sizes[1]):
        raise UsageError(f"{plane} is not one of the image's {project.sizes} planes (t, z).", "Choose another.")
    return (plane.t,), (plane.z,)


def _shapes(project: ProjectReader, box: Box, given: Sequence[tuple[int, int]] | None) -> tuple[tuple[int, int], ...]:
    whole = box == Box(0, 0, *project.shape)
    shapes = given or (_stored(project, "level_shapes") if whole else None) or pyramid_shapes(box.shape)
    shapes = tuple((int(height), int(width)) for height, width in shapes)
    if shapes[0] != box.shape:
        raise UsageError(f"The first level has {shapes[0]} pixels, the region {box.shape}.", "Pass fitting levels.")
    return shapes


def _stored_pixel_size(project: ProjectReader) -> tuple[float, float] | None:
    stored = _stored(project, "pixel_size_um")
    return (float(stored[0]), float(stored[1])) if stored else None


def _stored(project: ProjectReader, key: str) -> Any:
    text = project.value(key)
    return json.loads(text) if text else None


def _check_path(path: Path, *, overwrite: bool) -> None:
    if not path.parent.is_dir():
        raise ExportError(f"The folder {path.parent} does not exist.", "Make it, or choose another place.")
    if path.exists() and not overwrite:
        raise ExportError(f"{path} already exists.", "Choose another name, or allow to replace it.")


def _put_in_place(partial: Path, path: Path) -> None:
    if partial.is_file():
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
    if path.is_dir():
        remove_folder(path)
    partial.replace(path)
    sync_folder(path.parent)


def _remove(path: Path) -> None:
    if path.is_dir():
        remove_folder(path)
    else:
        path.unlink(missing_ok=True)

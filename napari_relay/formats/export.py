"""Export: check, stream to a temporary name, read back and compare, certify, rename."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from napari_relay.formats.certificate import Tally, certificate, certificate_path
from napari_relay.formats.frames import Frame, boxes_of, frames_of
from napari_relay.formats.job import ExportJob, Georeference
from napari_relay.formats.measuring import Measure
from napari_relay.formats.placing import check_path, put_certificate, put_in_place, written_aside
from napari_relay.formats.planning import check_holds, make_job
from napari_relay.formats.registry import Format, LabelFormat, RecordFormat, find_format
from napari_relay.formats.writing import steps_of, write_file
from napari_relay.geometry import Box, Plane
from napari_relay.sources.pyramid import Progress, pyramid_shapes
from napari_relay.store import Project, ProjectReader

_FACTS = {
    "id": "numbers", "class_name": "classes", "color": "colours", "state": "states", "score": "scores",
    "author": "authors and dates", "note": "notes",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export holds.

    `hidden` are objects of the region that other objects cover wholly, so that no pixel bears their id; `losses`
    says in sentences what of the project is not in the file. `shape` and `dtype` are those of label images.
    """

    path: Path
    format: str
    shape: tuple[int, ...]
    dtype: str
    n_objects: int
    hidden: tuple[int, ...]
    losses: tuple[str, ...]
    n_files: int = 1
    certificate: Path | None = None


def export(
    project: Project,
    path: str | Path,
    *,
    format: str | None = None,
    region: Box | None = None,
    plane: Plane | None = None,
    tile: int | None = None,
    level_shapes: Sequence[tuple[int, int]] | None = None,
    pixel_size_um: tuple[float, float] | None = None,
    georeference: Georeference | None = None,
    measure: Measure | None = None,
    overwrite: bool = False,
) -> Generator[Progress, None, ExportReport]:
    """Write the objects of a project into a file of another format; their ids stay what they are.

    Nothing is written before the first value is asked for. The file takes its name only when it is complete and,
    read back, equal to what was to be written; a generator that is closed early leaves nothing behind. The
    certificate, `<path>.certificate.json`, lies beside it.

    Parameters
    ----------
    project : Project
    path : str or Path
        The file (or folder) to make.
    format : str, optional
        A name of `FORMATS`; told by the path's ending otherwise.
    region : Box, optional
        The part of the image, level-0 pixels; the whole image otherwise.
    plane : Plane, optional
        One plane; all planes otherwise.
    tile : int, optional
        Cut the region into squares of this side: several pictures in one file where the format has that, else a
        folder of files whose names tell where they lie.
    level_shapes : sequence of (int, int), optional
        Levels for formats that have them; those of the image where they are known, else halves.
    pixel_size_um : (float, float), optional
        (y, x) size of a level-0 pixel; taken from the project's label pyramid otherwise.
    georeference : Georeference, optional
        Where the image lies on the Earth, for formats that say so.
    measure : Measure, optional
        Measures each object, for GeoJSON of QuPath.
    overwrite : bool
        Replace what lies at `path`.

    Yields
    ------
    Progress
        Written and read back counted separately.

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
    check_path(path, overwrite=overwrite)

    def plan(of: ProjectReader) -> ExportJob:
        job = make_job(of, region, plane, tile, level_shapes, pixel_size_um, georeference, measure)
        check_holds(job, chosen)
        return job

    plan(project)  # a wrong call is told at once
    return _run(project, plan, chosen, path)


def known_losses(path: str | Path, format: str | None = None) -> tuple[str, ...]:
    """What of any project the format cannot hold, in sentences; to be told before the export.

    Raises
    ------
    UsageError
        There is no such format.
    """
    chosen = find_format(format, Path(path))
    missing = [word for name, word in _FACTS.items() if name not in chosen.kept]
    named = (f"Not in this format: {', '.join(missing)}.",) if missing else ()
    return (*chosen.losses, *named)


def _run(
    project: Project, plan: Callable[[ProjectReader], ExportJob], chosen: LabelFormat | RecordFormat, path: Path
) -> Generator[Progress, None, ExportReport]:
    with written_aside(path) as partial:
        # Of one moment: an object accepted meanwhile is in the next export, not in half of this one.
        with closing(project.snapshot()) as snapshot:
            job = plan(snapshot)
            tally = yield from _write(job, chosen, path, partial)
            report = _report(job, chosen, path, tally)
            proof = certificate(job, report, tally, chosen.kept, partial)
        put_in_place(partial, path)
        put_certificate(certificate_path(path), proof)
    return report


def _write(
    job: ExportJob, chosen: LabelFormat | RecordFormat, path: Path, partial: Path
) -> Generator[Progress, None, Tally]:
    """Write the file, or the folder of files where the export is of several pictures."""
    if not _is_set(job, chosen):
        jobs: list[tuple[str, ExportJob]] = [("", job)]
    else:
        partial.mkdir()
        jobs = list(_pieces(job, chosen, path))
    total = max(1, sum(steps_of(piece, chosen) for _, piece in jobs))
    before, tally = 0, Tally()
    for name, piece in jobs:
        steps = write_file(piece, chosen, partial / name if name else partial, name or str(path))
        while True:
            try:
                done = next(steps)
            except StopIteration as end:
                tally.add(end.value)
                break
            yield Progress(min(before + done, total), total)
        before += steps_of(piece, chosen)
    yield Progress(total, total)
    return tally


def _is_set(job: ExportJob, chosen: Format) -> bool:
    """Whether the export becomes a folder of files."""
    too_many_planes = job.sizes != (1, 1) and not chosen.many_planes
    return too_many_planes or (job.tile is not None and not chosen.many_frames)


def _pieces(job: ExportJob, chosen: Format, path: Path) -> Iterator[tuple[str, ExportJob]]:
    """(file name, job) of each file of a folder."""
    stem = Path(job.project.image_name).stem or "image"
    ending = next((end for end in chosen.suffixes if path.name.lower().endswith(end)), chosen.suffixes[0])
    frames = [Frame(box) for box in boxes_of(job)] if chosen.many_planes else list(frames_of(job))
    for frame in frames:
        plane = None if chosen.many_planes else frame.plane
        yield (
            frame.name(stem) + ending,
            replace(
                job,
                region=frame.box,
                planes=job.planes if plane is None else ((plane.t,), (plane.z,)),
                shapes=tuple(pyramid_shapes(frame.box.shape)),
                ids=tuple(job.project.shown_ids(frame.box, plane)),
                tile=None,
            ),
        )


def _report(job: ExportJob, chosen: Format, path: Path, tally: Tally) -> ExportReport:
    hidden = tuple(sorted(tally.hidden - tally.ids))
    losses = list(known_losses(path, chosen.name))
    if hidden:
        losses.append(f"{len(hidden)} objects lie wholly under others and have no pixel: {_some(hidden)}.")
    shape = (*(size for size in job.sizes if size > 1), *job.region.shape)
    dtype = job.dtype.name if isinstance(chosen, LabelFormat) else ""
    return ExportReport(
        path, chosen.name, shape, dtype, len(tally.ids), hidden, tuple(losses), tally.files, certificate_path(path)
    )


def _some(ids: Sequence[int]) -> str:
    return ", ".join(str(i) for i in ids[:10]) + (" .." if len(ids) > 10 else "")

"""One file of an export: written, read back, compared."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Generator, Mapping
from pathlib import Path

from napari_relay.errors import ExportError, ImageError, ImportFileError
from napari_relay.formats.certificate import Tally
from napari_relay.formats.facts import Facts
from napari_relay.formats.job import ExportJob, Georeference
from napari_relay.formats.record_witness import RecordWitness
from napari_relay.formats.registry import LabelFormat, RecordFormat
from napari_relay.formats.target import Target
from napari_relay.formats.witness import Witness

UNREADABLE = (ValueError, LookupError, TypeError, EOFError, zlib.error, struct.error, RuntimeError)
"""What libraries raise for a file that is not what they wrote."""
MAX_SHIFT_PX = 0.01
"""So far may a corner of the image lie from where it was before, in pixels."""


def steps_of(job: ExportJob, chosen: LabelFormat | RecordFormat) -> int:
    """How many steps `write_file` has, about."""
    return 2 * (job.n_tiles if isinstance(chosen, LabelFormat) else len(job.ids))


def write_file(
    job: ExportJob, chosen: LabelFormat | RecordFormat, path: Path, name: str
) -> Generator[int, None, Tally]:
    """Write one file, read it back and compare; yields the number of steps done, returns what it holds.

    Raises
    ------
    ExportError
        It was not written as it should be; `name` stands for it in the message.
    """
    try:
        if isinstance(chosen, LabelFormat):
            tally = yield from _write_labels(job, chosen, path, name)
        else:
            tally = yield from _write_records(job, chosen, path, name)
    except (ImportFileError, ImageError, *UNREADABLE) as error:
        raise ExportError(
            f"{name} was not written correctly: it cannot be read back ({error}).", "Check the disk, then export again."
        ) from error
    if chosen.read_georeference is not None and job.georeference is not None:
        _compare_georeference(job, chosen.read_georeference(path), name)
        tally.georeferenced = True
    tally.files = 1
    return tally


def _write_labels(job: ExportJob, chosen: LabelFormat, path: Path, name: str) -> Generator[int, None, Tally]:
    witness = Witness(job)
    yield from chosen.write(job, path, witness.watch())
    for done in witness.compare(chosen.read_back(job, path), name):
        yield job.n_tiles + done
    seen = witness.ids()
    if chosen.read_facts is not None:
        _compare_facts(job, chosen, chosen.read_facts(path), name)
    hidden = {i for i in job.ids if i not in seen and job.project.object(i).mask_in(job.region).any()}
    classes = Counter(name for i, name, _ in job.project.object_colors() if i in seen)
    return Tally(records=len(seen), tiles=job.n_tiles, ids=seen, hidden=hidden, classes=classes)


def _compare_facts(job: ExportJob, chosen: LabelFormat, found: Mapping[int, Facts], name: str) -> None:
    shown = set(job.ids)
    known = {i: Facts(i, class_name, color) for i, class_name, color in job.project.object_colors() if i in shown}
    for number in known.keys() | found.keys():
        expected, read = known.get(number), found.get(number)
        if expected is None or read is None or expected.only(chosen.kept) != read.only(chosen.kept):
            raise ExportError(
                f"{name} was not written correctly: read back, object {number} has other facts ({read}).",
                "Check the disk, then export again.",
            )


def _write_records(job: ExportJob, chosen: RecordFormat, path: Path, name: str) -> Generator[int, None, Tally]:
    witness = RecordWitness(job, chosen.kept)
    yield from chosen.write(job, path, witness.watch)
    target = Target(job.project.shape, job.project.sizes, job.project.image_name, job.georeference)
    for done in witness.compare(chosen.read(path, target), name):
        yield len(job.ids) + done
    return Tally(
        records=len(witness), parts=witness.n_parts, holes=witness.n_holes, ids=witness.ids, classes=witness.classes
    )


def _compare_georeference(job: ExportJob, found: Georeference, name: str) -> None:
    expected = job.georeference
    assert expected is not None
    # Labels begin at the region's first pixel, shapes keep the image's own coordinates.
    placed = expected.at(job.region.y0, job.region.x0)
    pixel = max(abs(number) for number in (*expected.affine[:2], *expected.affine[3:5]))
    for y, x in ((0, 0), (0, job.region.width), (job.region.height, 0), (job.region.height, job.region.width)):
        a, b, c, d, e, f = (one - other for one, other in zip(found.affine, placed.affine, strict=True))
        if max(abs(a * x + b * y + c), abs(d * x + e * y + f)) > MAX_SHIFT_PX * pixel:
            raise ExportError(
                f"{name} was not written correctly: read back, its affine is {found.affine}.", "Export it again."
            )
    if found.crs != expected.crs:
        raise ExportError(
            f"{name} was not written correctly: read back, its CRS is {found.crs} instead of {expected.crs}.",
            "Export it again.",
        )

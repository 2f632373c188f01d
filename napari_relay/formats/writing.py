"""One file of an export: written, read back, compared."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Generator, Mapping
from dataclasses import fields
from pathlib import Path

import numpy as np

from napari_relay.errors import ExportError, ImageError, ImportFileError
from napari_relay.formats.certificate import Tally
from napari_relay.formats.facts import Facts
from napari_relay.formats.georeferencing import same_crs
from napari_relay.formats.job import ExportJob
from napari_relay.formats.record_witness import MAX_SHIFT_PX, RecordWitness
from napari_relay.formats.registry import LabelFormat, RecordFormat
from napari_relay.formats.target import Target
from napari_relay.formats.witness import Witness

UNREADABLE = (ValueError, LookupError, TypeError, EOFError, zlib.error, struct.error, RuntimeError)
"""What libraries raise for a file that is not what they wrote."""


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
        raise _wrong(name, f"it cannot be read back ({error})") from error
    if chosen.geo:
        _compare_georeference(job, chosen, path, name)
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
    kept = [field.name for field in fields(Facts) if field.name in chosen.kept]
    for number in known.keys() | found.keys():
        expected, read = known.get(number), found.get(number)
        if expected is None or read is None or any(getattr(expected, name) != getattr(read, name) for name in kept):
            raise _wrong(name, f"read back, object {number} has other facts ({read})")


def _write_records(job: ExportJob, chosen: RecordFormat, path: Path, name: str) -> Generator[int, None, Tally]:
    witness = RecordWitness(job, chosen.kept)
    yield from chosen.write(job, path, witness.watch)
    target = Target(job.project.shape, job.project.sizes, job.project.image_name, job.georeference)
    for done in witness.compare(chosen.read(path, target), name):
        yield len(job.ids) + done
    return Tally(
        records=len(witness), parts=witness.n_parts, holes=witness.n_holes, ids=witness.ids, classes=witness.classes
    )


def _compare_georeference(job: ExportJob, chosen: LabelFormat | RecordFormat, path: Path, name: str) -> None:
    georeference = job.georeference
    assert georeference is not None
    assert chosen.read_crs is not None
    crs = chosen.read_crs(path)
    if not same_crs(crs, georeference.crs):
        raise _wrong(name, f"read back, its CRS is {crs or 'missing'} instead of {georeference.crs}")
    if chosen.read_affine is None:  # of shapes: that their pixels are right has been shown
        return
    found, placed = chosen.read_affine(path), georeference.at(job.region.y0, job.region.x0).affine
    pixel = max(abs(number) for number in (*placed[:2], *placed[3:5]))
    a, b, c, d, e, f = (one - other for one, other in zip(found, placed, strict=True))
    for y, x in np.ndindex(2, 2):
        row, column = y * job.region.height, x * job.region.width
        if max(abs(a * column + b * row + c), abs(d * column + e * row + f)) > MAX_SHIFT_PX * pixel:
            raise _wrong(name, f"read back, its affine is {found} instead of {placed}")


def _wrong(name: str, what: str) -> ExportError:
    return ExportError(f"{name} was not written correctly: {what}.", "Check the disk, then export again.")

"""The witness of record formats: notes each object that was handed over and compares it with what the file says."""

from __future__ import annotations

import zlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from operator import attrgetter

from napari_relay.errors import ExportError
from napari_relay.formats import runs as runs_
from napari_relay.formats.facts import Facts
from napari_relay.formats.frames import Frame
from napari_relay.formats.job import ExportJob
from napari_relay.formats.outlines import measure, trace_all
from napari_relay.formats.records import Found, Record, records_of, with_runs
from napari_relay.formats.runs import Runs
from napari_relay.geometry import Plane

_COLUMNS = ("id", "pixels", "parts", "holes", "outline", "facts", "t", "z")
MAX_SHIFT_PX = 0.01
"""So far may a corner lie from where it was before, in pixels."""


class RecordWitness:
    """Keeps eight numbers an object: a checksum of its pixels in the image, parts, holes, outline, facts and plane.

    Parameters
    ----------
    kept : names of the facts that the format holds; the others are not compared.
    """

    def __init__(self, job: ExportJob, kept: frozenset[str]) -> None:
        self._job = job
        self._kept = kept
        self._compared = attrgetter(*sorted(kept))
        self._noted = {name: array("q") for name in _COLUMNS}
        self.classes: Counter[str] = Counter()
        self._objects: set[int] = set()

    def __len__(self) -> int:
        return len(self._noted["id"])

    @property
    def ids(self) -> set[int]:
        """Objects of which something was handed over."""
        return self._objects

    @property
    def n_parts(self) -> int:
        return sum(self._noted["parts"])

    @property
    def n_holes(self) -> int:
        return sum(self._noted["holes"])

    def watch(self, frame: Frame) -> Iterator[Record]:
        """The records of a frame, each noted as it passes."""
        for record in records_of(self._job, frame):
            self._note(record)
            yield record

    def compare(self, found: Iterable[Found], name: str) -> Iterator[int]:
        """Check what was read back, yielding the number of objects that agree so far.

        Raises
        ------
        ExportError
            An object is missing, too many, or differs in pixels, parts, holes, plane or a fact.
        """
        count = 0
        for item, runs in with_runs(found, self._job.project.shape):
            if count == len(self):
                raise _wrong(name, f"read back, it has more than the {len(self)} objects that were written")
            for what in self._differences(count, item, runs):
                raise _wrong(name, f"read back, object {self._noted['id'][count]} ({item.place.record}) {what}")
            count += 1
            yield count
        if count < len(self):
            raise _wrong(
                name, f"read back, object {self._noted['id'][count]} misses ({count} of {len(self)} are there)"
            )

    def _note(self, record: Record) -> None:
        origin, plane = record.frame.box, record.frame.plane
        pixels = runs_.checksum(runs_.shift(record.runs, origin.y0, origin.x0))
        own = record.facts.id or 0
        shape = (len(record.polygons), record.n_holes, measure(record.polygons)[0])
        values = (own, pixels, *shape, self._hash(record.facts), plane.t, plane.z)
        for name, value in zip(_COLUMNS, values, strict=True):
            self._noted[name].append(value)
        self.classes[record.facts.class_name or ""] += 1
        self._objects.add(own)

    def _differences(self, index: int, item: Found, runs: Runs) -> Iterator[str]:
        noted = {name: column[index] for name, column in self._noted.items()}
        if runs_.checksum(runs) != noted["pixels"]:
            yield self._pixels_differ(noted, runs, item)
        if item.counted and isinstance(item.shape, tuple):
            parts, holes = len(item.shape), sum(len(part.holes) for part in item.shape)
            length, beside = measure(item.shape)
            if beside > MAX_SHIFT_PX:
                yield f"lies {beside:.3f} pixels beside the corners of pixels"
            if length != noted["outline"]:
                yield f"has an outline of {length} instead of {noted['outline']} pixels"
        else:
            traced = trace_all([runs])[0]
            parts, holes = len(traced), sum(len(part.holes) for part in traced)
        if (parts, holes) != (noted["parts"], noted["holes"]):
            yield f"has {parts} parts and {holes} holes instead of {noted['parts']} and {noted['holes']}"
        if item.area is not None and item.area != runs_.area_of(runs):
            yield f"is said to have {item.area} pixels instead of {runs_.area_of(runs)}"
        box, origin = runs_.box_of(runs), item.frame.box
        if item.box is not None and item.box != (box.x0 - origin.x0, box.y0 - origin.y0, box.width, box.height):
            yield f"is said to have the box {item.box} instead of {box}"
        if item.frame.plane != Plane(noted["t"], noted["z"]):
            yield f"lies on {item.frame.plane} instead of t={noted['t']}, z={noted['z']}"
        if self._hash(item.facts) != noted["facts"]:
            yield f"has other facts: {item.facts.only(self._kept)}"

    def _pixels_differ(self, noted: dict[str, int], runs: Runs, item: Found) -> str:
        stored = self._job.project.object(noted["id"])
        box = stored.box.intersect(item.frame.box)
        true = runs_.from_mask(stored.mask_in(box), box.y0, box.x0)
        share = runs_.iou(true, runs)
        return f"has other pixels (IoU {share:.6f}, {runs_.area_of(runs)} instead of {runs_.area_of(true)})"

    def _hash(self, facts: Facts) -> int:
        return zlib.crc32(repr(self._compared(facts)).encode())


def _wrong(name: str, what: str) -> ExportError:
    return ExportError(f"{name} was not written correctly: {what}.", "Check the disk, then export again.")

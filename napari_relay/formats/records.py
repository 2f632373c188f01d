"""Objects one by one: as an export hands them to a format, and as an import gets them from one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from napari_relay.errors import ExportError
from napari_relay.formats import runs as runs_
from napari_relay.formats.checking import Place
from napari_relay.formats.facts import Facts
from napari_relay.formats.frames import Frame
from napari_relay.formats.job import ExportJob
from napari_relay.formats.outlines import Polygon, TooComplexError, fill_all, trace_all
from napari_relay.formats.runs import Runs
from napari_relay.geometry import Box
from napari_relay.store.values import StoredObject

BATCH = 256
MAX_BOX_PIXELS = 1 << 30
"""Objects whose box has more pixels than this are not made records of: their mask is held as a whole."""


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """An object, or the part of it in a frame, on its way out. Runs and polygons are in the frame's own pixels."""

    facts: Facts
    frame: Frame
    runs: Runs
    polygons: tuple[Polygon, ...]
    pixel_size_um: tuple[float, float] | None
    measured: Mapping[str, float] = field(default_factory=dict)
    """Measurements of the whole object, where they were asked for."""

    @property
    def n_holes(self) -> int:
        return sum(len(part.holes) for part in self.polygons)

    @property
    def box(self) -> Box:
        """The smallest box round the pixels, in the frame's own pixels."""
        return runs_.box_of(self.runs)

    @property
    def area(self) -> int:
        return runs_.area_of(self.runs)


Watch = Callable[[Frame], Iterator[Record]]
"""Gives a format the records of a frame; each is noted as it passes, to be compared with what is read back."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """An object as it stands in a file: polygons or runs in the pixels of `frame`, whose box may be cut by the image.

    `counted` is false for shapes that stand for an object's pixels but not for its parts (a picture of the mask, a
    run length, parts joined by lines). `area` and `box` (x, y, width, height in the frame) are what the file says of
    the shape beside it; imports do not need them.
    """

    place: Place
    facts: Facts
    frame: Frame
    shape: tuple[Polygon, ...] | Runs
    counted: bool = True
    area: float | None = None
    box: tuple[Any, ...] | None = None


def records_of(job: ExportJob, frame: Frame) -> Iterator[Record]:
    """The objects of one frame, by id; those without a pixel in it are left out.

    Raises
    ------
    ExportError
        One of them is too large to be held as a whole.
    """
    classes = {info.name: info for info in job.project.classes()}
    shown = set(job.project.shown_ids(frame.box, frame.plane))
    stored = (item for item in job.project.objects(frame.box, frame.plane) if item.id in shown)
    while batch := list(islice(stored, BATCH)):
        runs = [_runs_in(item, frame.box) for item in batch]
        for item, its_runs, polygons in zip(batch, runs, trace_all(runs), strict=True):
            if len(its_runs):
                measured = job.measure.of(item) if job.measure is not None else {}
                yield Record(Facts.of(item, classes), frame, its_runs, tuple(polygons), job.pixel_size_um, measured)


def with_runs(found: Iterable[Found], shape: tuple[int, int]) -> Iterator[tuple[Found, Runs]]:
    """Each object with its pixels, in level-0 pixels, cut at the border of an image of `shape` and of its frame.

    Raises
    ------
    ImportFileError
        An outline has more corners and rows than any object.
    """
    waiting = iter(found)
    while batch := list(islice(waiting, BATCH)):
        yield from zip(batch, _fill(batch, shape), strict=True)


def _fill(batch: list[Found], shape: tuple[int, int]) -> list[Runs]:
    result: list[Runs] = []
    image = Box(0, 0, *shape)
    try:
        polygons = [_moved(item) if isinstance(item.shape, tuple) else () for item in batch]
        filled = fill_all(polygons, image)
    except TooComplexError as error:
        if len(batch) > 1:  # find the one
            return [runs for item in batch for runs in _fill([item], shape)]
        raise batch[0].place.bad(f"its outline is too long: {error}") from error
    for item, outlined in zip(batch, filled, strict=True):
        runs = outlined
        if not isinstance(item.shape, tuple):
            runs = runs_.shift(item.shape, item.frame.box.y0, item.frame.box.x0)
        elif item.frame.box == image:  # cut when it was filled
            result.append(runs)
            continue
        result.append(runs_.clip(runs, item.frame.box.intersect(image)))
    return result


def _moved(item: Found) -> tuple[Polygon, ...]:
    y0, x0 = item.frame.box.y0, item.frame.box.x0
    assert isinstance(item.shape, tuple)
    if not (y0 or x0):
        return item.shape
    by = np.array([y0, x0])
    return tuple(Polygon(part.shell + by, tuple(hole + by for hole in part.holes)) for part in item.shape)


def _runs_in(item: StoredObject, box: Box) -> Runs:
    """The object's pixels in a box, in the box's own pixels."""
    common = item.box.intersect(box)
    if common.area > MAX_BOX_PIXELS:
        raise ExportError(
            f"Object {item.id} extends over {common.height} x {common.width} pixels, too many for one record.",
            "Export a region or tiles, or choose a label image (ome-zarr, label-tiff).",
        )
    return runs_.from_mask(item.mask_in(common), common.y0 - box.y0, common.x0 - box.x0)

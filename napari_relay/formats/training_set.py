"""A training set: a crop, its label picture and its clicks for each object, for training elsewhere or measuring here.

    FOLDER/train/images/NAME.png       8-bit RGB, as the model sees the image
    FOLDER/train/labels/NAME.png       0 background, 1 the object, 2 .. others, 255 (or 65535) outside the image
    FOLDER/train/clicks/NAME.json      object, class, place of the crop in the image, clicks in pixels of the crop
    FOLDER/validation/...              a fifth, chosen by the objects' numbers: the same at each export
    FOLDER/dataset.json                classes and counts

Each of the two folders is a set that `napari-relay evaluate --data FOLDER` measures.
"""

from __future__ import annotations

import json
import math
import zlib
from collections import Counter
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from napari_relay.errors import ExportError, UsageError
from napari_relay.formats.certificate import certificate_path
from napari_relay.formats.export import ExportReport
from napari_relay.formats.placing import check_path, put_certificate, put_in_place, written_aside
from napari_relay.geometry import Box, from_scaled, to_scaled
from napari_relay.sources import Source
from napari_relay.sources.pyramid import Progress
from napari_relay.store import Project, ProjectReader, StoredObject
from napari_relay.store.actions import PROGRAM
from napari_relay.store.provenance import now
from napari_relay.views import ChannelMix, Stretch, View, default_mix, measure_stretch, read_view
from napari_relay.views.crops import DEVIATION, MEAN

NAME = "training-set"
LOSSES = ("Where objects overlap, the upper one's pixels are those of the label, but for the object of the crop.",)
_FIELD = 1.6
"""Side of a crop in sides of the object's box."""
_SMALLEST, _LARGEST = 64, 1024
"""Sides of a crop in its own pixels; larger objects are shown coarser."""
_BAND_PIXELS = 1 << 24
_HELD_OUT = 20

Labels = npt.NDArray[np.int64]


def export_training_set(
    project: Project, source: Source, path: str | Path, *, reviewed_only: bool = False, overwrite: bool = False
) -> Generator[Progress, None, ExportReport]:
    """Write a training set of a project's objects; each label picture is read back and compared.

    Parameters
    ----------
    project : Project
    source : Source
        Its image.
    path : str or Path
        The folder to make.
    reviewed_only : bool
        Only objects that somebody has reviewed or locked.
    overwrite : bool
        Replace what lies at `path`.

    Raises
    ------
    UsageError
        The image is another one's.
    ExportError
        There is no object, something lies at `path`, or a picture was not written correctly.
    StorageError, ImageError
    """
    path = Path(path)
    check_path(path, overwrite=overwrite)
    if source.fingerprint != project.fingerprint:
        raise UsageError(f"{source.where} is not the image of {project.path}.", "Name the right one (--image).")
    return _run(project, source, path, reviewed_only=reviewed_only)


def _run(
    project: Project, source: Source, path: Path, *, reviewed_only: bool
) -> Generator[Progress, None, ExportReport]:
    with written_aside(path) as partial:
        with closing(project.snapshot()) as snapshot:
            wanted = [item.id for item in snapshot.objects() if _is_wanted(item, reviewed_only=reviewed_only)]
            if not wanted:
                raise ExportError(f"{project.path} has no objects to train with.", "Accept or review some first.")
            crops = _Crops(snapshot, source, partial)
            for count, object_id in enumerate(wanted, start=1):
                crops.write(snapshot.object(object_id))
                yield Progress(count, len(wanted))
            crops.write_summary()
            report = ExportReport(
                path, NAME, project.shape, "", len(wanted), (), LOSSES, crops.n_files, certificate_path(path)
            )
            proof = crops.certificate(report)
        put_in_place(partial, path)
        put_certificate(certificate_path(path), proof)
    return report


def _is_wanted(item: StoredObject, *, reviewed_only: bool) -> bool:
    return item.state in (("reviewed", "locked") if reviewed_only else ("accepted", "reviewed", "locked"))


class _Crops:
    """Writes crop after crop, and counts."""

    def __init__(self, project: ProjectReader, source: Source, folder: Path) -> None:
        self._project = project
        self._source = source
        self._folder = folder
        self._mix: ChannelMix = default_mix(source)
        self._stretch: Stretch = measure_stretch(source)
        self._stem = Path(project.image_name).stem or "image"
        self._counts: Counter[str] = Counter()
        self._classes: Counter[str] = Counter()
        self.n_files = 0
        for split in ("train", "validation"):
            for kind in ("images", "labels", "clicks"):
                (folder / split / kind).mkdir(parents=True)

    def write(self, item: StoredObject) -> None:
        """Write picture, labels and clicks of one object."""
        split = "validation" if zlib.crc32(f"{self._project.id} {item.id}".encode()) % 100 < _HELD_OUT else "train"
        name = f"{self._stem}_{item.id}"
        view = view_of(item.box)
        pixels = read_view(self._source, view, item.plane, self._mix, self._stretch)  # [3, side, side]
        rgb = (pixels * DEVIATION[:, None, None] + MEAN[:, None, None]).transpose(1, 2, 0)
        rgb[_outside(view, self._project.shape)] = 0
        Image.fromarray((rgb.clip(0, 1) * 255).round().astype(np.uint8)).save(self._path(split, "images", name))
        labels, numbers = self._labels(item, view)
        self._write_labels(self._path(split, "labels", name), labels)
        record = self._record(item, view, numbers)
        text = json.dumps(record, ensure_ascii=False)
        (self._folder / split / "clicks" / f"{name}.json").write_text(text, encoding="utf-8")
        self._counts[split] += 1
        self._classes[item.class_name] += 1
        self.n_files += 3

    def write_summary(self) -> None:
        """Write `dataset.json`."""
        summary = {"image": self._project.image_name, "fingerprint": self._project.fingerprint, "program": PROGRAM,
                   "created": now(), "objects": dict(self._counts), "classes": dict(self._classes)}  # fmt: skip
        text = json.dumps(summary, indent=2, ensure_ascii=False)
        (self._folder / "dataset.json").write_text(text, encoding="utf-8")
        self.n_files += 1

    def certificate(self, report: ExportReport) -> bytes:
        """What was compared, as JSON."""
        content = {
            "verdict": "equal to the project", "file": report.path.name, "format": NAME, "created": now(),
            "program": PROGRAM, "project": {"id": self._project.id, "image": self._project.image_name,
                                            "fingerprint": self._project.fingerprint},
            "compared": {"objects": report.n_objects, "label pictures": report.n_objects,
                         "classes": dict(self._classes), "splits": dict(self._counts)},
            "losses": list(report.losses), "files": {"count": self.n_files},
        }  # fmt: skip
        return json.dumps(content, indent=2, ensure_ascii=False).encode()

    def _path(self, split: str, kind: str, name: str) -> Path:
        return self._folder / split / kind / f"{name}.png"

    def _labels(self, item: StoredObject, view: View) -> tuple[Labels, dict[int, int]]:
        """Label picture of a crop, -1 outside the image, and the object of each label."""
        found = np.zeros((view.side, view.side), np.int64)
        step = max(1, int(_BAND_PIXELS / (view.box.width * view.scale)))
        for top in range(0, view.side, step):
            rows = _sampled(view.box.y0, view, top, min(top + step, view.side))
            columns = _sampled(view.box.x0, view, 0, view.side)
            box = Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
            inside = box.clip(self._project.shape)
            if inside.empty:
                continue
            pixels = np.zeros(box.shape, np.int64)
            pixels[inside.relative_to(box).slices] = self._project.labels(inside, item.plane)
            own = item.mask_in(box)
            pixels[own] = item.id
            found[top : top + len(rows)] = pixels[np.ix_(rows - box.y0, columns - box.x0)]
        others = [int(number) for number in np.unique(found) if number not in (0, item.id)]
        numbers = {1: item.id, **dict(enumerate(others, start=2))}
        order = np.array([0, item.id, *others])
        sorting = np.argsort(order)
        labels: Labels = sorting[np.searchsorted(order, found, sorter=sorting)]
        labels[_outside(view, self._project.shape)] = -1
        return labels, numbers

    def _write_labels(self, path: Path, labels: Labels) -> None:
        eight_bits = labels.max() < 255
        ignored = 255 if eight_bits else 65_535
        pixels = np.where(labels < 0, ignored, labels).astype(np.uint8 if eight_bits else np.uint16)
        Image.fromarray(pixels).save(path)
        with Image.open(path) as picture:
            if not np.array_equal(np.asarray(picture), pixels):
                raise ExportError(f"{path.name} was not written correctly.", "Check the disk, then export again.")

    def _record(self, item: StoredObject, view: View, numbers: dict[int, int]) -> dict[str, Any]:
        clicks, _ = self._project.origin(item.id)
        return {
            "image": self._project.image_name,
            "object": item.id,
            "class": item.class_name,
            "t": item.plane.t,
            "z": item.plane.z,
            "y0": view.box.y0,
            "x0": view.box.x0,
            "scale": view.scale,
            "objects": numbers,
            "clicks": [
                {"y": to_scaled(click.y, view.scale, view.box.y0), "x": to_scaled(click.x, view.scale, view.box.x0),
                 "positive": click.positive} for click in clicks
            ],
        }  # fmt: skip


def view_of(box: Box) -> View:
    """The square crop round an object."""
    field = max(_SMALLEST, math.ceil(max(box.shape) * _FIELD))
    top, left = (box.y0 + box.y1 - field) // 2, (box.x0 + box.x1 - field) // 2
    return View(Box(top, left, top + field, left + field), min(field, _LARGEST))


def _sampled(origin: int, view: View, first: int, stop: int) -> Labels:
    """The level-0 row or column under the middle of each pixel of the crop."""
    middle = [from_scaled(index, view.scale, origin) for index in range(first, stop)]
    return np.floor(np.array(middle) + 0.5).astype(np.int64)


def _outside(view: View, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    rows, columns = (_sampled(origin, view, 0, view.side) for origin in (view.box.y0, view.box.x0))
    out_rows, out_columns = (
        (places < 0) | (places >= size) for places, size in zip((rows, columns), shape, strict=True)
    )
    result: npt.NDArray[np.bool_] = out_rows[:, None] | out_columns
    return result

"""COCO instances JSON (https://cocodataset.org/#format-data): one file for any number of pictures.

Objects without holes are polygons along pixel edges, one a part; pycocotools fills them without a pixel's difference.
Objects with holes, which a COCO polygon cannot have, are run lengths, made from the object's own box. Beside the
standard's keys, an image has `relay` (where it lies in the whole one), a category `color`, an annotation `attributes`
(what else is known of the object), all of which readers of COCO pass over.

Foreign files may have polygons, run lengths as numbers (CVAT) or packed (pycocotools), or a `bbox` alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from napari_relay.errors import ExportError
from napari_relay.formats import run_lengths
from napari_relay.formats.checking import Place, as_flat_points, as_float, as_int, as_list, as_object, as_rgb, as_text
from napari_relay.formats.facts import PROVENANCE, Facts, read_provenance
from napari_relay.formats.frames import Frame, frame_from_json, frames_of
from napari_relay.formats.job import ExportJob
from napari_relay.formats.jsonstream import JsonWriter, read_top
from napari_relay.formats.outlines import Polygon, Ring
from napari_relay.formats.records import Found, Record, Watch
from napari_relay.formats.runs import Runs
from napari_relay.formats.target import Target
from napari_relay.geometry import Box

KEPT = frozenset({"id", "class_name", "color", *PROVENANCE})
MAX_PIXELS = 2**32 - 1
"""A run length is 32 bits in pycocotools, and the first may be the whole picture."""


def write(job: ExportJob, path: Path, watch: Watch) -> Iterator[int]:
    """Write the file; yields the number of annotations written."""
    frames = list(frames_of(job))
    categories = {info.name: index for index, info in enumerate(job.project.classes(), start=1)}
    count = 0
    with JsonWriter(path) as out:
        out.member("info", {"description": f"objects of {job.project.image_name}", "version": "1.0"})
        out.member("licenses", [])
        out.begin_list("images")
        for index, frame in enumerate(frames, start=1):
            out.element(_image(job, index, frame))
        out.end_list()
        out.begin_list("categories")
        for category in _categories(job, categories):
            out.element(category)
        out.end_list()
        out.begin_list("annotations")
        used: set[int] = set()
        for index, frame in enumerate(frames, start=1):
            for record in watch(frame):
                out.element(_annotation(record, index, categories, _own_id(record, used, job)))
                count += 1
                yield count
        out.end_list()


def _image(job: ExportJob, index: int, frame: Frame) -> dict[str, Any]:
    name = job.project.image_name
    whole = len(job.planes[0]) == len(job.planes[1]) == 1 and frame.box == Box(0, 0, *job.project.shape)
    if not whole:
        stem, _, ending = name.rpartition(".")
        name = f"{frame.name(stem or ending)}.png"
    height, width = frame.box.shape
    return {"id": index, "file_name": name, "height": height, "width": width,
            "relay": frame.to_json(job.project.image_name)}  # fmt: skip


def _categories(job: ExportJob, numbers: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    classes = job.project.classes()
    names = {info.id: info.name for info in classes}
    for info in classes:
        yield {"id": numbers[info.name], "name": info.name, "color": info.color,
               "supercategory": names.get(info.parent_id or 0, "")}  # fmt: skip


def _own_id(record: Record, used: set[int], job: ExportJob) -> int:
    """The object's id; of its second and further parts in other pictures a number above all ids."""
    number = record.facts.id or 0
    if number in used:
        number = max(max(job.ids, default=0), max(used)) + 1
    used.add(number)
    return number


def _annotation(record: Record, image: int, categories: Mapping[str, int], number: int) -> dict[str, Any]:
    facts, box = record.facts, record.box
    return {
        "id": number,
        "image_id": image,
        "category_id": categories[facts.class_name or ""],
        "segmentation": _run_lengths(record) if record.n_holes else _polygons(record),
        "area": record.area,
        "bbox": [box.x0, box.y0, box.width, box.height],
        "iscrowd": 0,
        "attributes": {**facts.provenance(), "object_id": facts.id},
    }


def _polygons(record: Record) -> list[Any]:
    return [part.shell[:, ::-1].ravel().tolist() for part in record.polygons]  # COCO wants x before y


def _run_lengths(record: Record) -> dict[str, Any]:
    shape = record.frame.box.shape
    counts = run_lengths.column_counts(record.runs, shape)
    packed = coco_mask.frPyObjects({"counts": counts, "size": list(shape)}, *shape)
    return {"size": list(shape), "counts": packed["counts"].decode("ascii")}


def check(job: ExportJob) -> None:
    """Refuse a picture that run lengths cannot hold.

    Raises
    ------
    ExportError
    """
    for frame in frames_of(job):
        if frame.box.area > MAX_PIXELS:
            raise ExportError(
                f"A picture of {frame.box.height} x {frame.box.width} pixels is too large for COCO's run lengths.",
                "Export a region or tiles (--tile 4096), or choose geojson or a label image.",
            )


def read(path: Path, target: Target) -> Iterator[Found]:
    """The annotations of the pictures that belong to the image.

    Raises
    ------
    ImportFileError
    """
    head = _Head(path, target)
    found_any = False
    for key, index, value in read_top(path):
        if key != "annotations":
            head.take(key, index, value)
            continue
        if not found_any:
            found_any = True
            head.complete()
        if index >= 0:
            place = Place(path.name).field("annotations").item(index)
            found = _found(as_object(value, place), place, head)
            if found is not None:
                yield found
    if not found_any:
        raise Place(path.name).field("annotations").bad("a COCO file has this list")


class _Head:
    """The pictures that are of this image, the ids of the others, and the classes.

    They mostly stand before the annotations; where they do not, the file is read twice.
    """

    def __init__(self, path: Path, target: Target) -> None:
        self._path = path
        self._target = target
        self._images: list[tuple[Mapping[str, Any], Place]] = []
        self._seen: set[str] = set()
        self.categories: dict[int, tuple[str, str | None]] = {}
        self.frames: dict[int, Frame] = {}
        self.others: set[int] = set()

    def take(self, key: str, index: int, value: Any) -> None:
        """Note what stands at the top of the file."""
        place = Place(self._path.name).field(key).item(index)
        if index < 0:
            self._seen.add(key)
        elif key == "images":
            self._images.append((as_object(value, place), place))
        elif key == "categories":
            entry = as_object(value, place)
            color = entry.get("color")
            self.categories[as_int(entry.get("id"), place.field("id"))] = (
                as_text(entry.get("name"), place.field("name")),
                None if color is None else as_rgb(color, place.field("color")),
            )

    def complete(self) -> None:
        """Make sure that all is known, and sort the pictures.

        Raises
        ------
        ImportFileError
            No picture is of the image.
        """
        if not {"images", "categories"} <= self._seen:
            self._images.clear()
            for key, index, value in read_top(self._path):
                self.take(key, index, value)
        for image, place in self._images:
            number = as_int(image.get("id"), place.field("id"))
            frame = _frame(image, place, self._target, alone=len(self._images) == 1)
            if frame is None:
                self.others.add(number)
            else:
                self.frames[number] = frame
        if not self.frames:
            name = self._target.image_name or "the image"
            place = Place(self._path.name).field("images")
            raise place.bad(f"none of its {len(self._images)} pictures is {name}")


def _frame(image: Mapping[str, Any], place: Place, target: Target, *, alone: bool) -> Frame | None:
    """Where a picture lies in the image; None for a picture of another one."""
    if image.get("relay") is not None:
        ours = as_object(image["relay"], place.field("relay"))
        if not alone and ours.get("image") != target.image_name:
            return None
        return target.check(frame_from_json(ours, place.field("relay")), place.field("relay"))
    if not alone and not target.names(as_text(image.get("file_name"), place.field("file_name"))):
        return None
    height, width = (as_int(image.get(name), place.field(name), 1, 2**31) for name in ("height", "width"))
    if (height, width) != target.shape:
        raise place.bad(f"the picture has {height} x {width} pixels, the image {target.shape[0]} x {target.shape[1]}")
    return target.whole


def _found(entry: Mapping[str, Any], place: Place, head: _Head) -> Found | None:
    image = as_int(entry.get("image_id"), place.field("image_id"))
    if image in head.others:
        return None
    if image not in head.frames:
        raise place.field("image_id").bad(f"there is no picture {image}")
    category = as_int(entry.get("category_id"), place.field("category_id"))
    if category not in head.categories:
        raise place.field("category_id").bad(f"there is no category {category}")
    name, color = head.categories[category]
    frame = head.frames[image]
    attributes = entry.get("attributes")
    attributes = attributes if isinstance(attributes, dict) else {}
    own = attributes.get("object_id", entry.get("id"))
    facts = Facts(
        id=own if isinstance(own, int) and own > 0 else None,
        class_name=name,
        color=color,
        **{"score": _optional(entry, "score", place), **read_provenance(attributes, place.field("attributes"))},
    )
    shape = _shape(entry, place, frame)
    return Found(
        place, facts, frame, shape, isinstance(shape, tuple), _optional(entry, "area", place), _stated_box(entry)
    )


def _optional(entry: Mapping[str, Any], name: str, place: Place) -> float | None:
    return None if entry.get(name) is None else as_float(entry[name], place.field(name))


def _stated_box(entry: Mapping[str, Any]) -> tuple[Any, ...] | None:
    box = entry.get("bbox")
    return tuple(box) if isinstance(box, list) else None


def _shape(entry: Mapping[str, Any], place: Place, frame: Frame) -> tuple[Polygon, ...] | Runs:
    segmentation = entry.get("segmentation")
    place = place.field("segmentation")
    if isinstance(segmentation, dict):
        return _runs_of(segmentation, place, frame.box.shape)
    if not segmentation:  # an annotation of a detector: a box is all there is
        return (Polygon(_rectangle(entry.get("bbox"), place)),)
    parts = as_list(segmentation, place)
    return tuple(Polygon(as_flat_points(part, place.item(index))) for index, part in enumerate(parts))


def _rectangle(value: Any, place: Place) -> Ring:
    if not isinstance(value, list) or len(value) != 4:
        raise place.bad("there is neither an outline nor a bbox of four numbers")
    x, y, width, height = (as_float(number, place.item(index)) for index, number in enumerate(value))
    return np.array([[y, x], [y, x + width], [y + height, x + width], [y + height, x]])


def _runs_of(entry: Mapping[str, Any], place: Place, shape: tuple[int, int]) -> Runs:
    size = as_list(entry.get("size"), place.field("size"))
    if tuple(size) != shape:
        raise place.field("size").bad(f"{size} is not the picture's {list(shape)}")
    counts = entry.get("counts")
    if isinstance(counts, str):
        numbers = run_lengths.unpack(counts, place.field("counts"))
    else:
        listed = as_list(counts, place.field("counts"))
        numbers = [as_int(number, place.field("counts").item(index)) for index, number in enumerate(listed)]
    if sum(numbers) != shape[0] * shape[1]:
        raise place.field("counts").bad(f"the runs sum up to {sum(numbers)} pixels instead of {shape[0] * shape[1]}")
    return run_lengths.from_column_counts(numbers, shape)

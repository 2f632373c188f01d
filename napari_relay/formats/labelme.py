"""labelme JSON: one file a picture (https://github.com/wkentaro/labelme).

An object of one part is a polygon, one of several parts as many polygons with one `group_id`, one with holes a `mask`
shape: a picture of its box. `group_id` is the object's number. labelme's own canvas counts from the outer corner of
the first pixel, as the polygons do.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from napari_relay.formats import runs as runs_
from napari_relay.formats.checking import Place, as_int, as_list, as_object, as_points, as_text
from napari_relay.formats.facts import PROVENANCE, Facts, read_provenance
from napari_relay.formats.frames import Frame, frame_from_json, frames_of
from napari_relay.formats.groups import Group
from napari_relay.formats.job import ExportJob
from napari_relay.formats.jsonstream import JsonWriter, read_top
from napari_relay.formats.outlines import Polygon, Ring
from napari_relay.formats.records import Found, Record, Watch
from napari_relay.formats.runs import Runs
from napari_relay.formats.target import Target

KEPT = frozenset({"id", "class_name", *PROVENANCE})
MAX_SIDE = 32_767
"""Qt, which labelme draws with, paints no larger picture."""
_VERSION = "5.5.0"


def write(job: ExportJob, path: Path, watch: Watch) -> Iterator[int]:
    """Write the file of the one frame; yields the number of objects written."""
    (frame,) = frames_of(job)
    with JsonWriter(path) as out:
        out.member("version", _VERSION)
        out.member("relay", frame.to_json(job.project.image_name))
        out.member("flags", {})
        out.begin_list("shapes")
        for count, record in enumerate(watch(frame), start=1):
            for shape in _shapes(record):
                out.element(shape)
            yield count
        out.end_list()
        out.member("imagePath", job.project.image_name)
        out.member("imageData", None)
        out.member("imageHeight", frame.box.height)
        out.member("imageWidth", frame.box.width)


def _shapes(record: Record) -> Iterator[dict[str, Any]]:
    facts = record.facts
    common = {
        "label": facts.class_name,
        "group_id": facts.id,
        "description": facts.note,
        "flags": {},
        "relay": facts.provenance(),
    }
    if record.n_holes:
        box = record.box
        corners = [[box.x0, box.y0], [box.x1 - 1, box.y1 - 1]]  # first and last pixel, as labelme has it
        yield {**common, "shape_type": "mask", "points": corners, "mask": _picture(record.runs)}
        return
    for part in record.polygons:
        yield {**common, "shape_type": "polygon", "points": part.shell[:, ::-1].tolist(), "mask": None}


def _picture(runs: Runs) -> str:
    stream = io.BytesIO()
    Image.fromarray(runs_.to_mask(runs, runs_.box_of(runs)).astype(np.uint8)).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode("ascii")


def read(path: Path, target: Target) -> Iterator[Found]:
    """The objects of the file; points and lines are passed over.

    Shapes with the same label and `group_id` are parts of one object where they follow each other.

    Raises
    ------
    ImportFileError
    """
    frame = _frame(path, target)
    group: Group | None = None
    streamed = False
    for key, index, value in read_top(path):
        if key != "shapes":
            continue
        streamed = True
        if index < 0:
            continue
        place = Place(path.name).field("shapes").item(index)
        shape = as_object(value, place)
        part = _part(shape, place, frame)
        if part is None:
            target.skipped[str(shape["shape_type"])] += 1
            continue
        label = as_text(shape.get("label"), place.field("label"))
        number = None if shape.get("group_id") is None else as_int(shape["group_id"], place.field("group_id"))
        if group is not None and not group.takes(label, number):
            yield group.found()
            group = None
        if group is None:
            group = Group(place, frame, Facts(id=number or None, class_name=label, **_facts(shape, place)), number)
        group.add(part)
    if not streamed:
        raise Place(path.name).field("shapes").bad("a labelme file has this list")
    if group is not None:
        yield group.found()


def _facts(shape: Mapping[str, Any], place: Place) -> dict[str, Any]:
    ours = shape.get("relay")
    facts = read_provenance(ours if isinstance(ours, dict) else {}, place.field("relay"))
    if isinstance(shape.get("description"), str):
        facts["note"] = shape["description"]
    return facts


def _frame(path: Path, target: Target) -> Frame:
    """The place of the picture in the image."""
    head: dict[str, Any] = {}
    place = Place(path.name)
    for key, index, value in read_top(path):
        if index < 0 and key != "imageData":
            head[key] = value
        if head.get("relay") is not None:
            break
    if head.get("relay") is not None:
        ours = place.field("relay")
        return target.check(frame_from_json(as_object(head["relay"], ours), ours), ours)
    for name, side in (("imageHeight", target.shape[0]), ("imageWidth", target.shape[1])):
        if head.get(name) is not None and as_int(head[name], place.field(name)) != side:
            raise place.field(name).bad(f"the picture has {head[name]} pixels there, the image {side}")
    return target.whole


def _part(shape: Mapping[str, Any], place: Place, frame: Frame) -> Polygon | Runs | None:
    kind = shape.get("shape_type") or "polygon"
    where = place.field("points")
    if kind in ("polygon", "oriented_rectangle"):  # the latter (labelme 6) is told by its four corners
        return Polygon(as_points(shape.get("points"), where))
    if kind in ("rectangle", "circle"):
        points = as_points(shape.get("points"), where, at_least=2)
        return Polygon(_rectangle(points) if kind == "rectangle" else _circle(points))
    if kind == "mask":
        return _read_mask(shape, place, frame)
    if kind in ("point", "line", "linestrip", "points"):
        return None
    raise place.field("shape_type").bad(f"{str(kind)[:40]!r} is no shape of labelme")


def _rectangle(points: Ring) -> Ring:
    (y0, x0), (y1, x1) = points.min(axis=0), points.max(axis=0)
    return np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0]])


def _circle(points: Ring) -> Ring:
    """Its centre and a point of the rim are given."""
    angle = np.linspace(0, 2 * np.pi, 512, endpoint=False)
    radius = np.hypot(*(points[1] - points[0]))
    ring: Ring = points[0] + radius * np.column_stack([np.sin(angle), np.cos(angle)])
    return ring


def _read_mask(shape: Mapping[str, Any], place: Place, frame: Frame) -> Runs:
    where = place.field("mask")
    points = as_list(shape.get("points"), place.field("points"))
    try:
        corners = np.asarray(points, np.float64)
        data = base64.b64decode(as_text(shape.get("mask"), where), validate=True)
    except (ValueError, TypeError, OverflowError, binascii.Error) as error:
        raise where.bad("points and mask do not fit together") from error
    if corners.shape != (2, 2) or not (np.abs(corners) < 1e9).all():
        raise place.field("points").bad("two corners are expected")
    x0, y0, x1, y1 = np.floor(corners).astype(int).ravel().tolist()
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
            size = picture.size
            if size != (x1 - x0 + 1, y1 - y0 + 1) or size[0] > frame.box.width or size[1] > frame.box.height:
                raise where.bad(f"the picture has {size[1]} x {size[0]} pixels, its corners say otherwise")
            pixels = np.asarray(picture.convert("L")) > 0
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise where.bad("it is not a PNG picture") from error
    return runs_.from_mask(pixels, y0, x0)

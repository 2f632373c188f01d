"""CVAT for images 1.1, an XML file (https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/); read only.

Polygons, boxes and ellipses (turned ones too) and masks are objects, in the order of the file. Shapes with the same
label and `group_id` are parts of one object where they follow each other. Lines, points, cuboids, skeletons and tags
are no objects and are passed over, as are attributes of objects. Coordinates count from the outer corner of the first
pixel; a mask is run lengths row by row over its own box, background first.

What was annotated in a video stands in tracks; such a file is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from napari_relay.formats import run_lengths
from napari_relay.formats import runs as runs_
from napari_relay.formats.checking import Place, as_float, as_int, as_points, as_rgb
from napari_relay.formats.facts import Facts
from napari_relay.formats.frames import Frame
from napari_relay.formats.groups import Group
from napari_relay.formats.outlines import Polygon, Ring
from napari_relay.formats.records import Found
from napari_relay.formats.runs import Runs
from napari_relay.formats.target import Target
from napari_relay.formats.xmlstream import Element, read_elements

_ROOT = "annotations"
_IMAGE = f"{_ROOT}/image"
_OBJECTS = ("polygon", "box", "ellipse", "mask")
_PASSED_OVER = ("polyline", "points", "cuboid", "skeleton", "tag")
_LABEL = "/labels/label"


@dataclass(slots=True)
class _Head:
    """What must be known before the first shape: how many pictures there are, and the classes' colours."""

    n_images: int = 0
    colors: dict[str, str] = field(default_factory=dict)


def read(path: Path, target: Target) -> Iterator[Found]:
    """The shapes of the picture that is the image.

    Raises
    ------
    ImportFileError
    """
    head = _head(path)
    frame: Frame | None = None
    group: Group | None = None
    fits = False
    for element in read_elements(path):
        parent, _, kind = element.path.rpartition("/")
        if element.path == _IMAGE:
            if group is not None:
                yield group.found()
                group = None
            frame = None if element.attributes is None else _frame(element, _place(path, element), target, head)
            fits |= frame is not None
        elif parent == _IMAGE and frame is not None and element.attributes is not None:
            place = _place(path, element)
            part = _part(kind, element.attributes, place, frame)
            if part is None:
                target.skipped[kind] += 1
                continue
            label = _text(element.attributes, "label", place)
            number = as_int(_number(element.attributes, "group_id", place, "0"), place.field("group_id")) or None
            if group is not None and not group.takes(label, number):
                yield group.found()
                group = None
            if group is None:
                facts = Facts(id=number, class_name=label, color=head.colors.get(label))
                group = Group(place, frame, facts, number)
            group.add(part)
    if not fits:
        name = target.image_name or "the image"
        raise Place(path.name).bad(f"none of its {head.n_images} pictures is {name}")


def _head(path: Path) -> _Head:
    head = _Head()
    name = ""
    for element in read_elements(path):
        if element.path.partition("/")[0] != _ROOT:
            raise _place(path, element).bad("a file of CVAT begins with <annotations>")
        if element.path == f"{_ROOT}/track":
            raise _place(path, element).bad("tracks of a video are not read; export as `CVAT for images`")
        if element.path == _IMAGE and element.attributes is not None:
            head.n_images += 1
        elif element.attributes is None and element.path.endswith(f"{_LABEL}/name"):
            name = element.text
        elif element.attributes is None and element.path.endswith(f"{_LABEL}/color") and element.text:
            head.colors[name] = as_rgb(element.text, _place(path, element))
    return head


def _place(path: Path, element: Element) -> Place:
    return Place(path.name, f"line {element.line}: {element.path.rpartition('/')[2]}")


def _frame(element: Element, place: Place, target: Target, head: _Head) -> Frame | None:
    """The whole image where the picture is the image; None for a picture of another one."""
    attributes = element.attributes or {}
    if head.n_images > 1 and not target.names(_text(attributes, "name", place)):
        return None
    for name, side in (("height", target.shape[0]), ("width", target.shape[1])):
        if name in attributes and as_int(_number(attributes, name, place), place.field(name)) != side:
            raise place.field(name).bad(f"the picture has {attributes[name][:20]} pixels there, the image {side}")
    return target.whole


def _part(kind: str, shape: Mapping[str, str], place: Place, frame: Frame) -> Polygon | Runs | None:
    if kind in _PASSED_OVER:
        return None
    if kind == "polygon":
        return Polygon(_points(_text(shape, "points", place), place.field("points")))
    if kind == "box":
        x0, y0, x1, y1 = (_number(shape, name, place) for name in ("xtl", "ytl", "xbr", "ybr"))
        corners = np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0]])
        return Polygon(_turned(corners, ((y0 + y1) / 2, (x0 + x1) / 2), _number(shape, "rotation", place, "0")))
    if kind == "ellipse":
        cx, cy, rx, ry = (_number(shape, name, place) for name in ("cx", "cy", "rx", "ry"))
        angle = np.linspace(0, 2 * np.pi, 512, endpoint=False)
        rim = np.column_stack([cy + ry * np.sin(angle), cx + rx * np.cos(angle)])
        return Polygon(_turned(rim, (cy, cx), _number(shape, "rotation", place, "0")))
    if kind == "mask":
        return _mask(shape, place, frame)
    raise place.bad(f"CVAT has {', '.join(_OBJECTS + _PASSED_OVER)} there, no {kind!r}")


def _turned(ring: Ring, centre: tuple[float, float], degrees: float) -> Ring:
    """The ring turned clockwise, as one sees it, about a centre (y, x)."""
    angle = np.deg2rad(degrees)
    dy, dx = (ring - np.array(centre)).T
    y, x = dx * np.sin(angle) + dy * np.cos(angle), dx * np.cos(angle) - dy * np.sin(angle)
    turned: Ring = np.column_stack([y, x]) + np.array(centre)
    return turned


def _mask(shape: Mapping[str, str], place: Place, frame: Frame) -> Runs:
    left, top, width, height = (
        as_int(_number(shape, name, place), place.field(name), 0, 2**31) for name in ("left", "top", "width", "height")
    )
    if top + height > frame.box.height or left + width > frame.box.width:
        raise place.bad(f"{height} x {width} pixels at y={top}, x={left} do not lie in the picture")
    where = place.field("rle")
    try:
        counts = [int(count) for count in _text(shape, "rle", place).split(",")]
    except ValueError:
        raise where.bad("whole numbers with commas between them are expected") from None
    if min(counts) < 0 or sum(counts) > height * width:
        raise where.bad(f"the runs sum up to more than its {height} x {width} pixels, or are below 0")
    return runs_.shift(run_lengths.from_row_counts(counts, width), top, left)


def _points(text: str, place: Place) -> Ring:
    try:
        points = [[float(number) for number in point.split(",")] for point in text.split(";")]
    except ValueError:
        raise place.bad("points `x,y;x,y` of numbers are expected") from None
    return as_points(points, place)


def _text(attributes: Mapping[str, str], name: str, place: Place) -> str:
    if name not in attributes:
        raise place.bad(f"it has no {name}")
    return attributes[name]


def _number(attributes: Mapping[str, str], name: str, place: Place, missing: str | None = None) -> float:
    text = _text(attributes, name, place) if missing is None else attributes.get(name, missing)
    try:
        return as_float(float(text), place.field(name))
    except ValueError:
        raise place.field(name).bad(f"a number is expected, not {text[:40]!r}") from None

"""GeoJSON as QuPath (0.4 and later) writes and reads it: level-0 pixels, (0, 0) the outer corner of the first one.

One feature an object: classification with colour, name, lock, measurements and metadata; holes and parts as they are.
A plane other than the first stands in `geometry.plane`, which is QuPath's own. `id` is a UUID made of the project's
id and the object's number, so exporting again updates the same objects in QuPath; the number itself is in `metadata`.

Read are feature collections, lists of features (QuPath 0.2) and single features. Points and lines are no objects and
are passed over; ellipses of QuPath become real ellipses.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from napari_relay.formats.checking import Place, as_int, as_list, as_object, as_points, as_rgb, as_text
from napari_relay.formats.facts import PROVENANCE, Facts, read_provenance
from napari_relay.formats.frames import Frame, frames_of
from napari_relay.formats.job import ExportJob
from napari_relay.formats.jsonstream import JsonWriter, read_top
from napari_relay.formats.outlines import Polygon, Ring
from napari_relay.formats.records import Found, Record, Watch
from napari_relay.formats.target import Target
from napari_relay.geometry import Plane
from napari_relay.store.values import ObjectState

KEPT = frozenset({"id", "class_name", "color", *PROVENANCE})
_NO_AREA = {"Point", "MultiPoint", "LineString", "MultiLineString"}
_MAX_CHILDREN = 20
_AREA = "Area px^2"


def write(job: ExportJob, path: Path, watch: Watch) -> Iterator[int]:
    """Write the file; yields the number of features written."""
    namespace = uuid.uuid5(uuid.NAMESPACE_OID, job.project.id)
    count = 0
    with JsonWriter(path) as out:
        out.member("type", "FeatureCollection")
        out.begin_list("features")
        for frame in frames_of(job):
            for record in watch(frame):
                out.element(_feature(record, namespace))
                count += 1
                yield count
        out.end_list()


def _feature(record: Record, namespace: uuid.UUID) -> dict[str, Any]:
    facts = record.facts
    properties: dict[str, Any] = {
        "objectType": "annotation",
        "name": str(facts.id),
        "classification": {"name": facts.class_name, "color": _rgb(facts.color)},
        "isLocked": facts.state is ObjectState.LOCKED,
        "measurements": _measurements(record),
        # QuPath keeps text only here.
        "metadata": {name: str(value) for name, value in {"object_id": facts.id, **facts.provenance()}.items()},
    }
    where = f"{facts.id} {record.frame.box}"
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(namespace, where)),
        "geometry": geometry(record.polygons, record.frame),
        "properties": properties,
    }


def geometry(polygons: tuple[Polygon, ...], frame: Frame) -> dict[str, Any]:
    """Polygons of a frame as a GeoJSON geometry in level-0 pixels."""
    parts = [[_closed(ring, frame) for ring in (part.shell, *part.holes)] for part in polygons]
    shape: dict[str, Any] = (
        {"type": "Polygon", "coordinates": parts[0]}
        if len(parts) == 1
        else {"type": "MultiPolygon", "coordinates": parts}
    )
    if frame.plane != Plane():
        shape["plane"] = {"c": -1, "z": frame.plane.z, "t": frame.plane.t}
    return shape


def _closed(ring: Ring, frame: Frame) -> list[list[int]]:
    placed = ring[:, ::-1] + np.array([frame.box.x0, frame.box.y0])  # GeoJSON wants x before y
    points: list[list[int]] = placed.tolist()
    return [*points, points[0]]


def _measurements(record: Record) -> dict[str, float]:
    found: dict[str, float] = {_AREA: record.area}
    if record.pixel_size_um is not None:
        found["Area µm^2"] = record.area * record.pixel_size_um[0] * record.pixel_size_um[1]
    return found | dict(record.measured)


def _rgb(color: str | None) -> list[int]:
    return [int((color or "#ffffff")[i : i + 2], 16) for i in (1, 3, 5)]


def read(path: Path, target: Target) -> Iterator[Found]:
    """The features that have an area.

    Raises
    ------
    ImportFileError
    """
    single: dict[str, Any] = {}
    streamed = False
    for key, index, value in read_top(path):
        if key in ("features", "") and index >= 0:
            streamed = True
            place = Place(path.name).field(key or "features").item(index)
            yield from _features(as_object(value, place), place, target, 0)
        elif index < 0:
            streamed |= key == "features"
            single[key] = value
    if not streamed:
        if single.get("type") != "Feature":
            raise Place(path.name).field("features").bad("a GeoJSON file of objects has this list")
        yield from _features(single, Place(path.name), target, 0)


def _features(feature: Mapping[str, Any], place: Place, target: Target, depth: int) -> Iterator[Found]:
    """The feature itself and the objects that stand in it (QuPath nests them where it is asked to)."""
    if feature.get("geometry") is None:
        return
    properties = feature.get("properties") or {}
    properties = as_object(properties, place.field("properties"))
    shape = as_object(feature["geometry"], place.field("geometry"))
    polygons = tuple(read_geometry(shape, place.field("geometry")))
    if not polygons:
        target.skipped[str(shape.get("type"))] += 1
    else:
        frame = target.check(
            Frame(target.whole.box, _plane(shape, place.field("geometry"), target)), place.field("geometry")
        )
        facts = _facts(feature, properties, place.field("properties"))
        yield Found(place, facts, frame, polygons, area=_stated_area(properties))
    children = properties.get("childObjects")
    if children and depth < _MAX_CHILDREN:
        place = place.field("properties.childObjects")
        for index, child in enumerate(as_list(children, place)):
            yield from _features(as_object(child, place.item(index)), place.item(index), target, depth + 1)


def read_geometry(shape: Mapping[str, Any], place: Place) -> Iterator[Polygon]:
    """The polygons of a GeoJSON geometry.

    Raises
    ------
    ImportFileError
    """
    kind = as_text(shape.get("type"), place.field("type"))
    if kind in _NO_AREA:
        return
    if kind == "GeometryCollection":
        inner = as_list(shape.get("geometries"), place.field("geometries"))
        for index, entry in enumerate(inner):
            where = place.field("geometries").item(index)
            if as_object(entry, where).get("type") == "GeometryCollection":
                raise where.bad("a collection inside a collection is not read")
            yield from read_geometry(entry, where)
        return
    if kind not in ("Polygon", "MultiPolygon"):
        raise place.field("type").bad(f"{kind!r} is no geometry of GeoJSON")
    place = place.field("coordinates")
    parts = as_list(shape.get("coordinates"), place)
    for index, part in enumerate([parts] if kind == "Polygon" else parts):
        where = place if kind == "Polygon" else place.item(index)
        rings = [as_points(ring, where.item(i)) for i, ring in enumerate(as_list(part, where))]
        if rings:
            ellipse = kind == "Polygon" and shape.get("isEllipse") is True
            yield Polygon(_ellipse(rings[0])) if ellipse else Polygon(rings[0], tuple(rings[1:]))


def _ellipse(ring: Ring) -> Ring:
    """QuPath writes an ellipse as a coarse polygon with a remark; its bounds say the rest."""
    low, high = ring.min(axis=0), ring.max(axis=0)
    angle = np.linspace(0, 2 * np.pi, 512, endpoint=False)
    points: Ring = (low + high) / 2 + np.column_stack([np.sin(angle), np.cos(angle)]) * (high - low) / 2
    return points


def _plane(shape: Mapping[str, Any], place: Place, target: Target) -> Plane:
    if shape.get("plane") is None:
        return target.plane
    plane = as_object(shape["plane"], place.field("plane"))
    t, z = (as_int(plane.get(axis, 0), place.field(f"plane.{axis}"), 0, 2**31) for axis in "tz")
    return Plane(t, z)


def _stated_area(properties: Mapping[str, Any]) -> float | None:
    measured = properties.get("measurements")
    area = measured.get(_AREA) if isinstance(measured, dict) else None
    return area if isinstance(area, int | float) else None


def _facts(feature: Mapping[str, Any], properties: Mapping[str, Any], place: Place) -> Facts:
    name, color = _class(properties.get("classification"), place.field("classification"))
    metadata = properties.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    facts = read_provenance(metadata, place.field("metadata"))
    if properties.get("isLocked") is True:
        facts["state"] = ObjectState.LOCKED
    elif facts.get("state") == ObjectState.LOCKED:
        facts["state"] = ObjectState.ACCEPTED  # unlocked in QuPath
    own = str(metadata.get("object_id", ""))
    if "object_id" not in metadata and not facts.get("note") and isinstance(properties.get("name"), str):
        facts["note"] = properties["name"]
    return Facts(id=int(own) if own.isdecimal() and len(own) < 12 else None, class_name=name, color=color, **facts)


def _class(found: Any, place: Place) -> tuple[str | None, str | None]:
    """Name and colour; QuPath before 0.5 says `colorRGB`, QuPath 0.5 `names` where a class is derived."""
    if found is None:
        return None, None
    if isinstance(found, str):
        return found, None
    entry = as_object(found, place)
    name = entry.get("name")
    if name is None and entry.get("names"):
        names = as_list(entry["names"], place.field("names"))
        name = ": ".join(as_text(part, place.field("names")) for part in names)
    color = entry.get("color", entry.get("colorRGB"))
    return (
        None if name is None else as_text(name, place.field("name")),
        None if color is None else as_rgb(color, place.field("color")),
    )

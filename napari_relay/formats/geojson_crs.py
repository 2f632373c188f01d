"""GeoJSON in the image's own coordinate reference system, for QGIS and other GIS programs (extra `geo`).

RFC 7946 knows longitude and latitude only; for other systems the file has the `crs` member of the 2008 format, as
GDAL writes and reads it. Corners are pixel corners under the image's affine. Rings run as RFC 7946 wants. Facts are
plain properties, so that they become columns of an attribute table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from napari_relay.errors import ExportError, MissingExtraError
from napari_relay.formats import georeferencing
from napari_relay.formats.checking import Place, as_object, as_rgb, as_text
from napari_relay.formats.facts import PROVENANCE, Facts, read_provenance
from napari_relay.formats.frames import frames_of
from napari_relay.formats.geojson import read_geometry
from napari_relay.formats.job import ExportJob, Georeference
from napari_relay.formats.jsonstream import JsonWriter, read_top
from napari_relay.formats.outlines import Polygon, Ring
from napari_relay.formats.records import Found, Record, Watch
from napari_relay.formats.target import Target

KEPT = frozenset({"id", "class_name", "color", *PROVENANCE})
_LONGITUDE_LATITUDE = ("EPSG:4326", "OGC:CRS84")


def check(job: ExportJob) -> None:
    """Refuse a system that GeoJSON has no name for.

    Raises
    ------
    ExportError, MissingExtraError
    """
    georeferencing.check(job)
    assert job.georeference is not None
    if _code(job.georeference.crs) is None:
        raise ExportError(
            "The image's CRS has no EPSG code, and GeoJSON has no other name for it.", "Choose geotiff, or geojson."
        )


def write(job: ExportJob, path: Path, watch: Watch) -> Iterator[int]:
    """Write the file; yields the number of features written."""
    assert job.georeference is not None
    code = _code(job.georeference.crs)
    count = 0
    with JsonWriter(path) as out:
        out.member("type", "FeatureCollection")
        out.member("name", Path(job.project.image_name).stem)
        if code not in _LONGITUDE_LATITUDE:
            authority, _, number = str(code).partition(":")
            name = f"urn:ogc:def:crs:{authority}::{number}"
            out.member("crs", {"type": "name", "properties": {"name": name}})
        out.begin_list("features")
        for frame in frames_of(job):
            placed = job.georeference.at(frame.box.y0, frame.box.x0)
            for record in watch(frame):
                out.element(_feature(record, placed))
                count += 1
                yield count
        out.end_list()


def _feature(record: Record, georeference: Georeference) -> dict[str, Any]:
    facts = record.facts
    parts = [[_world(ring, georeference) for ring in (part.shell, *part.holes)] for part in record.polygons]
    shape = {"type": "Polygon", "coordinates": parts[0]} if len(parts) == 1 else {
        "type": "MultiPolygon", "coordinates": parts,
    }  # fmt: skip
    properties = {
        "object_id": facts.id, "class": facts.class_name, "color": facts.color, "area_px": record.area,
        "t": record.frame.plane.t, "z": record.frame.plane.z, **facts.provenance(),
    }  # fmt: skip
    return {"type": "Feature", "id": facts.id, "geometry": shape, "properties": properties}


def _world(ring: Ring, georeference: Georeference) -> list[list[float]]:
    turned = ring[::-1] if georeferencing.turns_over(georeference) else ring
    points: list[list[float]] = georeferencing.to_world(turned, georeference).tolist()
    return [*points, points[0]]


def _code(crs: str) -> str | None:
    """`EPSG:..` of a system, or None."""
    rasterio = georeferencing.need_rasterio()
    found = rasterio.crs.CRS.from_user_input(crs).to_authority()
    return None if found is None else f"{found[0]}:{found[1]}"


def read_crs(path: Path) -> str:
    """The CRS as GDAL (pyogrio) finds it.

    Raises
    ------
    MissingExtraError
    """
    try:
        import pyogrio
    except ImportError as error:
        raise MissingExtraError(
            "GeoJSON with a CRS needs pyogrio.", 'Install it: pip install "napari-relay[geo]".'
        ) from error
    return str(pyogrio.read_info(path).get("crs") or "")


def read(path: Path, target: Target) -> Iterator[Found]:
    """The features with an area, brought to the image's pixels.

    Raises
    ------
    ImportFileError
    """
    place = Place(path.name)
    if target.georeference is None:
        raise place.bad("it lies on the Earth, but where the image lies is not known")
    named = _named_crs(path)
    if not georeferencing.same_crs(named, target.georeference.crs):
        raise place.field("crs").bad(f"it is {named}, the image's is {target.georeference.crs}")
    for key, index, value in read_top(path):
        if key == "features" and index >= 0:
            where = place.field("features").item(index)
            feature = as_object(value, where)
            if feature.get("geometry") is not None:
                yield from _found(feature, where, target, target.georeference)


def _named_crs(path: Path) -> str:
    for key, index, value in read_top(path):
        if key == "features" and index >= 0:
            break  # whoever names a system does so before
        if key == "crs" and value is not None:
            place = Place(path.name).field("crs.properties")
            properties = as_object(as_object(value, Place(path.name).field("crs")).get("properties"), place)
            return as_text(properties.get("name"), place.field("name"))
    return "EPSG:4326"


def _found(feature: Mapping[str, Any], place: Place, target: Target, georeference: Georeference) -> Iterator[Found]:
    shape = as_object(feature["geometry"], place.field("geometry"))
    polygons = tuple(_pixels(part, georeference) for part in read_geometry(shape, place.field("geometry")))
    if not polygons:
        target.skipped[str(shape.get("type"))] += 1
        return
    properties = as_object(feature.get("properties") or {}, place.field("properties"))
    name, color, own = (properties.get(key) for key in ("class", "color", "object_id"))
    facts = Facts(
        id=own if isinstance(own, int) and own > 0 else None,
        class_name=name if isinstance(name, str) else None,
        color=None if color is None else as_rgb(color, place.field("properties.color")),
        **read_provenance(properties, place.field("properties")),
    )
    area = properties.get("area_px")
    yield Found(place, facts, target.whole, polygons, area=area if isinstance(area, int) else None)


def _pixels(part: Polygon, georeference: Georeference) -> Polygon:
    shell, *holes = (
        georeferencing.to_pixels(np.asarray(ring[:, ::-1], np.float64), georeference)
        for ring in (part.shell, *part.holes)
    )
    return Polygon(shell, tuple(holes))

"""The formats there are, by name. A new one is a file of this folder and an entry here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from napari_relay.errors import UsageError
from napari_relay.formats import (
    coco,
    cvat,
    geojson,
    geojson_crs,
    georeferencing,
    geotiff,
    label_png,
    label_reading,
    label_tiff,
    labelme,
    ome_zarr,
    yolo,
)
from napari_relay.formats.facts import Facts
from napari_relay.formats.job import Affine, ExportJob, IdTile
from napari_relay.formats.records import Found, Watch
from napari_relay.formats.target import Target
from napari_relay.formats.witness import Place

WriteTiles = Callable[[ExportJob, Path, Iterator[IdTile]], Iterator[int]]
"""Writes the tiles, which come in the order of `ExportJob.places`, to a path; yields how many are done."""
ReadTiles = Callable[[ExportJob, Path], Iterator[tuple[Place, IdTile]]]
"""Reads every tile of level 0 back out of the file."""
WriteRecords = Callable[[ExportJob, Path, Watch], Iterator[int]]
"""Writes the records that it gets for each frame of the job; yields how many are done."""
ReadRecords = Callable[[Path, Target], Iterator[Found]]
"""Reads the objects of an image out of a file, in the order in which they stand there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A format: its name and file endings (the first is the usual one), and what it can hold.

    Attributes
    ----------
    kept : names of the `Facts` of an object that it holds.
    losses : what else of a project it cannot hold, in sentences.
    many_frames : whether one file (or folder) describes several pictures; else tiles become files of a folder.
    many_planes : whether one file holds several t and z planes.
    max_side, max_pixels : of one picture.
    check : refuses what it cannot hold.
    read_crs, read_affine : what it says of where the image lies on the Earth; such a format asks for a georeference.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    kept: frozenset[str] = frozenset({"id"})
    losses: tuple[str, ...] = ()
    many_frames: bool = False
    many_planes: bool = False
    max_side: int | None = None
    max_pixels: int | None = None
    check: Callable[[ExportJob], None] | None = None
    read_crs: Callable[[Path], str] | None = None
    read_affine: Callable[[Path], Affine] | None = None

    @property
    def geo(self) -> bool:
        """Whether its coordinates are those of the Earth."""
        return self.read_crs is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFormat(Format):
    """A picture of ids.

    `read` makes objects of a picture of any origin; `read_facts` says what the file knows of each id.
    """

    write: WriteTiles
    read_back: ReadTiles
    read: ReadRecords
    read_facts: Callable[[Path], Mapping[int, Facts]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFormat(Format):
    """Objects one by one, each with its whole shape. The reader of imports is also the export's witness."""

    write: WriteRecords
    read: ReadRecords


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadFormat(Format):
    """A format of other programs that is imported and not written."""

    read: ReadRecords


_Kind = TypeVar("_Kind", bound=Format)
_UPPER = "Where objects overlap, only the number of the upper one is there."

_ALL: tuple[LabelFormat | RecordFormat, ...] = (
    LabelFormat(
        name="ome-zarr",
        title="OME-Zarr 0.5 label image with levels and class colours",
        suffixes=(".ome.zarr", ".zarr"),
        kept=frozenset({"id", "class_name", "color"}),
        losses=(_UPPER,),
        many_planes=True,
        write=ome_zarr.write,
        read_back=ome_zarr.read_back,
        read=label_reading.read_zarr,
        read_facts=ome_zarr.read_facts,
    ),
    LabelFormat(
        name="label-tiff",
        title="tiled BigTIFF of object ids",
        suffixes=(".tif", ".tiff"),
        losses=(_UPPER,),
        many_planes=True,
        write=label_tiff.write,
        read_back=label_tiff.read_back,
        read=label_reading.read_tiff,
    ),
    LabelFormat(
        name="label-png",
        title="PNG of object ids, 8 or 16 bits",
        suffixes=(".png",),
        losses=(_UPPER,),
        max_pixels=label_png.MAX_PIXELS,
        check=label_png.check,
        write=label_png.write,
        read_back=label_png.read_back,
        read=label_reading.read_png,
    ),
    LabelFormat(
        name="geotiff",
        title="GeoTIFF of object ids with CRS and affine",
        suffixes=(".geo.tif", ".geo.tiff"),
        losses=(_UPPER,),
        check=georeferencing.check,
        read_crs=lambda path: geotiff.read_georeference(path).crs,
        read_affine=lambda path: geotiff.read_georeference(path).affine,
        write=geotiff.write,
        read_back=geotiff.read_back,
        read=geotiff.read,
    ),
    RecordFormat(
        name="geojson",
        title="GeoJSON of QuPath",
        suffixes=(".geojson",),
        kept=geojson.KEPT,
        many_frames=True,
        many_planes=True,
        write=geojson.write,
        read=geojson.read,
    ),
    RecordFormat(
        name="geojson-crs",
        title="GeoJSON in the image's coordinate reference system",
        suffixes=(".geo.json", ".geo.geojson"),
        kept=geojson_crs.KEPT,
        many_frames=True,
        check=geojson_crs.check,
        read_crs=geojson_crs.read_crs,
        write=geojson_crs.write,
        read=geojson_crs.read,
    ),
    RecordFormat(
        name="coco",
        title="COCO instances JSON",
        suffixes=(".coco.json", ".json"),
        kept=coco.KEPT,
        losses=("Objects with holes are run lengths, which programs that know polygons only cannot read.",),
        many_frames=True,
        many_planes=True,
        check=coco.check,
        write=coco.write,
        read=coco.read,
    ),
    RecordFormat(
        name="labelme",
        title="labelme JSON",
        suffixes=(".labelme.json",),
        kept=labelme.KEPT,
        losses=("Objects with holes are mask shapes, which labelme reads since version 5.3.",),
        max_side=labelme.MAX_SIDE,
        write=labelme.write,
        read=labelme.read,
    ),
    RecordFormat(
        name="yolo-seg",
        title="YOLO segmentation folder",
        suffixes=(".yolo",),
        kept=yolo.KEPT,
        losses=("Holes and separate parts are joined to the outline by lines of no width, which some programs paint.",),
        many_frames=True,
        many_planes=True,
        max_pixels=yolo.MAX_PIXELS,
        write=yolo.write,
        read=yolo.read,
    ),
)

_READ_ONLY: tuple[ReadFormat, ...] = (
    ReadFormat(name="cvat", title="CVAT for images XML", suffixes=(".xml",), read=cvat.read),
)

FORMATS: Mapping[str, LabelFormat | RecordFormat] = {entry.name: entry for entry in _ALL}
"""What is written, and read too."""
READABLE: Mapping[str, LabelFormat | RecordFormat | ReadFormat] = {entry.name: entry for entry in (*_ALL, *_READ_ONLY)}
"""What is read."""


def find_format(name: str | None, path: Path) -> LabelFormat | RecordFormat:
    """The format to write: of that name, or the one that the path's ending tells: the longest that fits.

    Raises
    ------
    UsageError
        There is none.
    """
    return _find(FORMATS, "export", name, path)


def find_readable(name: str | None, path: Path) -> LabelFormat | RecordFormat | ReadFormat:
    """The format to read, as `find_format` finds the one to write.

    Raises
    ------
    UsageError
        There is none.
    """
    return _find(READABLE, "import", name, path)


def _find(formats: Mapping[str, _Kind], purpose: str, name: str | None, path: Path) -> _Kind:
    known = ", ".join(formats)
    if name is not None:
        if name not in formats:
            raise UsageError(f"There is no {purpose} format {name!r}.", f"Choose one of {known}.")
        return formats[name]
    lower = path.name.lower()
    fitting = [(len(end), entry) for entry in formats.values() for end in entry.suffixes if lower.endswith(end)]
    if not fitting:
        raise UsageError(f"The ending of {path.name} tells no {purpose} format.", f"Name one of {known}.")
    return max(fitting, key=lambda pair: pair[0])[1]

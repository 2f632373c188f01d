"""Label images of any origin as objects: TIFF and OME-Zarr through the program's own readers, PNG through Pillow.

Bands of rows are read twice: once to know in which band each number is seen last, once to collect its runs, which are
handed on as soon as they are complete. So what is held is one band and the objects that are open in it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
import zarr
from PIL import Image

from napari_relay.errors import UnsupportedImageError
from napari_relay.formats.checking import Place, as_int, as_list, as_object
from napari_relay.formats.facts import Facts
from napari_relay.formats.frames import Frame, frame_from_json, frame_from_name
from napari_relay.formats.job import TILE
from napari_relay.formats.records import Found
from napari_relay.formats.runs import Runs
from napari_relay.formats.target import Target
from napari_relay.geometry import Box, Plane
from napari_relay.sources import Source, open_image

Labels = npt.NDArray[Any]
_GREY = {"1", "L", "P", "I", "I;16", "I;16L", "I;16B"}
_MAX_CHUNK_BYTES = 1 << 30


@dataclass(frozen=True, slots=True, eq=False)
class LabelImage:
    """An open label image: its place in the image (with the first of its planes), and how a part of it is read.

    `read(plane, box)` takes the plane and the box in its own pixels; [y, x] of whole numbers.
    """

    place: Place
    frame: Frame
    planes: tuple[Plane, ...]
    read: Callable[[Plane, Box], Labels]


def read_tiff(path: Path, target: Target) -> Iterator[Found]:
    """The objects of a label TIFF.

    Raises
    ------
    ImportFileError, ImageError
    """
    return objects_of(_opened(path, target, _tiff_region), {})


def read_zarr(path: Path, target: Target) -> Iterator[Found]:
    """The objects of OME-Zarr labels, with their classes where the file names them.

    Raises
    ------
    ImportFileError, ImageError
    """
    path = _label_group(path)
    _check_chunks(path)
    return objects_of(_opened(path, target, _zarr_region), _zarr_facts(path))


def _label_group(path: Path) -> Path:
    """The labels themselves, where a whole image with its `labels/` is given.

    Raises
    ------
    ImportFileError
        It has several.
    """
    inner = path / "labels"
    groups = sorted(group for group in inner.iterdir() if group.is_dir()) if inner.is_dir() else []
    groups = [group for group in groups if group.resolve().is_relative_to(path.resolve())]
    if len(groups) > 1:
        raise Place(path.name).bad(f"it has several labels: name one of {', '.join(group.name for group in groups)}")
    return groups[0] if groups else path


def read_png(path: Path, target: Target) -> Iterator[Found]:
    """The objects of a grey or palette picture of ids.

    Raises
    ------
    ImportFileError
    """
    return objects_of(_opened_png(path, target), {})


def read_placed(path: Path, target: Target, region: Callable[[Path, Place], tuple[int, int]]) -> Iterator[Found]:
    """The objects of a label TIFF whose first pixel (y, x) in the image `region` tells.

    Raises
    ------
    ImportFileError, ImageError
    """
    return objects_of(_opened(path, target, region), {})


def objects_of(opened: AbstractContextManager[LabelImage], facts: Mapping[int, Facts]) -> Iterator[Found]:
    """Every object of a label image, with what is known of its number.

    Raises
    ------
    ImportFileError
        A number is below 0.
    """
    with opened as image:
        for plane in image.planes:
            frame = Frame(image.frame.box, Plane(plane.t + image.frame.plane.t, plane.z + image.frame.plane.z))
            for number, runs in _runs_of_plane(image, plane):
                place = image.place.field(f"label {number}")
                yield Found(place, facts.get(number, Facts(id=number)), frame, runs, counted=False)


def _runs_of_plane(image: LabelImage, plane: Plane) -> Iterator[tuple[int, Runs]]:
    """(number, runs in the image's own pixels) of every object, by the band in which it ends."""
    last: dict[int, int] = {}
    for top, tiles in _bands(image, plane):
        for _, tile in tiles:
            last.update(dict.fromkeys(np.unique(tile).tolist(), top))
    if last and min(last) < 0:
        raise image.place.bad(f"it has the label {min(last)}, below 0")
    open_runs: dict[int, list[Runs]] = {}
    for top, tiles in _bands(image, plane):
        for number, runs in _runs_of_band(list(tiles)):
            open_runs.setdefault(number, []).append(runs)
        for number in sorted(number for number in open_runs if last[number] == top):
            yield number, np.concatenate(open_runs.pop(number))


def _bands(image: LabelImage, plane: Plane) -> Iterator[tuple[int, Iterator[tuple[Box, Labels]]]]:
    shape = image.frame.box.shape
    for top in range(0, shape[0], TILE):
        boxes = (Box(top, left, top + TILE, left + TILE).clip(shape) for left in range(0, shape[1], TILE))
        yield top, ((box, image.read(plane, box)) for box in boxes)


def _runs_of_band(tiles: list[tuple[Box, Labels]]) -> Iterator[tuple[int, Runs]]:
    """Number and runs of each object of a band; runs that go on in the next tile are joined."""
    found = np.concatenate([_runs_of_tile(box, tile) for box, tile in tiles])  # (number, row, first, after)
    if not len(found):
        return
    found = found[np.lexsort((found[:, 2], found[:, 1], found[:, 0]))]
    goes_on = (found[1:, :2] == found[:-1, :2]).all(axis=1) & (found[1:, 2] == found[:-1, 3])
    first = np.flatnonzero(np.concatenate([[True], ~goes_on]))
    after = found[np.append(first[1:], len(found)) - 1, 3]
    joined = np.column_stack([found[first, :3], after])
    starts = np.flatnonzero(np.concatenate([[True], joined[1:, 0] != joined[:-1, 0]]))
    for part in np.split(joined, starts[1:]):
        yield int(part[0, 0]), part[:, 1:]


def _runs_of_tile(box: Box, tile: Labels) -> npt.NDArray[np.int64]:
    if not tile.any():
        return np.zeros((0, 4), np.int64)
    change = np.ones((box.height, box.width + 1), bool)
    change[:, 1:-1] = tile[:, 1:] != tile[:, :-1]
    rows, columns = np.nonzero(change)
    inside = columns[:-1] < columns[1:]  # else the row ends
    rows, first, after = rows[:-1][inside], columns[:-1][inside], columns[1:][inside]
    number = tile[rows, first].astype(np.int64)
    found: npt.NDArray[np.int64] = np.column_stack([number, rows + box.y0, first + box.x0, after + box.x0])
    kept: npt.NDArray[np.int64] = found[number != 0]
    return kept


@contextmanager
def _opened(path: Path, target: Target, region: Callable[[Path, Place], tuple[int, int]]) -> Iterator[LabelImage]:
    place = Place(path.name)
    with closing(open_image(path)) as source:
        if source.channels != 1 or source.dtype.kind not in "uib":
            raise UnsupportedImageError(
                f"{path.name} is no label image: it has {source.channels} channels of {source.dtype}.",
                "A label image has one channel of whole numbers, 0 for background.",
            )
        y0, x0 = region(path, place)
        frame = Frame(Box(y0, x0, y0 + source.shape[0], x0 + source.shape[1]), target.plane)
        target.check(frame, place)
        sizes = (source.sizes_t, source.sizes_z)
        if sizes not in ((1, 1), target.sizes):
            raise place.bad(f"it has {sizes} planes (t, z), the image {target.sizes}")
        planes = tuple(Plane(t, z) for t in range(sizes[0]) for z in range(sizes[1]))
        if len(planes) > 1:
            frame = Frame(frame.box)
        yield LabelImage(place, frame, planes, _reader(source))


def _reader(source: Source) -> Callable[[Plane, Box], Labels]:
    return lambda plane, box: source.read(box, 0, plane)[..., 0]


def _tiff_region(path: Path, place: Place) -> tuple[int, int]:
    """The first pixel (y, x) of a part of an image, as `label_tiff` notes it."""
    try:
        with tifffile.TiffFile(path) as tiff:
            noted = tiff.shaped_metadata
    except (ValueError, tifffile.TiffFileError):
        noted = None
    region = noted[0].get("region") if noted and isinstance(noted[0], dict) else None
    if region is None:
        named = frame_from_name(path, (1, 1))
        return (named.box.y0, named.box.x0) if named else (0, 0)
    numbers = as_list(region, place.field("region"))
    if len(numbers) != 4:
        raise place.field("region").bad("four numbers are expected")
    y0, x0 = (as_int(number, place.field("region")) for number in numbers[:2])
    return y0, x0


def _zarr_attributes(path: Path) -> Mapping[str, Any]:
    """What stands under `ome` (0.5), or directly (0.4)."""
    attributes = dict(zarr.open_group(path, mode="r").attrs)
    inner = attributes.get("ome")
    return inner if isinstance(inner, dict) else attributes


def _zarr_region(path: Path, place: Place) -> tuple[int, int]:
    """The first pixel (y, x), from the translation of level 0."""
    scale, shift = [1.0, 1.0], [0.0, 0.0]
    try:
        multiscales: Any = _zarr_attributes(path)["multiscales"]
        dataset = multiscales[0]["datasets"][0]
        for step in dataset["coordinateTransformations"]:
            if step["type"] == "scale":
                scale = [float(number) for number in step["scale"][-2:]]
            elif step["type"] == "translation":
                shift = [float(number) for number in step["translation"][-2:]]
        origin = [offset / size for offset, size in zip(shift, scale, strict=True)]
    except (KeyError, IndexError, TypeError, ValueError, ZeroDivisionError, OverflowError):
        return 0, 0
    if any(abs(number - round(number)) > 1e-3 or not 0 <= number < 2**31 for number in origin):
        return 0, 0  # a half-pixel convention of somebody else's
    return round(origin[0]), round(origin[1])


def _zarr_facts(path: Path) -> dict[int, Facts]:
    """Classes and colours where `image-label` has them, as `ome_zarr` writes them."""
    place = Place(path.name, "image-label")
    entry: Any = _zarr_attributes(path).get("image-label") or {}
    entry = as_object(entry, place)
    colors: dict[int, str] = {}
    for index, row in enumerate(as_list(entry.get("colors") or [], place.field("colors"))):
        rgba = as_object(row, place.field("colors").item(index)).get("rgba")
        if isinstance(rgba, list) and len(rgba) >= 3 and all(isinstance(c, int) and 0 <= c < 256 for c in rgba[:3]):
            colors[_label_value(row, place)] = "#" + "".join(f"{part:02x}" for part in rgba[:3])
    facts: dict[int, Facts] = {}
    for index, row in enumerate(as_list(entry.get("properties") or [], place.field("properties"))):
        row = as_object(row, place.field("properties").item(index))
        if isinstance(row.get("class"), str):
            number = _label_value(row, place)
            facts[number] = Facts(id=number, class_name=row["class"], color=colors.get(number))
    return facts


def _label_value(row: Mapping[str, Any], place: Place) -> int:
    return as_int(row.get("label-value"), place.field("label-value"), -(2**63), 2**63)


def _check_chunks(path: Path) -> None:
    """Refuse a file whose chunks claim to be larger than any memory."""
    for file in path.rglob("zarr.json"):
        _check_chunk_shape(file, ("chunk_grid", "configuration", "chunk_shape"))
    for file in path.rglob(".zarray"):
        _check_chunk_shape(file, ("chunks",))


def _check_chunk_shape(file: Path, keys: tuple[str, ...]) -> None:
    place = Place(f"{file.parent.name}/{file.name}")
    try:
        found: Any = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise place.bad("it is not JSON") from error
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    sides = found if isinstance(found, list) and all(isinstance(side, int) for side in found) else []
    if math.prod(sides) * 8 > _MAX_CHUNK_BYTES:
        raise place.bad(f"chunks of {found} pixels are too large to be read")


@contextmanager
def _opened_png(path: Path, target: Target) -> Iterator[LabelImage]:
    place = Place(path.name)
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            frame = target.check(_png_frame(path, picture, target), place)
            if picture.mode not in _GREY:
                raise place.bad(f"it is a picture of mode {picture.mode}; one grey channel of ids is expected")
            labels = np.asarray(picture)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise place.bad(f"it is not a complete PNG ({error})") from error
    yield LabelImage(place, frame, (Plane(),), lambda plane, box: labels[box.slices])


def _png_frame(path: Path, picture: Image.Image, target: Target) -> Frame:
    height, width = picture.height, picture.width
    noted = picture.info.get("relay")
    if isinstance(noted, str):
        place = Place(path.name, "relay")
        try:
            found = json.loads(noted)
        except (ValueError, RecursionError) as error:
            raise place.bad("it is not JSON") from error
        frame = frame_from_json(as_object(found, place), place)
        if frame.box.shape != (height, width):
            raise place.bad(f"it speaks of {frame.box.shape} pixels, the picture has {(height, width)}")
        return frame
    named = frame_from_name(path, (height, width))
    if named is not None and (height, width) != target.shape:
        return named
    return Frame(Box(0, 0, height, width), target.plane)

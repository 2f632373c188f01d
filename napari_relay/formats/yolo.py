"""YOLO segmentation: a folder of text files, one a picture, one line an object, coordinates from 0 to 1.

A line is one ring. Holes and further parts are joined to it by lines of no width, there and back along the same way,
so that the pixels come out the same under the even-odd rule (OpenCV, Pillow, ours); the way keeps to pixel edges.
`data.yaml` names the classes, and under `relay` where each picture lies in the image; `classes.txt` names them again
for programs that know only that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from napari_relay.formats.checking import MAX_COORDINATE, Place, as_int, as_list, as_object, as_text
from napari_relay.formats.facts import Facts
from napari_relay.formats.frames import Frame, frame_from_json, frame_from_name, frames_of
from napari_relay.formats.job import ExportJob
from napari_relay.formats.outlines import Polygon, Ring
from napari_relay.formats.records import Found, Record, Watch
from napari_relay.formats.target import Target

KEPT = frozenset({"class_name"})
MAX_PIXELS = 1 << 30
"""OpenCV, which YOLO programs read pictures with, opens no larger one."""
_MAX_SIDECAR_BYTES = 64 << 20


def write(job: ExportJob, path: Path, watch: Watch) -> Iterator[int]:
    """Write the folder; yields the number of lines written."""
    names = [info.name for info in job.project.classes()]
    numbers = {name: index for index, name in enumerate(names)}
    (path / "labels").mkdir(parents=True)
    frames: dict[str, Any] = {}
    count = 0
    for frame in frames_of(job):
        stem = _stem(job, frame)
        frames[stem] = frame.to_json(job.project.image_name)
        with (path / "labels" / f"{stem}.txt").open("w", encoding="utf-8", newline="\n") as file:
            for record in watch(frame):
                file.write(_line(record, numbers))
                count += 1
                yield count
    (path / "classes.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    data = {"path": ".", "train": "images", "val": "images", "names": dict(enumerate(names)),
            "relay": {"frames": frames}}  # fmt: skip
    (path / "data.yaml").write_text(yaml.safe_dump(data, allow_unicode=True, sort_keys=False), encoding="utf-8")


def _stem(job: ExportJob, frame: Frame) -> str:
    stem = Path(job.project.image_name).stem or "image"
    return stem if frame.box.shape == job.project.shape and job.sizes == (1, 1) else frame.name(stem)


def _line(record: Record, numbers: Mapping[str, int]) -> str:
    ring = joined(record.polygons)
    height, width = record.frame.box.shape
    scaled = (ring[:, ::-1] / np.array([width, height])).ravel().tolist()
    # One formatting for the line: one for each number costs twice as much.
    words = " ".join(["%.9g"] * len(scaled)) % tuple(scaled)
    return f"{numbers[record.facts.class_name or '']} {words}\n"


def joined(polygons: tuple[Polygon, ...]) -> Ring:
    """All rings of an object as one, joined by ways of no width along pixel edges."""
    rings = [ring for part in polygons for ring in (part.shell, *part.holes)]
    first = rings[0]
    pieces: list[Ring] = [first]
    for ring in rings[1:]:
        corner = np.array([[first[0, 0], ring[0, 1]]])
        pieces += [first[:1], corner, ring, ring[:1], corner]
    return np.concatenate(pieces).astype(np.float64)


def read(path: Path, target: Target) -> Iterator[Found]:
    """The objects of the image in a folder, or of one text file.

    No path that stands in the files is followed.

    Raises
    ------
    ImportFileError
    """
    folder, files = _files(path, target)
    names, frames = _sidecars(folder)
    order = {stem: index for index, stem in enumerate(frames)}
    for file in sorted(files, key=lambda file: order.get(file.stem, len(order))):
        yield from _read_file(file, names, _frame(file, frames, target))


def _files(path: Path, target: Target) -> tuple[Path, list[Path]]:
    """The folder with the names of the classes, and the text files that belong to the image."""
    if path.is_file() and path.suffix.lower() == ".txt":
        beside = path.parent
        return (beside if _has_sidecar(beside) else beside.parent), [path]
    folder = path if path.is_dir() else path.parent
    inner = folder / "labels" if (folder / "labels").is_dir() else folder
    stem = Path(target.image_name).stem
    all_files = [file for file in sorted(inner.glob("*.txt")) if file.name != "classes.txt"]
    mine = [file for file in all_files if file.stem == stem or file.stem.startswith(f"{stem}_")]
    files = mine or (all_files if len(all_files) == 1 else [])
    if not files:
        raise Place(folder.name).bad(f"there is no text file for {target.image_name or 'the image'} in it")
    for file in files:
        if not file.resolve().is_relative_to(folder.resolve()):
            raise Place(file.name).bad("it leads out of its folder")
    return folder, files


def _has_sidecar(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("data.yaml", "classes.txt"))


def _sidecars(folder: Path) -> tuple[list[str], Mapping[str, Any]]:
    """Names of the classes, and the frames by stem."""
    data: Mapping[str, Any] = {}
    if (folder / "data.yaml").is_file():
        place = Place("data.yaml")
        try:
            data = as_object(yaml.safe_load(_read_text(folder / "data.yaml")), place)
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            raise place.bad("it is not YAML") from error
    ours = data.get("relay")
    frames = ours.get("frames") if isinstance(ours, dict) else None
    return _names(folder, data), frames if isinstance(frames, dict) else {}


def _names(folder: Path, data: Mapping[str, Any]) -> list[str]:
    place = Place("data.yaml", "names")
    names = data.get("names")
    if isinstance(names, dict):
        if set(names) != set(range(len(names))):
            raise place.bad("its numbers are not 0, 1, 2 ..")
        names = [names[index] for index in range(len(names))]
    if names is not None:
        return [as_text(name, place.item(index)) for index, name in enumerate(as_list(names, place))]
    if (folder / "classes.txt").is_file():
        return [line.strip() for line in _read_text(folder / "classes.txt").splitlines() if line.strip()]
    return []


def _read_text(path: Path) -> str:
    if path.stat().st_size > _MAX_SIDECAR_BYTES:
        raise Place(path.name).bad("it is too large to be a list of classes")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise Place(path.name).bad("it is not UTF-8 text") from error


def _frame(file: Path, frames: Mapping[str, Any], target: Target) -> Frame:
    if file.stem in frames:
        place = Place("data.yaml", f"relay.frames.{file.stem}")
        return target.check(frame_from_json(as_object(frames[file.stem], place), place), place)
    if frame_from_name(file, (1, 1)) is not None and file.stem != Path(target.image_name).stem:
        raise Place(file.name).bad("it is of a part of the image, and there is no data.yaml that tells which")
    return target.whole


def _read_file(file: Path, names: list[str], frame: Frame) -> Iterator[Found]:
    try:
        with file.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _found(line.split(), Place(file.name, f"line {number}"), names, frame)
    except UnicodeDecodeError as error:
        raise Place(file.name).bad("it is not UTF-8 text") from error


def _found(words: list[str], place: Place, names: list[str], frame: Frame) -> Found:
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        raise place.bad("a line is a class and coordinates, all of them numbers") from None
    if not (np.abs(numbers) < MAX_COORDINATE).all():  # nor is NaN
        raise place.bad("a number is out of range")
    index = as_int(numbers[0], place.field("class"))
    if names and index >= len(names):
        raise place.field("class").bad(f"there is no class {index}, only {len(names)} names")
    facts = Facts(class_name=names[index] if names else f"class {index}")
    size = np.array(frame.box.shape)
    return Found(place, facts, frame, (Polygon(_ring(numbers[1:], place) * size),), counted=False)


def _ring(numbers: list[float], place: Place) -> Ring:
    """Points (y, x) from 0 to 1; four numbers are a box of centre and size."""
    if len(numbers) == 4:
        x, y, width, height = numbers
        top, left, bottom, right = y - height / 2, x - width / 2, y + height / 2, x + width / 2
        return np.array([[top, left], [top, right], [bottom, right], [bottom, left]])
    if len(numbers) < 6 or len(numbers) % 2:
        raise place.bad(f"{len(numbers)} coordinates are no outline")
    return np.array(numbers).reshape(-1, 2)[:, ::-1]

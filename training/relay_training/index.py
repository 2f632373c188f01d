"""Which objects there are to train on: an index of all (picture, label map, object), cached as a small npz.

A data set is a folder in one of two layouts:

    <set>/images/<id>.jpg     <set>/labels/<id>.png           8 or 16 bit: 0 nothing, 1..N objects, 255 /
    65535 ignore
                              <set>/labels/<id>.a0.png ...    the same, of several annotators
    <set>/images/<id>.jpg     <set>/masks/<id>.png            two values: one object; more: one object a value

In place of the folder `images` there may be a file `images.txt` that names one; then the pictures with a
label map are used, and label maps may lie in folders as the pictures do (`coco` makes such sets of COCO and
LVIS).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_relay.errors import UsageError
from relay_training.bench_data import read_label_map

IGNORE = -1
"""Label of pixels that count neither way, in every array of this package."""
_ANNOTATOR = re.compile(r"\.a\d+$")
_FORMAT = 2


@dataclass(frozen=True, slots=True)
class Entry:
    """A picture and one label map of it. `kind` is "labels" (255 / 65535 = ignore) or "masks"."""

    set: str
    image: Path
    label: Path
    kind: str = "labels"


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """All objects of some sets. A picture with several annotators has one row for each.

    sets : names, [S].
    images, labels, kinds : str [P]; set_of [P], rows of `sets`; shapes int32 [P, 2] (height, width).
    picture, label, area int32 [O]; boxes int32 [O, 4] (y0, x0, y1, x1), half-open. Objects are sorted by
    picture.
    """

    sets: npt.NDArray[np.str_]
    images: npt.NDArray[np.str_]
    labels: npt.NDArray[np.str_]
    kinds: npt.NDArray[np.str_]
    set_of: npt.NDArray[np.int32]
    shapes: npt.NDArray[np.int32]
    picture: npt.NDArray[np.int32]
    label: npt.NDArray[np.int32]
    area: npt.NDArray[np.int32]
    boxes: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.label)

    def set_name(self, picture: int) -> str:
        return str(self.sets[self.set_of[picture]])

    def read_labels(self, picture: int) -> npt.NDArray[np.int32]:
        """Label map [y, x]: 0 nothing, 1.. objects, -1 ignore."""
        return read_labels(Path(str(self.labels[picture])), str(self.kinds[picture]))

    def only(self, keep: npt.NDArray[np.bool_]) -> Index:
        """The index of some of the pictures, bool [P]."""
        number = np.cumsum(keep, dtype=np.int32) - 1
        objects = keep[self.picture]
        pictures = {name: getattr(self, name)[keep] for name in ("images", "labels", "kinds", "set_of", "shapes")}
        rows = {name: getattr(self, name)[objects] for name in ("label", "area", "boxes")}
        return replace(self, **pictures, **rows, picture=number[self.picture[objects]])

    def save(self, path: Path, fingerprint: str) -> None:
        """Write the cache; a broken-off write leaves the old file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial.npz")
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        np.savez_compressed(partial, fingerprint=np.array(fingerprint), **arrays)
        partial.replace(path)


def find_entries(folder: Path) -> list[Entry]:
    """Pictures of `folder`, which is one set or holds some, sorted by set and name.

    Raises
    ------
    UsageError
        No such folder, no set in it, or a picture without labels.
    """
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder}.", "Give a set of pictures, or a folder of sets.")
    roots = [folder] if _kind(folder) else sorted(child for child in folder.iterdir() if _kind(child))
    if not roots:
        raise UsageError(f"{folder} holds no set.", "A set has images/ and labels/ (or masks/) with equal names.")
    return [entry for root in roots for entry in _set_entries(root.resolve())]


def build_index(entries: Iterable[Entry]) -> Index:
    """Read every label map once and list its objects."""
    rows = list(entries)
    names = sorted({row.set for row in rows})
    shapes, picture, label, area, boxes = [], [], [], [], []
    for number, row in enumerate(rows):
        values = read_labels(row.label, row.kind)
        shapes.append(values.shape)
        areas = np.bincount(values[values > 0], minlength=1)
        for value, found in enumerate(ndimage.find_objects(np.maximum(values, 0)), start=1):
            if found is None:
                continue
            y, x = found
            picture.append(number)
            label.append(value)
            area.append(areas[value])
            boxes.append((y.start, x.start, y.stop, x.stop))
    return Index(
        sets=np.array(names, dtype=np.str_),
        images=np.array([str(row.image) for row in rows], dtype=np.str_),
        labels=np.array([str(row.label) for row in rows], dtype=np.str_),
        kinds=np.array([row.kind for row in rows], dtype=np.str_),
        set_of=np.array([names.index(row.set) for row in rows], np.int32),
        shapes=np.array(shapes, np.int32).reshape(-1, 2),
        picture=np.array(picture, np.int32),
        label=np.array(label, np.int32),
        area=np.array(area, np.int32),
        boxes=np.array(boxes, np.int32).reshape(-1, 4),
    )


def load_index(folder: Path, cache: Path | None = None) -> Index:
    """Index of the sets in `folder`; read from `cache` (an .npz) when that was made of the same files."""
    entries = find_entries(folder)
    fingerprint = _fingerprint(entries)
    if cache is not None and cache.exists():
        kept = _read_cache(cache, fingerprint)
        if kept is not None:
            return kept
    index = build_index(entries)
    if cache is not None:
        index.save(cache, fingerprint)
    return index


def join(indexes: Iterable[Index]) -> Index:
    """One index of several; sets of the same name become one."""
    parts = list(indexes)
    names = sorted({str(name) for part in parts for name in part.sets})
    moved, before = [], 0
    for part in parts:
        rows = np.array([names.index(str(name)) for name in part.sets], np.int32)
        moved.append(replace(part, set_of=rows[part.set_of], picture=part.picture + np.int32(before)))
        before += len(part.images)
    joined: Mapping[str, np.ndarray] = {
        field.name: np.concatenate([getattr(part, field.name) for part in moved])
        for field in fields(Index)
        if field.name != "sets"
    }
    return Index(sets=np.array(names, dtype=np.str_), **joined)


def read_labels(path: Path, kind: str = "labels") -> npt.NDArray[np.int32]:
    """A label map [y, x] as int32: 0 nothing, 1.. objects, -1 ignore.

    Raises
    ------
    DamagedImageError, UnsupportedImageError
        The file cannot be read, or has several channels.
    """
    found = read_label_map(path)
    values = found.values
    if kind == "labels":
        return np.where(values == found.ignore_value, np.int32(IGNORE), values)
    distinct = np.unique(values)
    return (values > distinct[0]).astype(np.int32) if len(distinct) <= 2 and distinct[0] == 0 else values


def _kind(folder: Path) -> str | None:
    if not ((folder / "images").is_dir() or (folder / "images.txt").is_file()):
        return None
    return next((kind for kind in ("labels", "masks") if (folder / kind).is_dir()), None)


def _set_entries(root: Path) -> list[Entry]:
    kind = _kind(root) or "labels"
    elsewhere = (root / "images.txt").is_file()
    images = Path((root / "images.txt").read_text(encoding="utf-8").strip()) if elsewhere else root / "images"
    pictures = {path.relative_to(images).with_suffix(""): path for path in _files(images)}
    maps: dict[Path, list[Path]] = {}
    for path in _files(root / kind):
        name = path.relative_to(root / kind)
        maps.setdefault(name.with_name(_ANNOTATOR.sub("", name.stem)), []).append(path)
    odd = sorted(maps.keys() - pictures.keys() if elsewhere else pictures.keys() - maps.keys())
    if odd:
        what, where = ("picture", images) if elsewhere else ("label map", root / kind)
        raise UsageError(f"{root.name}/{odd[0]} has no {what} in {where}.", "Add it, or take the other one away.")
    used = sorted(maps.keys() & pictures.keys())
    return [Entry(root.name, pictures[name], label, kind) for name in used for label in maps[name]]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


def _fingerprint(entries: list[Entry]) -> str:
    digest = hashlib.sha256(str(_FORMAT).encode())
    for entry in entries:
        stat = entry.label.stat()
        digest.update(f"{entry.image}|{entry.label}|{entry.kind}|{stat.st_size}|{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _read_cache(path: Path, fingerprint: str) -> Index | None:
    """The cached index, or None when it is of other files or cannot be read (then it is made again)."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if str(arrays["fingerprint"]) != fingerprint:
                return None
            return Index(**{field.name: arrays[field.name] for field in fields(Index)})
    except (OSError, ValueError, KeyError):
        return None


__all__ = [
    "IGNORE",
    "Entry",
    "Index",
    "build_index",
    "find_entries",
    "join",
    "load_index",
    "read_labels",
]

"""Sets of pictures with label maps, and which of their objects are clicked.

Layout of a set: `<set>/images/<id>.jpg|png|tif`, `<set>/labels/<id>.png` of the same size, 8 or 16 bit. Label
values: 0 background, 1..N objects, the largest value of the dtype (255 or 65535) pixels that count neither
way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from napari_relay.errors import DamagedImageError, UnsupportedImageError, UsageError

_LAYOUT = "A set is a folder with images/<id>.jpg|png|tif and labels/<id>.png."


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a set and its label map."""

    id: str
    image: Path
    label: Path


@dataclass(frozen=True, slots=True)
class PictureSet:
    """A named set of pictures, in the order of their ids."""

    name: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True)
class ObjectRule:
    """Which instances of a picture are clicked: those of at least `min_area_px`, the largest
    `per_picture`.
    """

    min_area_px: int = 100
    per_picture: int = 5


@dataclass(frozen=True, eq=False, slots=True)
class LabelMap:
    """Instances of one picture.

    values : int32 [y, x]; 0 background, `ignore_value` pixels that do not count.
    """

    values: npt.NDArray[np.int32]
    ignore_value: int

    @property
    def ignore(self) -> npt.NDArray[np.bool_]:
        return np.equal(self.values, self.ignore_value)

    def objects(self, rule: ObjectRule | None = None) -> list[int]:
        """Numbers of the instances that `rule` clicks, the largest first."""
        rule = rule or ObjectRule()
        areas = np.bincount(self.values.ravel())
        found = [
            (-int(areas[number]), number)
            for number in np.flatnonzero(areas >= rule.min_area_px).tolist()
            if number not in (0, self.ignore_value)
        ]
        return [number for _, number in sorted(found)[: rule.per_picture]]


QuickList = Mapping[str, Mapping[str, Sequence[int]]]
"""Set -> picture id -> object numbers."""


def find_sets(folder: Path, names: Collection[str] | None = None) -> list[PictureSet]:
    """Sets in `folder`, which is one set or holds some, sorted by name.

    Parameters
    ----------
    names : collection of str, optional
        Only these sets.

    Raises
    ------
    UsageError
        No such folder, no set in it, a name that is not there, a picture without label or a label without
        picture.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder}.", _LAYOUT)
    if _is_set(folder):
        roots = [folder.resolve()]
    else:
        roots = sorted(child for child in folder.iterdir() if child.is_dir() and _is_set(child))
    if not roots:
        raise UsageError(f"{folder} holds no set of pictures.", _LAYOUT)
    if names is not None:
        missing = sorted(set(names) - {root.name for root in roots})
        if missing:
            raise UsageError(
                f"{folder} has no set {', '.join(missing)}.",
                f"It has {', '.join(root.name for root in roots)}.",
            )
        roots = [root for root in roots if root.name in names]
    return [_read_set(root) for root in roots]


def _is_set(folder: Path) -> bool:
    return (folder / "images").is_dir() and (folder / "labels").is_dir()


def _read_set(root: Path) -> PictureSet:
    images = {path.stem: path for path in sorted((root / "images").iterdir()) if not path.name.startswith(".")}
    labels = {path.stem: path for path in sorted((root / "labels").iterdir()) if not path.name.startswith(".")}
    odd = sorted(images.keys() ^ labels.keys())
    if odd or not images:
        what = f"{odd[0]} has only a picture or only a label" if odd else "there are no pictures"
        raise UsageError(f"The set {root} is incomplete: {what}.", _LAYOUT)
    return PictureSet(root.name, tuple(Picture(id_, images[id_], labels[id_]) for id_ in sorted(images)))


def read_label_map(path: Path) -> LabelMap:
    """Read a label map.

    Raises
    ------
    DamagedImageError, UnsupportedImageError
        The file cannot be read, or is not a single-channel 8 or 16 bit picture.
    """
    try:
        with Image.open(path) as picture:
            mode = picture.mode
            values = np.asarray(picture)
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise DamagedImageError(f"Cannot read the label map {path}: {error}.", "Copy the file again.") from error
    if mode not in ("P", "L") and not mode.startswith("I"):
        raise UnsupportedImageError(
            f"The label map {path} has the mode {mode}.", "Save it with one channel of 8 or 16 bit."
        )
    return LabelMap(values.astype(np.int32), 255 if mode in ("P", "L") else 65535)


def read_rgb(path: Path) -> npt.NDArray[np.uint8]:
    """A picture as uint8 RGB [y, x, 3], as programs other than this one see it.

    More than 8 bit is scaled between its 0.2 and 99.8 percentiles.

    Raises
    ------
    DamagedImageError
        The file cannot be read.
    """
    try:
        with Image.open(path) as file:
            picture = ImageOps.exif_transpose(file)
        if picture.mode.startswith("I") or picture.mode == "F":
            low, high = np.percentile(np.asarray(picture), (0.2, 99.8))
            scaled = (np.asarray(picture, dtype=np.float32) - low) / max(high - low, 1e-6)
            picture = Image.fromarray((scaled.clip(0, 1) * 255).round().astype(np.uint8))
        return np.array(picture.convert("RGB"))
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise DamagedImageError(f"Cannot read the picture {path}: {error}.", "Copy the file again.") from error


def read_quick_list(path: Path) -> QuickList:
    """Read a list of objects: lines `set/id label`; empty lines and lines that start with # do not count.

    Raises
    ------
    UsageError
        The file cannot be read, or a line is not of that form.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"Cannot read the list {path}: {error}.", "Give a text file of lines `set/id label`."
        ) from error
    chosen: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        place, _, label = line.strip().rpartition(" ")
        name, _, id_ = place.strip().partition("/")
        if not (name and id_ and label.isdecimal()):
            raise UsageError(f"Line {number} of {path} is {line!r}.", "Write it as `set/id label`.")
        chosen[name][id_].append(int(label))
    return {name: dict(pictures) for name, pictures in chosen.items()}


@dataclass(frozen=True, slots=True)
class Task:
    """The objects of one picture that are clicked."""

    picture: Picture
    labels: tuple[int, ...]


def plan_tasks(pictures: PictureSet, rule: ObjectRule, quick: QuickList | None) -> list[Task]:
    """What is clicked in a set: the objects of the list, or without a list those that `rule` chooses.

    Raises
    ------
    UsageError
        The list names a picture or an object that the set does not have.
    """
    if quick is None:
        return [Task(p, tuple(read_label_map(p.label).objects(rule))) for p in pictures.pictures]
    wanted = quick.get(pictures.name, {})
    unknown = sorted(set(wanted) - {picture.id for picture in pictures.pictures})
    if unknown:
        raise UsageError(
            f"The list names {pictures.name}/{unknown[0]}, which is not in that set.",
            "Use the list that was made for these sets.",
        )
    return [Task(p, tuple(wanted[p.id])) for p in pictures.pictures if p.id in wanted]

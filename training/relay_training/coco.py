"""COCO and LVIS annotations become a set that `index` reads: one label map a picture, the pictures stay
where they are.

    python -m relay_training coco instances_train2017.json train2017 data/coco
    python -m relay_training coco lvis_v1_train.json . data/lvis

writes `data/coco/labels/<id>.png` and `data/coco/images.txt`, which names the folder of the pictures.
Instances may overlap, label maps may not: smaller ones are drawn over larger ones; crowd regions are ignore.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from PIL import Image
from pycocotools import mask as rle
from rich.progress import track
from skimage import draw

from napari_relay.errors import UsageError

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class AnnotatedPicture:
    """A picture of the file, its path below the pictures' folder, and its instances."""

    file: str
    height: int
    width: int
    instances: tuple[Mapping[str, Any], ...]


def read_annotations(path: Path) -> list[AnnotatedPicture]:
    """Pictures with at least one instance, in the order of their file names.

    Raises
    ------
    UsageError
        The file cannot be read, or is not of that form.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        instances: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
        for annotation in content["annotations"]:
            if annotation.get("segmentation"):
                instances[annotation["image_id"]].append(annotation)
        pictures = [
            AnnotatedPicture(_file_name(picture), picture["height"], picture["width"], tuple(instances[picture["id"]]))
            for picture in content["images"]
            if picture["id"] in instances
        ]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"Cannot read the annotations {path}: {type(error).__name__} {error}.",
            "Give an instances file of COCO or LVIS (JSON with images and annotations).",
        ) from error
    return sorted(pictures, key=lambda picture: picture.file)


def convert(annotations: Path, pictures: Path, out: Path) -> Iterator[tuple[int, int]]:
    """Draw the label maps that are not there yet; yields (done, of all). What is broken off goes on the
    next time.

    Raises
    ------
    UsageError
        The annotations cannot be read, or a picture is not in the folder.
    """
    rows = read_annotations(annotations)
    missing = next((row.file for row in rows if not (pictures / row.file).is_file()), None)
    if missing is not None:
        raise UsageError(f"{pictures} has no picture {missing}.", "Give the folder that the annotations' names are in.")
    (out / "labels").mkdir(parents=True, exist_ok=True)
    for number, row in enumerate(rows, start=1):
        target = out / "labels" / Path(row.file).with_suffix(".png")
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_suffix(".partial")
            _as_picture(label_map(row)).save(partial, "PNG")
            partial.replace(target)
        yield number, len(rows)
    (out / "images.txt").write_text(f"{pictures.resolve()}\n", encoding="utf-8")


def label_map(row: AnnotatedPicture) -> npt.NDArray[np.int32]:
    """Label map [y, x] of a picture's instances: 0 nothing, 1.. in the order of the file, -1 crowd."""
    labels = np.zeros((row.height, row.width), np.int32)
    masks = [instance_mask(instance["segmentation"], row.height, row.width) for instance in row.instances]
    crowd = np.array([bool(instance.get("iscrowd", 0)) for instance in row.instances])
    areas = np.array([mask.sum() for mask in masks])
    for number in np.lexsort((-areas, ~crowd)):  # crowds first, then the large ones
        labels[masks[number]] = -1 if crowd[number] else number + 1
    return labels


def instance_mask(segmentation: Any, height: int, width: int) -> Mask:
    """Mask of polygons (lists of x, y, x, y ..) or of a run-length code, compressed or not.

    A pixel belongs to a polygon when its centre does; coordinates count from the corner of the first pixel.
    """
    if isinstance(segmentation, Mapping):
        runs = dict(segmentation, size=[height, width])
        packed = runs if isinstance(runs["counts"], str) else rle.frPyObjects(runs, height, width)
        decoded: Mask = rle.decode(packed).astype(bool)
        return decoded
    mask = np.zeros((height, width), bool)
    for polygon in segmentation:
        points = np.asarray(polygon, float).reshape(-1, 2) - 0.5
        mask[draw.polygon(points[:, 1], points[:, 0], mask.shape)] = True
    return mask


def _file_name(picture: Mapping[str, Any]) -> str:
    """COCO has `file_name`; LVIS has the last two parts of `coco_url`, as its splits mix those of COCO."""
    if "file_name" in picture:
        return str(picture["file_name"])
    parts: Sequence[str] = str(picture["coco_url"]).split("/")
    return "/".join(parts[-2:])


def _as_picture(labels: npt.NDArray[np.int32]) -> Image.Image:
    """8 bit up to 253 objects, else 16 bit; the largest value is ignore."""
    dtype = np.uint8 if labels.max() < 254 else np.uint16
    return Image.fromarray(np.where(labels < 0, np.iinfo(dtype).max, labels).astype(dtype))


def command(
    annotations: Annotated[Path, typer.Argument(help="Instances of COCO or LVIS, JSON.")],
    pictures: Annotated[Path, typer.Argument(help="Folder of the pictures (LVIS: that of train2017 and val2017).")],
    out: Annotated[Path, typer.Argument(help="Folder of the new set; its name is the set's.")],
) -> None:
    """Make a training set of COCO or LVIS annotations. What is there already is not made again.

    Example: python -m relay_training coco instances_train2017.json train2017 data/coco
    """
    steps = convert(annotations, pictures, out)
    first = next(steps, None)
    total = first[1] if first else 0
    for _ in track(steps, total=max(total - 1, 0), description="label maps"):
        pass
    print(f"{out}: {total} pictures")

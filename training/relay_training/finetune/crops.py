"""`replay-crops`: make `sample_data/replay.zip` of pictures that may be passed on.

Labelled crops come from the Data Science Bowl set (CC0), unlabelled ones from scikit-image's own images, those that are
CC0 or in the public domain. Only pictures of the training set: none of a benchmark.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from PIL import Image

from napari_relay.views.values import LOGIT_SIDE, VIEW_SIDE
from relay_training.bench_data import find_sets, read_label_map, read_rgb
from relay_training.labels import block_mode, crop_labels

PHOTOS = ("astronaut", "camera", "cat", "cell", "coffee", "hubble_deep_field", "retina", "rocket")
"""Functions of `skimage.data`: NASA and SpaceX in the public domain, the others CC0."""
QUALITY = 85
STAMP = (2026, 1, 1, 0, 0, 0)
"""Time of every entry, so that the same pictures make the same file."""

Pixels = npt.NDArray[np.uint8]


def crops(data: Path, labelled: int, each_photo: int, seed: int = 0) -> Iterator[tuple[str, Pixels, Pixels | None]]:
    """Name, pixels [448, 448, 3] and label map [112, 112] (or None) of each crop."""
    rng = np.random.default_rng(seed)
    pictures = find_sets(data)[0].pictures
    for number in np.linspace(0, len(pictures) - 1, labelled).round().astype(int):
        picture = pictures[number]
        pixels, labels = read_rgb(picture.image), read_label_map(picture.label)
        y0, x0, side = _square(rng, pixels.shape[:2], 0.5)
        values = np.where(labels.ignore, -1, labels.values).astype(np.int32)
        small = block_mode(crop_labels(values, y0, x0, side, VIEW_SIDE), VIEW_SIDE // LOGIT_SIDE)
        ids = np.unique(small[small > 0])[:254]
        yield f"nuclei_{number:03d}", _resized(pixels, y0, x0, side), np.searchsorted(ids, small, side="right").astype(
            np.uint8
        ) * np.isin(small, ids)
    from skimage import data as images

    for name in PHOTOS:
        pixels = np.asarray(Image.fromarray(getattr(images, name)()).convert("RGB"))
        for number in range(each_photo):
            y0, x0, side = _square(rng, pixels.shape[:2], 1.0 if number == 0 else 0.4)
            yield f"{name}_{number}", _resized(pixels, y0, x0, side), None


def _square(rng: np.random.Generator, shape: tuple[int, ...], least: float) -> tuple[int, int, int]:
    """A square of `least` to all of the shorter side, anywhere."""
    short = min(shape)
    side = int(short * rng.uniform(least, 1.0))
    return int(rng.integers(shape[0] - side + 1)), int(rng.integers(shape[1] - side + 1)), side


def _resized(pixels: Pixels, y0: int, x0: int, side: int) -> Pixels:
    part = Image.fromarray(pixels[y0 : y0 + side, x0 : x0 + side])
    return np.asarray(part.resize((VIEW_SIDE, VIEW_SIDE), Image.Resampling.BILINEAR))


def command(
    data: Annotated[Path, typer.Argument(help="The set dsb2018: images/ and labels/.")],
    out: Annotated[Path, typer.Option(help="The file.")] = Path("sample_data/replay.zip"),
    labelled: Annotated[int, typer.Option(help="Crops with label maps.")] = 40,
    each_photo: Annotated[int, typer.Option(help="Crops of each photo.")] = 3,
) -> None:
    """Make the file of crops that are shown again while a project is learned.

    Example: python -m relay_training replay-crops train/dsb2018 --out sample_data/replay.zip
    """
    count = 0
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as file:
        for name, pixels, labels in crops(data, labelled, each_photo):
            for suffix, array in ((".jpg", pixels), (".png", labels)):
                if array is not None:
                    stream = io.BytesIO()
                    Image.fromarray(array).save(stream, "JPEG" if suffix == ".jpg" else "PNG", quality=QUALITY)
                    file.writestr(zipfile.ZipInfo(name + suffix, STAMP), stream.getvalue())
            count += 1
    typer.echo(f"{out}: {count} crops, {out.stat().st_size / 1e6:.1f} MB")

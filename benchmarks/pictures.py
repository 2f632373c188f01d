"""Real pictures to measure on: scikit-image's own photos and slides, or those of a folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from napari_relay.errors import UsageError
from napari_relay.samples import sample_path
from napari_relay.sources import open_image

Pixels = npt.NDArray[np.uint8]

POINTS: dict[str, tuple[int, int]] = {
    "astronaut": (110, 225),
    "coffee": (145, 282),
    "chelsea": (140, 230),
    "rocket": (190, 322),
    "immunohistochemistry": (95, 345),
    "hubble_deep_field": (472, 725),
    "retina": (640, 237),
    "camera": (237, 118),
    "coins": (55, 45),
    "cell": (374, 424),
    "moon": (86, 118),
    "stereo_motorcycle": (223, 409),
}
"""Photos that come with scikit-image, and a place (y, x) on an object in each."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class Photo:
    """A picture file and where it is clicked first, (y, x) in its pixels."""

    path: Path
    point: tuple[float, float]


def photos(folder: Path | None, scratch: Path, count: int) -> list[Photo]:
    """`count` pictures: of `folder`, clicked near the middle, or scikit-image's, written to `scratch` as PNG.

    Raises
    ------
    UsageError
        The folder holds no picture.
    """
    if folder is None:
        return [_written(name, scratch) for name in list(POINTS)[:count]]
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not files:
        raise UsageError(f"{folder} holds no picture.", f"Give a folder of {', '.join(SUFFIXES)} files.")
    chosen = [files[i * len(files) // min(count, len(files))] for i in range(min(count, len(files)))]
    rng = np.random.default_rng(0)
    return [Photo(path, _near_middle(path, rng)) for path in chosen]


def read_rgb(name: str) -> Pixels:
    """One of scikit-image's pictures as uint8 [y, x, 3]."""
    import skimage.data

    data = getattr(skimage.data, name)()
    if isinstance(data, tuple):  # a stereo pair
        data = data[0]
    image: Pixels = np.asarray(data)[..., :3] if np.ndim(data) == 3 else np.repeat(np.asarray(data)[..., None], 3, 2)
    return image


def real_blocks(side: int) -> Iterator[Pixels]:
    """Endless uint8 [side, side, 3] pieces of real pictures: stained tissue most of all, photos in between."""
    with open_image(sample_path("CMU-1-Small-Region.svs")) as slide:
        tissue: Pixels = np.asarray(slide.layer_data()[0])
    pictures = [read_rgb(name) for name in ("retina", "immunohistochemistry", "hubble_deep_field", "astronaut")]
    rng = np.random.default_rng(0)
    turn = 0
    while True:
        picture = pictures[turn // 4 % len(pictures)] if turn % 4 == 3 else tissue
        yield np.ascontiguousarray(np.rot90(_piece(picture, side, rng), turn % 4))
        turn += 1


def _piece(picture: Pixels, side: int, rng: np.random.Generator) -> Pixels:
    """A square of a picture; of one that is too small, as many as fill it, side by side."""
    across = tuple(-(-side // size) for size in picture.shape[:2])
    filled = np.tile(picture, (*across, 1)) if max(across) > 1 else picture
    y, x = (int(rng.integers(0, size - side + 1)) for size in filled.shape[:2])
    piece: Pixels = filled[y : y + side, x : x + side]
    return piece


def _written(name: str, scratch: Path) -> Photo:
    path = scratch / f"{name}.png"
    Image.fromarray(read_rgb(name)).save(path)
    return Photo(path, POINTS[name])


def _near_middle(path: Path, rng: np.random.Generator) -> tuple[float, float]:
    with open_image(path) as source:
        height, width = source.shape
    y, x = rng.uniform(0.35, 0.65, 2)
    return float(y * height), float(x * width)

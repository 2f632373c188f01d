"""Pictures of the held-out objects that learning changed most: the first mask before and after, and the object."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from napari_relay.geometry import Box
from napari_relay.views import View, read_view
from napari_relay.views.crops import DEVIATION, MEAN
from relay_training.finetune.judge import Played, unpack
from relay_training.finetune.material import Example, Mask, OpenMaterial

COUNT = 12
SIDE = 224
TRUTH, SHOWN = (255, 255, 255), (255, 64, 160)


def draw_gallery(
    folder: Path,
    materials: Sequence[OpenMaterial],
    examples: Sequence[Example],
    before: Sequence[Played],
    after: Sequence[Played],
    count: int = COUNT,
) -> tuple[Path, ...]:
    """Write a picture of each of the `count` objects that changed most: left before, right after one click. The object
    is outlined in white, the mask shown in pink. Names tell the order, the object and its clicks to 85 %."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    changes = [
        (abs(b.noc85 - a.noc85), abs(b.first - a.first), index)
        for index, (a, b) in enumerate(zip(before, after, strict=True))
    ]
    paths = []
    for rank, (_, _, index) in enumerate(sorted(changes, reverse=True)[:count], 1):
        example, a, b = examples[index], before[index], after[index]
        material = materials[example.source]
        name = f"{rank:02d}_{material.source.name}_object{example.id}_{a.noc85}_to_{b.noc85}.png"
        path = folder / name.replace("/", "_")
        halves = [_half(material, example, played) for played in (a, b)]
        Image.fromarray(np.concatenate([halves[0], np.full((SIDE, 4, 3), 255, np.uint8), halves[1]], 1)).save(path)
        paths.append(path)
    return tuple(paths)


def _half(material: OpenMaterial, example: Example, played: Played) -> npt.NDArray[np.uint8]:
    box, mask = material.truth(example.id)
    side = max(32, round(1.8 * max(box.shape)))
    y, x = (round(c) for c in box.centre)
    square = Box(y - side // 2, x - side // 2, y - side // 2 + side, x - side // 2 + side)
    view = View(square, SIDE)
    pixels = read_view(material.source, view, example.plane, material.mix, material.stretch).transpose(1, 2, 0)
    picture = ((pixels * DEVIATION + MEAN).clip(0, 1) * 255).astype(np.uint8)
    for (where, shown), colour in ((unpack(played.shown, played.window), SHOWN), ((box, mask), TRUTH)):
        picture[_outline(_in_square(where, shown, square))] = colour
    return picture


def _in_square(box: Box, mask: Mask, square: Box) -> Mask:
    """A mask over the picture's pixels, the nearest ones."""
    at = (np.arange(SIDE) + 0.5) * square.height / SIDE
    rows, columns = np.floor(square.y0 + at).astype(int), np.floor(square.x0 + at).astype(int)
    out = np.zeros((SIDE, SIDE), bool)
    in_y, in_x = (rows >= box.y0) & (rows < box.y1), (columns >= box.x0) & (columns < box.x1)
    out[np.ix_(in_y, in_x)] = mask[np.ix_(rows[in_y] - box.y0, columns[in_x] - box.x0)]
    return out


def _outline(mask: Mask) -> Mask:
    edge: Mask = mask & ~ndimage.binary_erosion(mask)
    return edge

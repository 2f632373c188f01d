"""Pictures whose label is decided outside the view: `python -m relay_training context-set OUT`.

A flower stands near the middle of a grey field: a core with a ring, and petals in opposite pairs of four colours. Which
of them are the object is said elsewhere:

    far cue     the frame of the picture has the colours, one or two, of the pairs that belong to the object
    near cue    a small mark beside the flower is light where the ring belongs to it, dark where not

The frame is out of reach of every view of a quarter of the picture's side that shows the core, so the pairs can only be
known through the global view. The mark lies in such a view, but in another attention window than most of the ring.
Pictures come in groups of ten that differ in frame and label alone: whatever sees the local view only gives one answer
to all ten, more than the three masks of a first click can cover. Nothing else tells: the object is symmetric about the
core, so that neither its box nor its middle points to a pair, and the order of the colours and the angle are drawn.

    OUT/images/00000.png    RGB, 448 x 448
    OUT/labels/00000.png    0 background, 1 the object
    OUT/scenes.json         written last: of each picture its group, the core's place, and both cues
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from PIL import Image
from scipy import ndimage

from napari_relay.errors import UsageError

SIDE = 448
"""Side of a picture: a local view of a quarter of it is 112 pixels wide, its global view the whole picture."""
FRAME = 64
"""Width of the frame."""
WANDER = 40
"""The core lies within this many pixels of the middle, along both axes."""
COLOURS: Mapping[str, tuple[int, int, int]] = {
    # Different in brightness too, so that a grey picture can be read.
    "blue": (40, 50, 170),
    "red": (220, 50, 50),
    "green": (70, 190, 90),
    "yellow": (235, 210, 70),
}
CORE, RING, LIGHT, DARK = 225, 60, 248, 8
PAIRS = len(COLOURS)
FRAMES: tuple[tuple[str, ...], ...] = (*combinations(COLOURS, 1), *combinations(COLOURS, 2))
"""What a frame may show; a group has a picture of each."""
GROUP = len(FRAMES)
FORMAT = "napari-relay context set 1"

Pixels = npt.NDArray[np.uint8]
Coverage = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Scene:
    """What the pictures of a group share.

    core : (y, x) of its middle. angle : of the first pair, radians. colours : of the pairs, in their order.
    radius, ring : of the core, and where the ring ends. length, width : half axes of a petal.
    mark : (y, x). light : whether it is light, so that the ring belongs to the object.
    ground : grey of the field. texture : seed of its unevenness.
    """

    core: tuple[int, int]
    angle: float
    colours: tuple[str, ...]
    radius: float
    ring: float
    length: float
    width: float
    mark: tuple[int, int]
    light: bool
    ground: int
    texture: int


def draw_scene(seed: int, group: int) -> tuple[Scene, tuple[tuple[str, ...], ...]]:
    """The scene of a group, and the colours of the frames of its pictures, in a drawn order."""
    rng = np.random.default_rng((seed, group))
    y, x = (int(v) for v in SIDE // 2 + rng.integers(-WANDER, WANDER + 1, 2))
    names = list(COLOURS)
    radius = rng.uniform(10.0, 12.0)
    corner = rng.choice([-1, 1], 2)
    scene = Scene(
        core=(y, x),
        angle=float(rng.uniform(0, np.pi)),
        colours=tuple(names[i] for i in rng.permutation(PAIRS)),
        radius=float(radius),
        ring=float(radius + rng.uniform(4.5, 5.5)),
        length=float(rng.uniform(14.5, 16.0)),
        width=float(rng.uniform(6.0, 7.0)),
        mark=(y + 36 * int(corner[0]), x + 36 * int(corner[1])),
        light=bool(rng.integers(2)),
        ground=int(rng.integers(95, 165)),
        texture=int(rng.integers(2**31)),
    )
    return scene, tuple(FRAMES[i] for i in rng.permutation(GROUP))


def draw_picture(scene: Scene, frame: tuple[str, ...]) -> tuple[Pixels, Pixels]:
    """A picture, uint8 [448, 448, 3], and its labels, uint8 [448, 448]: 1 where the object is."""
    core, ring, pairs, mark = _parts(scene)
    field = np.full((SIDE, SIDE, 3), scene.ground, np.float32)
    field[ring] = RING
    for name, pair in zip(scene.colours, pairs, strict=True):
        field[pair] = COLOURS[name]
    field[core] = CORE
    field[mark] = LIGHT if scene.light else DARK
    # Soft edges, as a lens makes them; before the frame is drawn, so that they do not depend on it.
    field = ndimage.gaussian_filter(field, (0.7, 0.7, 0))
    inner = slice(FRAME, -FRAME)
    flower = field[inner, inner].copy()
    field[:] = np.array([COLOURS[name] for name in frame], np.float32)[_blocks() % len(frame)]
    field[inner, inner] = flower
    pixels = np.clip(field + _texture(scene.texture)[..., None], 0, 255).astype(np.uint8)
    labels = core | np.any([pairs[scene.colours.index(name)] for name in frame], axis=0)
    if scene.light:
        labels = labels | (ring & ~np.any(pairs, axis=0))
    return pixels, labels.astype(np.uint8)


def _parts(scene: Scene) -> tuple[Coverage, Coverage, list[Coverage], Coverage]:
    """Core, disk of the ring, pairs of petals and mark; a later one hides what lies under it, the core all."""
    y, x = (np.arange(SIDE)[:, None] - scene.core[0], np.arange(SIDE)[None] - scene.core[1])
    distance = np.hypot(y, x)
    core, ring = distance < scene.radius, (distance >= scene.radius) & (distance < scene.ring)
    middle = scene.radius - 1 + scene.length
    pairs = []
    for number in range(PAIRS):
        angle = scene.angle + number * np.pi / PAIRS
        along, across = y * np.sin(angle) + x * np.cos(angle), y * np.cos(angle) - x * np.sin(angle)
        petals = ((np.abs(along) - middle) / scene.length) ** 2 + (across / scene.width) ** 2 < 1
        pairs.append(petals & ~core)
    mark = np.hypot(y - (scene.mark[0] - scene.core[0]), x - (scene.mark[1] - scene.core[1])) < 5
    return core, ring, pairs, mark


def _blocks() -> npt.NDArray[np.intp]:
    """Number of the block, along both axes together, that each pixel lies in: two colours take turns."""
    block = np.arange(SIDE) // FRAME
    return block[:, None] + block[None]


def _texture(seed: int) -> npt.NDArray[np.float32]:
    """Smooth unevenness of a few grey values, the same whatever the frame."""
    noise = np.random.default_rng(seed).standard_normal((SIDE, SIDE), dtype=np.float32)
    smooth: npt.NDArray[np.float32] = np.rint(18 * ndimage.gaussian_filter(noise, 3.0) / 0.094 / 4)
    return smooth


def write_context_set(out: Path, pictures: int, seed: int = 0) -> Path:
    """Write a set of `pictures` pictures; equal arguments give equal bytes.

    Raises
    ------
    UsageError
        The folder holds something, or `pictures` is less than 1.
    """
    if pictures < 1:
        raise UsageError(f"A set of {pictures} pictures is none.", "Give --pictures N, ten for each scene.")
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} holds something already.", "Give a new folder.")
    for name in ("images", "labels"):
        (out / name).mkdir(parents=True, exist_ok=True)
    scenes = {}
    for number in range(pictures):
        group, which = divmod(number, GROUP)
        scene, frames = draw_scene(seed, group)
        pixels, labels = draw_picture(scene, frames[which])
        Image.fromarray(pixels).save(out / "images" / f"{number:05d}.png")
        Image.fromarray(labels).save(out / "labels" / f"{number:05d}.png")
        mark = "light" if scene.light else "dark"
        scenes[f"{number:05d}"] = {"group": group, "core": scene.core, "frame": frames[which], "mark": mark}
    listed = ",\n  ".join(f'"{name}": {json.dumps(about)}' for name, about in scenes.items())
    (out / "scenes.json").write_text(f'{{"format": "{FORMAT}", "seed": {seed}, "pictures": {{\n  {listed}\n}}}}\n')
    return out


def read_cores(folder: Path) -> dict[str, tuple[int, int]] | None:
    """Picture id -> the core's place (y, x), of a set of this kind; None of any other set."""
    path = folder / "scenes.json"
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text())
        if data["format"] != FORMAT:
            raise ValueError(f"its format is {data['format']!r}")
        return {name: (int(about["core"][0]), int(about["core"][1])) for name, about in data["pictures"].items()}
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} does not list scenes: {error}.", "Make the set again: `context-set`.") from error


def command(
    out: Annotated[Path, typer.Argument(help="Folder of the set; made, and must be empty.")],
    pictures: Annotated[int, typer.Option(min=1, help="Number of pictures, ten for each scene.")] = 1000,
    seed: Annotated[int, typer.Option(help="Take another one for evaluation than for training.")] = 0,
) -> None:
    """Write pictures whose label is decided outside the local view.

    Example: python -m relay_training context-set runs/context_eval --pictures 200 --seed 1
    """
    write_context_set(out, pictures, seed)
    typer.echo(f"{pictures} pictures in {out}")

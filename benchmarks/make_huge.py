"""Make an OME-Zarr 0.5 image of 100,000 x 100,000 pixels (and one of 10,000) in seconds, to measure on.

    python benchmarks/make_huge.py [--folder DIR] [--sides 100352 10240] [--filled 0.01] [--force]

RGB, 8 bit, in chunks of 512 x 512, a pyramid down to under 1024 px. One chunk in a hundred holds a real tile (stained
tissue and photos, the same at every level); the rest is the fill value and takes no disk, so that the large one has
under 2 GB. The sides are whole multiples of the largest level factor, so that the levels fit exactly.
"""

from __future__ import annotations

import argparse
import math
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import ZstdCodec

from napari_relay.errors import UsageError
from pictures import Pixels, real_blocks
from recording import print_table, run

SIDES = (100_352, 10_240)
CHUNK = 512
BLOCK = 4 * CHUNK
"""Real tiles come in squares of this side, so that there is something to look at and to click."""
SMALLEST = 1024
FILL = 243
"""Value of what is empty: the glass of a slide."""
FOLDER = Path(__file__).parents[1] / "build" / "benchmarks"
"""Where the images are kept between runs; git does not see it."""

Chunks = dict[tuple[int, int], Pixels]


def main() -> None:
    """Make what is missing and print a table."""
    args = _arguments()
    rows = []
    for side in args.sides:
        if args.force:
            shutil.rmtree(path_of(args.folder, side, args.filled), ignore_errors=True)
        started = time.perf_counter()
        path = huge_image(args.folder, side, args.filled)
        seconds = time.perf_counter() - started
        used = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        rows.append((path.name, f"{side} x {side}", f"{used / 1e6:.0f} MB", f"{seconds:.1f} s"))
    print_table(("image", "pixels", "on disk", "made in"), rows)
    print(f"in {args.folder}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="default: build/benchmarks")
    parser.add_argument("--sides", type=int, nargs="+", default=list(SIDES), help="multiples of 2048")
    parser.add_argument("--filled", type=float, default=0.01, help="share of the chunks with a real tile")
    parser.add_argument("--force", action="store_true", help="make them anew")
    return parser.parse_args()


def path_of(folder: Path, side: int, filled: float = 0.01) -> Path:
    """Where the image of that size lies."""
    return folder / f"huge_{side}_{filled * 100:g}percent.ome.zarr"


def huge_image(folder: Path, side: int, filled: float = 0.01) -> Path:
    """The image of that size; made when it is not there.

    Raises
    ------
    UsageError
        The side is no multiple of 2048, or the share is not in 0..1.
    """
    if side % BLOCK or not 0 <= filled <= 1:
        raise UsageError(f"{side} px, {filled} filled.", f"Give a multiple of {BLOCK} px, and a share from 0 to 1.")
    path = path_of(folder, side, filled)
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        _write(partial, side, filled)
        partial.rename(path)
    return path


def levels_of(side: int) -> int:
    """How many levels, each half the size of the one before, down to `SMALLEST`."""
    return 1 + max(0, math.ceil(math.log2(side / SMALLEST)))


def block_places(side: int, filled: float) -> list[tuple[int, int]]:
    """(row, column) of the blocks with real tiles: the middle one, the others anywhere, always the same."""
    across = side // BLOCK
    count = max(1, round(filled * across * across))
    middle = across // 2 * across + across // 2
    rest = np.random.default_rng(0).permutation(np.delete(np.arange(across * across), middle))[: count - 1]
    return [divmod(int(index), across) for index in (middle, *np.sort(rest))]


def _write(path: Path, side: int, filled: float) -> None:
    group = zarr.create_group(path, zarr_format=3)
    arrays = [_create_level(group, level, side >> level) for level in range(levels_of(side))]
    group.attrs["ome"] = _metadata(path.name.partition(".")[0], len(arrays))
    # Below the level at which a block is one chunk, several blocks share one: those are written at the end.
    shared: list[Chunks] = [{} for _ in arrays]
    for (row, column), block in zip(block_places(side, filled), real_blocks(BLOCK), strict=False):
        for level, pixels in enumerate(_halvings(block, len(arrays))):
            size = BLOCK >> level
            y, x = row * size, column * size
            if size >= CHUNK:
                arrays[level][:, y : y + size, x : x + size] = pixels.transpose(2, 0, 1)
            else:
                place = (y // CHUNK, x // CHUNK)
                if place not in shared[level]:
                    shared[level][place] = np.full((CHUNK, CHUNK, 3), FILL, np.uint8)
                shared[level][place][y % CHUNK :, x % CHUNK :][:size, :size] = pixels
    for level, chunks in enumerate(shared):
        for (row, column), pixels in chunks.items():
            y, x = row * CHUNK, column * CHUNK
            target = arrays[level]
            height, width = (min(CHUNK, target.shape[1] - y), min(CHUNK, target.shape[2] - x))
            target[:, y : y + height, x : x + width] = pixels[:height, :width].transpose(2, 0, 1)


def _create_level(group: zarr.Group, level: int, side: int) -> Any:
    return group.create_array(
        str(level), shape=(3, side, side), chunks=(3, CHUNK, CHUNK), dtype="uint8", fill_value=FILL,
        compressors=ZstdCodec(level=1), dimension_names=("c", "y", "x"),
    )  # fmt: skip


def _halvings(block: Pixels, count: int) -> Iterator[Pixels]:
    """The block at each level: means of 2 x 2 pixels."""
    for _ in range(count):
        yield block
        half = len(block) // 2
        if half:
            sums: npt.NDArray[np.uint16] = block.reshape(half, 2, half, 2, 3).sum((1, 3), dtype=np.uint16)
            block = ((sums + 2) // 4).astype(np.uint8)


def _metadata(name: str, levels: int) -> dict[str, Any]:
    axes = [{"name": "c", "type": "channel"}, *({"name": n, "type": "space", "unit": "micrometer"} for n in "yx")]
    datasets = [
        {"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": [1.0, s, s]}, *_shift(level)]}
        for level in range(levels)
        for s in (0.5 * 2**level,)
    ]
    colours = (("Red", "FF0000"), ("Green", "00FF00"), ("Blue", "0000FF"))
    window = {"start": 0, "end": 255, "min": 0, "max": 255}
    channels = [{"label": label, "color": color, "active": True, "window": window} for label, color in colours]
    return {
        "version": "0.5",
        "multiscales": [{"name": name, "axes": axes, "datasets": datasets, "type": "mean"}],
        "omero": {"channels": channels, "rdefs": {"model": "color"}},
    }


def _shift(level: int) -> list[dict[str, Any]]:
    """The first pixel of a level is centred between those it is the mean of."""
    offset = 0.25 * (2**level - 1)
    return [{"type": "translation", "translation": [0.0, offset, offset]}] if level else []


if __name__ == "__main__":
    run(main)

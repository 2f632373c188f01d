"""How long an accept takes until it is on the disk, by the number of mask tiles, with few and many objects there.

    python benchmarks/store_commit.py [--tiles 1 4 16] [--there 10 10000] [--repeats 9] [--folder DIR]

Every accept is the real one (`Project.accept`: cut, compress, one transaction with `synchronous=FULL`) on a project
of a 100,000 x 100,000 image; the masks are discs, so that most tiles are neither empty nor full. The bar is
20 ms + 2 ms a tile. The folder decides which disk is measured; it is a temporary one by default.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt

from napari_relay.geometry import Box
from napari_relay.store import Project
from recording import Figure, argument_parser, parse, publish, run, spread

SIDE = 100_352
TILE = 512
BASE_MS, TILE_MS = 20.0, 2.0
"""The bar of an accept: so much, and so much more for each tile."""

Mask = npt.NDArray[np.bool_]


def main() -> None:
    """Measure, print, append."""
    args = _arguments()
    times: dict[tuple[int, int], list[float]] = {}
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="store-commit-") as folder:
        for there in args.there:
            with new_project(Path(folder, f"{there}.relay")) as project:
                fill(project, there)
                for tiles, ms in measure(project, args.tiles, args.repeats):
                    times.setdefault((there, tiles), []).append(ms)
    figures = [
        Figure(f"accept {tiles} tiles, {there} there", median(ms), "ms", BASE_MS + TILE_MS * tiles, f"of {len(ms)}")
        for (there, tiles), ms in sorted(times.items())
    ]
    worst = max(figures, key=lambda figure: figure.value / (figure.limit or 1))
    most, fewest = max(args.there), min(args.there)
    growth = max(median(times[most, t]) / median(times[fewest, t]) for t in {tiles for _, tiles in times})
    figures += [
        Figure(f"accept, up to {most} there", worst.value / (worst.limit or 1), "x bar", 1.0,
               f"{worst.shown}:{worst.key[6:]}"),
        Figure(f"accept, {most} against {fewest} there", growth, "x", None, "the worst number of tiles"),
    ]  # fmt: skip
    details = {f"{there} there, {tiles} tiles": spread(ms) for (there, tiles), ms in sorted(times.items())}
    publish(args, figures, {"ms": details, "growth": round(growth, 2)})


def _arguments() -> argparse.Namespace:
    parser = argument_parser(__doc__, "store_commit")
    parser.add_argument("--tiles", type=int, nargs="+", default=[1, 4, 16, 64], help="about so many tiles a mask")
    parser.add_argument("--there", type=int, nargs="+", default=[10, 10_000], help="objects already there")
    parser.add_argument("--repeats", type=int, default=15, help="accepts of each number of tiles")
    parser.add_argument("--folder", type=Path, help="where to write, on the disk to be measured")
    return parse(parser)


def new_project(path: Path, side: int = SIDE) -> Project:
    """An empty project of a large image."""
    return Project.open(path, fingerprint="benchmark", shape=(side, side), image_name="benchmark")


def fill(project: Project, count: int, seed: int = 0) -> None:
    """Bring the project to `count` objects of 20 to 60 px, spread over the image, by real accepts."""
    rng = np.random.default_rng(seed)
    height, width = project.shape
    # Ten thousand waits for the disk would take minutes and measure nothing.
    with project._database.exclusive() as db:
        db.execute("PRAGMA synchronous=OFF")
    try:
        for _ in range(count - project.count()):
            side = int(rng.integers(20, 60))
            y, x = int(rng.integers(0, height - side)), int(rng.integers(0, width - side))
            project.accept(Box(y, x, y + side, x + side), disc(side), score=0.9, overlap="allow")
    finally:
        with project._database.exclusive() as db:
            db.execute("PRAGMA synchronous=FULL")


def measure(project: Project, tiles: Sequence[int], repeats: int) -> Iterator[tuple[int, float]]:
    """(tiles stored, milliseconds) of accepts of about so many tiles, taking turns; the first round is not counted."""
    rng = np.random.default_rng(1)
    for turn in range(repeats + 1):
        for count in tiles:
            box, mask = mask_of(count, rng)
            while project.settle(box, mask).box.empty:  # wholly on an earlier one: nothing would be left to accept
                box, mask = mask_of(count, rng)
            started = time.perf_counter()
            stored = project.accept(box, mask, score=0.9)
            ms = (time.perf_counter() - started) * 1000
            if turn:
                yield tiles_of(project, stored.id), ms


def mask_of(tiles: int, rng: np.random.Generator) -> tuple[Box, Mask]:
    """A disc over a square of about `tiles` tiles, somewhere on the grid of tiles."""
    across = max(1, round(tiles**0.5))
    side = across * TILE - 8
    row, column = (int(rng.integers(0, SIDE // TILE - across)) for _ in range(2))
    return Box(row * TILE + 4, column * TILE + 4, row * TILE + 4 + side, column * TILE + 4 + side), disc(side)


def disc(side: int) -> Mask:
    """bool [side, side], True in the circle, with an edge as ragged as a real one."""
    place = (np.arange(side) + 0.5) / side * 2 - 1
    wave = 1 + 0.02 * np.sin(40 * place)
    inside: Mask = (place[:, None] ** 2 + place**2) < (wave[:, None] * wave) ** 2 * 0.96
    return inside


def tiles_of(project: Project, object_id: int) -> int:
    """How many tiles the project holds of an object."""
    with project._database.read() as db:
        return int(db.execute("SELECT count(*) FROM tiles WHERE object_id = ?", (object_id,)).fetchone()[0])


if __name__ == "__main__":
    run(main)

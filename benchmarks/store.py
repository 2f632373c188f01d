"""The project at its limits: accept on 100,000 x 100,000, and a project of a million objects.

    python benchmarks/store.py [--objects 1000000] [--folder DIR]

Prints one line a measurement: median and worst of some tries, and the bar. The million objects are small discs, put
into the tables directly (accepting them one by one would take hours); all else goes through the public calls.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from napari_relay.geometry import Box
from napari_relay.store import Project, PyramidWriter, open_pyramid
from napari_relay.store.provenance import now
from napari_relay.store.tiles import split

SIDE = 100_000
LEVELS = [(SIDE >> k, SIDE >> k) for k in range(8)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where the project is made; a temporary folder otherwise")
    args = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        path = Path(folder) / "image.relay"
        with Project.open(path, fingerprint="a", shape=(SIDE, SIDE)) as project:
            print("an empty project")
            measure_accept(project, Path(folder) / "image.labels.ome.zarr")
        fill(path, args.objects)
        start = time.perf_counter()
        with Project.open(path) as project:
            print(f"{args.objects:,} objects, {path.stat().st_size / args.objects:.0f} bytes an object")
            report("open", [time.perf_counter() - start], 0)
            measure_many(project)
            measure_accept(project, None)


def disc(side: int) -> np.ndarray:
    """A round mask, bool [side, side]."""
    y, x = np.ogrid[:side, :side]
    return np.hypot(y - side / 2, x - side / 2) < side / 2


def measure_accept(project: Project, pyramid_path: Path | None) -> None:
    """Accepts of some sizes, alone and with the pyramid behind them."""
    rng = np.random.default_rng(0)
    writer = None
    if pyramid_path is not None:
        writer = PyramidWriter(project, open_pyramid(pyramid_path, project, LEVELS))
        project.changed.connect(writer.schedule)
        writer.flush()
    for side in (50, 400, 1000, 3000):
        mask, accepts, behind, tiles = disc(side), [], [], []
        for _ in range(9):
            y, x = (int(v) for v in rng.integers(0, SIDE - side, 2))
            start = time.perf_counter()
            stored = project.accept(Box(y, x, y + side, x + side), mask)
            accepts.append(time.perf_counter() - start)
            tiles.append(sum(1 for _ in stored.box.tiles(512)))
            if writer is not None:
                writer.flush()
                behind.append(time.perf_counter() - start)
        n = statistics.median(tiles)
        report(f"accept, {side} px, {n:.0f} tiles", accepts, 20 + 2 * n)
        if behind:
            report("  until the pyramid shows it", behind, 250)
    if writer is not None:
        writer.close()


def fill(path: Path, count: int) -> None:
    """Put `count` objects into the tables, as many as fit a class each of three."""
    with Project.open(path) as project:
        classes = [project.ensure_class(name).id for name in ("a", "b", "c")]
        mask, rng, at = disc(24), np.random.default_rng(1), now()
        with project._database.write() as db:
            action = db.execute(
                "INSERT INTO actions (kind, state, created) VALUES ('import', 'done', ?)", (at,)
            ).lastrowid
            (first,) = db.execute("SELECT coalesce(max(id), 0) + 1 FROM objects").fetchone()
            places = rng.integers(0, SIDE - 24, (count, 2)).tolist()
            db.executemany(
                """INSERT INTO objects (id, class_id, y0, x0, y1, x1, area, action_id, created)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)""",
                (
                    (first + i, classes[i % 3], y, x, y + 24, x + 24, int(mask.sum()), action, at)
                    for i, (y, x) in enumerate(places)
                ),
            )
            db.executemany(
                'INSERT INTO tiles (object_id, "row", "column", "full", bits) VALUES (?, ?, ?, ?, ?)',
                (
                    (first + i, tile.row, tile.column, 0, tile.bits)
                    for i, (y, x) in enumerate(places)
                    for tile in split(Box(y, x, y + 24, x + 24), mask)
                ),
            )


def measure_many(project: Project) -> None:
    """What a project of very many objects must still do at once."""
    rng = np.random.default_rng(2)

    def somewhere(side: int) -> Box:
        y, x = (int(v) for v in rng.integers(0, SIDE - side, 2))
        return Box(y, x, y + side, x + side)

    report("objects in 2000 x 2000", times(lambda: list(project.objects(somewhere(2000)))), 50)
    report("object under a point", times(lambda: project.object_at(*somewhere(1).centre)), 50)
    report("count", times(project.count), 50)
    report("labels of one tile", times(lambda: project.labels(somewhere(512))), 50)
    project.accept(Box(0, 0, 24, 24), disc(24))
    report("undo, redo of one object", times(lambda: project.undo() and project.redo()), 100)
    ids = [stored.id for stored in project.objects(somewhere(8000))][:5000]
    report(f"delete of {len(ids)}", times(lambda: project.delete(ids), 1), 1000)
    report("undo of that", times(project.undo, 1), 1000)


def times(call: Callable[[], object], count: int = 9) -> list[float]:
    """Seconds of each of `count` calls."""
    taken = []
    for _ in range(count):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return taken


def report(name: str, seconds: list[float], bar_ms: float) -> None:
    """One line: median, worst, bar."""
    bar = f"bar {bar_ms:.0f} ms" if bar_ms else ""
    print(
        f"  {name:<34}{statistics.median(seconds) * 1e3:9.1f} ms  worst {max(seconds) * 1e3:9.1f} ms  {bar}", flush=True
    )


if __name__ == "__main__":
    main()

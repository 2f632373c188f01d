"""A project of a million objects: open, table, rectangle, undo, bulk delete, ten thousand undo steps, bytes.

    python benchmarks/store.py [--objects 1000000] [--steps 10000] [--repeats 9] [--folder DIR]

The objects are small discs on a 100,000 x 100,000 image, put into the tables directly (accepting them one by one
would take hours); all else goes through the public calls. The folder decides which disk is measured; it is a
temporary one by default. How long an accept takes is measured by `store_commit.py`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numpy as np

from napari_relay.geometry import Box
from napari_relay.store import ObjectFilter, Order, Project
from napari_relay.store.provenance import now
from napari_relay.store.tiles import split
from recording import Figure, argument_parser, parse, publish, run, spread
from store_commit import SIDE, disc, new_project

PAGE = 128
"""Rows that the table reads at a time."""
DELETED = 5000
INSTANT_MS, BULK_MS = 50.0, 1000.0
"""Bars: a table's page, a rectangle, one undo; the undo of a delete of 5,000."""

Times = dict[str, list[float]]


def main() -> None:
    """Measure, print, append."""
    args = _arguments()
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="store-") as folder:
        path = Path(folder, "image.relay")
        fill(path, args.objects)
        bytes_each = path.stat().st_size / args.objects
        opened = time.perf_counter()
        with Project.open(path) as project:
            times = {"open": [1000 * (time.perf_counter() - opened)]}
            times |= measure_table(project, args.repeats) | measure_changes(project, args.repeats)
            times |= measure_steps(project, args.steps)
    bars = {"page of the table": INSTANT_MS, "rectangle": INSTANT_MS, "count": INSTANT_MS, "undo": INSTANT_MS,
            "object under a point": INSTANT_MS, "undo of the delete": BULK_MS}  # fmt: skip
    figures = [
        Figure(f"{name}, many objects", median(ms), "ms", bars.get(name), f"worst of {len(ms)}: {max(ms):.0f} ms")
        for name, ms in times.items()
    ]
    figures.append(Figure("bytes an object, many objects", bytes_each, "bytes", None, "file on disk, small discs"))
    details = {name: spread(ms) for name, ms in times.items()}
    publish(args, figures, {"ms": details, "objects": args.objects, "steps": args.steps, "deleted": DELETED})


def _arguments() -> argparse.Namespace:
    parser = argument_parser(__doc__, "store")
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=10_000, help="actions to undo and redo in one jump")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--folder", type=Path, help="where to write, on the disk to be measured")
    return parse(parser)


def fill(path: Path, count: int) -> None:
    """Put `count` small discs of three classes into the tables."""
    with new_project(path) as project:
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


def measure_table(project: Project, repeats: int) -> Times:
    """What the table of objects and the view ask for."""
    rng = np.random.default_rng(2)
    ids = project.find()

    def page() -> None:
        first = int(rng.integers(0, max(1, len(ids) - PAGE)))
        project.rows(ids[first : first + PAGE].tolist())

    return {
        "count": times(project.count, repeats),
        "page of the table": times(page, repeats),
        "sort by id": times(project.find, 3),
        "sort by area": times(lambda: project.find(order=Order.AREA), 3),
        "filter by class": times(lambda: project.find(ObjectFilter(class_names=("a",))), 3),
        "filter by text": times(lambda: project.find(ObjectFilter(text="nothing has this")), 3),
        "rectangle": times(lambda: list(project.objects(somewhere(rng, 2000))), repeats),
        "object under a point": times(lambda: project.object_at(*somewhere(rng, 1).centre), repeats),
        "labels of a tile": times(lambda: project.labels(somewhere(rng, 512)), repeats),
    }


def measure_changes(project: Project, repeats: int) -> Times:
    """One undo, and the delete of thousands and its undo."""
    project.accept(Box(0, 0, 60, 60), disc(60), overlap="allow")
    undone = []
    for _ in range(repeats):
        undone += times(project.undo, 1)
        project.redo()
    ids = project.find(order=Order.POSITION)[:DELETED].tolist()
    return {
        "undo": undone,
        "delete": times(lambda: project.delete(ids), 1),
        "undo of the delete": times(project.undo, 1),
        "lock": times(lambda: project.set_state(ids, "locked"), 1),
    }


def measure_steps(project: Project, steps: int) -> Times:
    """A jump back over many actions, and forth again."""
    first = project.history(1)[0].id
    with unsynced(project):
        for n in range(steps):
            project.set_note(n + 1, f"note {n}")
    last = project.history(1)[0].id
    return {
        "jump back over many actions": times(lambda: project.jump(first), 1),
        "jump forth over many actions": times(lambda: project.jump(last), 1),
    }


@contextmanager
def unsynced(project: Project) -> Iterator[None]:
    """Ten thousand waits for the disk would take minutes and measure nothing."""
    with project._database.exclusive() as db:
        db.execute("PRAGMA synchronous=OFF")
    try:
        yield
    finally:
        with project._database.exclusive() as db:
            db.execute("PRAGMA synchronous=FULL")


def somewhere(rng: np.random.Generator, side: int) -> Box:
    """A square of the image."""
    y, x = (int(v) for v in rng.integers(0, SIDE - side, 2))
    return Box(y, x, y + side, x + side)


def times(call: Callable[[], object], count: int) -> list[float]:
    """Milliseconds of each of `count` calls."""
    taken = []
    for _ in range(count):
        start = time.perf_counter()
        call()
        taken.append(1000 * (time.perf_counter() - start))
    return taken


if __name__ == "__main__":
    run(main)

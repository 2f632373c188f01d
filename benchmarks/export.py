"""How long exports of very many objects take, written, read back and compared; and how large the files are.

    python benchmarks/export.py [--objects 100000] [--side 20000] [--formats coco geojson ...] [--folder DIR]

The objects are discs and rings of 20 to 44 px on a grid, so that some touch and a tenth has holes. The bar is 60 s a
format; a format that cannot hold them must refuse.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from napari_relay.errors import ExportError
from napari_relay.formats import FORMATS, Georeference, export
from napari_relay.geometry import Box
from napari_relay.store import NewObject, Project
from recording import Figure, argument_parser, parse, publish, run

LIMIT_S = 60.0
UTM = Georeference("EPSG:32618", (0.5, 0.0, 450_000.0, 0.0, -0.5, 4_640_000.0))


def main() -> None:
    """Measure, print, append."""
    args = _arguments()
    seconds: dict[str, float] = {}
    computing: dict[str, float] = {}
    sizes: dict[str, float] = {}
    refused: dict[str, str] = {}
    with (
        tempfile.TemporaryDirectory(dir=args.folder, prefix="export-") as folder,
        new_project(Path(folder, "many.relay"), args.side, args.objects) as project,
    ):
        for name in args.formats:
            target = Path(folder, f"out{FORMATS[name].suffixes[0]}")
            start, cpu = time.perf_counter(), time.process_time()
            try:
                done = _finish(project, target, name)
            except ExportError as error:
                refused[name] = str(error)
                continue
            seconds[name], computing[name] = time.perf_counter() - start, time.process_time() - cpu
            print(f"{name}: {seconds[name]:.0f} s, {computing[name]:.0f} s of them computing", file=sys.stderr)
            assert done == args.objects
            sizes[name] = _bytes(target) / args.objects
    what = f"{args.objects} objects on {args.side} x {args.side}"
    figures = [
        Figure(
            f"export {name}",
            value,
            "s",
            LIMIT_S,
            f"{computing[name]:.0f} s computing; {what}, {sizes[name]:.0f} bytes an object",
        )
        for name, value in seconds.items()
    ]
    notes = "\n".join(f"Refused by {name}: {why}" for name, why in refused.items())
    publish(
        args, figures, {"seconds": seconds, "computing": computing, "bytes an object": sizes, "refused": refused}, notes
    )


def _arguments() -> argparse.Namespace:
    parser = argument_parser(__doc__, "export")
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--side", type=int, default=20_000, help="of the image, in pixels")
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), choices=list(FORMATS))
    parser.add_argument("--folder", type=Path, help="where to write, on the disk to be measured")
    return parse(parser)


def new_project(path: Path, side: int, count: int) -> Project:
    """A project of an image of side x side pixels with `count` objects, in one import."""
    project = Project.open(path, fingerprint="benchmark", shape=(side, side), image_name="benchmark.tif")
    project.import_objects(_objects(side, count))
    return project


def _objects(side: int, count: int) -> Iterator[NewObject]:
    rng = np.random.default_rng(0)
    columns = math.ceil(math.sqrt(count))
    step = side // columns
    y, x = np.ogrid[-22:23, -22:23]
    distance = np.hypot(y, x)
    for index in range(count):
        radius = rng.uniform(10, min(22, step / 2))
        mask = distance < radius
        if index % 10 == 0:
            mask &= distance > radius / 3
        top, left = (index // columns) * step, (index % columns) * step
        box = Box(top, left, top + 45, left + 45).clip((side, side))
        yield NewObject(box, mask[: box.height, : box.width], f"class {index % 5}")


def _finish(project: Project, target: Path, name: str) -> int:
    steps = export(project, target, format=name, georeference=UTM if FORMATS[name].geo else None)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return int(end.value.n_objects)


def _bytes(path: Path) -> int:
    return path.stat().st_size if path.is_file() else sum(f.stat().st_size for f in path.rglob("*") if f.is_file())


if __name__ == "__main__":
    run(main)

"""Whole-image work: what it costs beside the encoder, what a second worker is worth, and the time per gigapixel.

    python benchmarks/whole_image.py [--image slide.svs] [--region 0,0,1600,1600] [--repeats 3] [--dtype auto]

Semantic throughput: a class head (untrained: its time does not depend on its weights) over all views of the region,
read, encoded, classified, blended and written, against the encoder alone on the same views, already in memory, in the
same order, one thread of torch each, in turns (bar: at most 1.3 times). Workers: the same job on one and on two
single-threaded dask workers whose model is loaded (bar: at least 1.6 times as fast). Instances: seconds a view with
self-clicks.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch

from napari_relay.fullimage.client import open_client
from napari_relay.fullimage.cluster import DaskPool, ModelOnWorker
from napari_relay.fullimage.direct import DirectSees
from napari_relay.fullimage.job import LocalPool, Pool, find_candidates
from napari_relay.fullimage.jobfile import JobFile
from napari_relay.fullimage.plan import Grid, checked_region
from napari_relay.fullimage.semantic import ClassMap, ClassWork, classify_image
from napari_relay.fullimage.work import Work
from napari_relay.geometry import Box, Plane
from napari_relay.model.class_card import ClassCard
from napari_relay.model.class_head import ClassHead
from napari_relay.predictor import Predictor, load_predictor
from napari_relay.predictor.classes import save_class_head
from napari_relay.predictor.portable import portable_model
from napari_relay.samples import sample_path
from napari_relay.sources import Source, open_image
from napari_relay.views import default_mix, measure_stretch
from recording import Figure, argument_parser, parse, publish, run

RATIO_BAR, WORKERS_BAR = 1.3, 1.6
NAMES, COLORS = ("background", "a", "b"), ("#808080", "#ff0000", "#00ff00")
GIGAPIXEL = 1e9
WARMING = Box(0, 0, 300, 1000)
"""Enough views for each of two workers to load its model."""


def main() -> None:
    """Measure, print, append."""
    parser = argument_parser(__doc__, "whole_image")
    parser.add_argument("--image", default=str(sample_path("CMU-1-Small-Region.svs")))
    parser.add_argument("--region", default="0,0,2220,2220", metavar="Y0,X0,Y1,X1")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--no-instances", action="store_true", help="leave the self-clicks out")
    parser.add_argument("--no-workers", action="store_true", help="leave the dask workers out")
    args: argparse.Namespace = parse(parser)
    torch.set_num_threads(1)
    predictor = load_predictor(device="cpu", dtype=args.dtype, threads=1)
    with open_image(args.image) as source, tempfile.TemporaryDirectory() as scratch:
        bench = Bench(source, Box(*map(int, args.region.split(","))), predictor, Path(scratch))
        figures, details = throughput(bench, args.repeats)
        if not args.no_instances:
            more, numbers = instances(bench)
            figures, details = figures + more, details | numbers
        if not args.no_workers:
            more, numbers = workers(bench, args.repeats)
            figures, details = figures + more, details | numbers
    publish(args, figures, details, "One thread of torch a process; the semantic job reads ahead in a second thread.")


class Bench:
    """A region of an image, a predictor, and a class head that fits it."""

    def __init__(self, source: Source, region: Box, predictor: Predictor, scratch: Path) -> None:
        self.source, self.predictor, self.scratch = source, predictor, scratch
        self.grid = Grid(source.shape, 0, checked_region(source.shape, region))
        self.work = Work(
            {0: self.grid}, Plane(), default_mix(source), measure_stretch(source), skip_empty=False
        )
        self.head = scratch / "head.safetensors"
        torch.manual_seed(0)
        card = ClassCard("fpn", NAMES, COLORS, predictor.encoder_hash, 0)
        save_class_head(self.head, ClassHead("fpn", len(NAMES)), card)
        self._runs = 0

    def semantic(self, region: Box | None = None) -> ClassWork:
        """A job of its own, over the bench's region or another."""
        self._runs += 1
        folder = self.scratch / f"run{self._runs}"
        folder.mkdir()
        grids = self.work.grids if region is None else {0: Grid(self.source.shape, 0, region)}
        work = replace(self.work, grids=grids)
        return ClassWork(work, self.head, folder, ClassMap(folder / "result.zarr", NAMES, COLORS))

    def classify(self, make_pool: Callable[[ClassWork], Pool], region: Box | None = None) -> float:
        """Seconds of a whole semantic job."""
        work = self.semantic(region)
        with JobFile(work.folder) as job:
            pool = make_pool(work)
            start = time.perf_counter()
            for _ in classify_image(job, work, pool):
                pass
            return time.perf_counter() - start


def throughput(bench: Bench, repeats: int) -> tuple[list[Figure], dict[str, object]]:
    """The semantic job against the encoder alone, in turns."""
    work, predictor = bench.semantic(), bench.predictor
    crops = [bench.work.crops(bench.source, bench.grid.view(task.place)) for task in work.views()]
    sees = DirectSees(predictor)

    def encoder(most: int | None = None) -> float:
        predictor.clear()
        start = time.perf_counter()
        for one in crops[:most]:
            steps = predictor._encode(replace(one, key=""))
            while next(steps, None) is not None:
                pass
        return time.perf_counter() - start

    def whole() -> float:
        predictor.clear()
        return bench.classify(lambda classes: LocalPool(classes, bench.source, sees))

    encoder(3)  # the first views also pay for what torch sets up
    pairs = [(encoder(), whole()) for _ in range(repeats)]
    ratio = median(b / a for a, b in pairs)
    alone, job = median(a for a, _ in pairs), median(b for _, b in pairs)
    per_view = job / len(crops)
    pixels = bench.grid.stride**2
    hours = GIGAPIXEL / pixels * per_view / 3600
    text = f"{job:.1f} s of {alone:.1f} s, {len(crops)} views"
    return [
        Figure("whole image: semantic against the encoder alone", ratio, "x", RATIO_BAR, text),
        Figure("whole image: semantic, hours a gigapixel on one thread", hours, "h", None, f"{per_view:.3f} s a view"),
    ], {"semantic": {"encoder_s": [a for a, _ in pairs], "job_s": [b for _, b in pairs], "views": len(crops)}}


def instances(bench: Bench) -> tuple[list[Figure], dict[str, object]]:
    """Seconds a view with self-clicks, over the first views of the region."""
    region = Box(0, 0, 700, 700).clip(bench.source.shape)
    grid = Grid(bench.source.shape, 0, region)
    work = replace(bench.work, grids={0: grid})
    sees = DirectSees(bench.predictor)
    folder = bench.scratch / "instances"
    with JobFile(folder) as job:
        start = time.perf_counter()
        for _ in find_candidates(job, work, LocalPool(work, bench.source, sees), region):
            pass
        seconds = (time.perf_counter() - start) / len(grid)
    hours = GIGAPIXEL / grid.stride**2 * seconds / 3600
    text = f"{seconds:.2f} s a view"
    figure = Figure("whole image: instances, hours a gigapixel on one thread", hours, "h", None, text)
    return [figure], {"instances": {"seconds_a_view": seconds, "views": len(grid)}}


def workers(bench: Bench, repeats: int) -> tuple[list[Figure], dict[str, object]]:
    """The semantic job on one and on two workers, their models loaded before."""
    model = ModelOnWorker(portable_model(bench.predictor), "bench")
    times: dict[int, list[float]] = {}
    for count in (1, 2):
        with open_client(None, count) as client:

            def pool(classes: ClassWork, client: object = client) -> Pool:
                return DaskPool(client, classes, bench.source, model)

            bench.classify(pool, WARMING)  # loads the models
            times[count] = [bench.classify(pool) for _ in range(repeats)]
    one, two = median(times[1]), median(times[2])
    # As time of two over time of one, so that smaller is better: 1 / 1.6.
    text = f"{one:.1f} s and {two:.1f} s: {one / two:.2f} times as fast"
    figure = Figure("whole image: two workers against one", two / one, "x", 1 / WORKERS_BAR, text)
    return [figure], {"workers": {str(count): values for count, values in times.items()}}


if __name__ == "__main__":
    run(main)

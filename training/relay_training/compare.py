"""`compare`: the product, MobileSAM and classic methods under one robot, on the same pictures, in the same
run.

The contenders take turns picture by picture in one process with the same number of threads; peak memory is
measured afterwards in a process for each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from napari_relay.errors import UsageError
from relay_training.baselines import Geodesic, RandomWalker
from relay_training.bench_data import read_label_map
from relay_training.contest import Contender, Limits, play_object
from relay_training.evaluate import Contest, follow, run_contest
from relay_training.memory import peak_memory_of
from relay_training.mobilesam import MobileSam
from relay_training.product import product_contender, set_threads
from relay_training.report import Report

CONTENDERS = ("relay", "mobilesam", "random-walker", "geodesic")
"""Who can be compared. The product comes first: importing the peer's package renames some of timm's
models.
"""
PROBE_CLICKS = 4
"""Clicks during which peak memory is measured."""


@dataclass(frozen=True, slots=True)
class Builder:
    """How a contender is made, here or in another process."""

    checkpoint: str | None = None
    peer_weights: Path | None = None
    threads: int | None = None
    dtype: str = "auto"

    def build(self, name: str) -> Contender:
        """A contender by its name in `CONTENDERS`.

        Raises
        ------
        UsageError
            Unknown name, or the peer's weights are not given.
        """
        if name == "relay":
            from napari_relay.predictor import load_predictor

            return product_contender(load_predictor(self.checkpoint, dtype=self.dtype, threads=self.threads))
        if name == "mobilesam":
            if self.peer_weights is None:
                raise UsageError("MobileSAM has no weights.", "Give --peer-weights FILE.safetensors.")
            return MobileSam(self.peer_weights)
        classic: dict[str, Callable[[], Contender]] = {"random-walker": RandomWalker, "geodesic": Geodesic}
        if name not in classic:
            raise UsageError(f"There is no contender {name!r}.", f"Choose from {', '.join(CONTENDERS)}.")
        return classic[name]()


def probe(builder: Builder, name: str, picture: Path, label_map: Path, label: int) -> None:
    """Make a contender and play one object of `PROBE_CLICKS` clicks, for the memory it takes."""
    set_threads(builder.threads)
    labels = read_label_map(label_map)
    with builder.build(name).open(picture) as opened:
        play_object(opened.start(), labels.values == label, labels.ignore, Limits(PROBE_CLICKS, stop_iou=2.0))


def measure_memory(contest: Contest, builder: Builder, report: Report) -> None:
    """Fill in the peak memory of the contenders that lack it, on the largest picture that is played."""
    tasks = [task for _, planned in contest.plan() for task in planned if task.labels]
    sizes = {task: read_label_map(task.picture.label).values.size for task in tasks}
    largest = max(sizes, key=lambda task: sizes[task])
    for name, kept in report.contenders.items():
        if kept.peak_memory_mb is None:
            picture = largest.picture
            work = partial(probe, builder, name, picture.image, picture.label, largest.labels[0])
            kept.peak_memory_mb = peak_memory_of(work)


def command(
    data: Annotated[Path, typer.Option(help="One set, or a folder of sets.")],
    quick: Annotated[Path | None, typer.Option(help="Only the objects of this list (lines `set/id label`).")] = None,
    peer_weights: Annotated[Path | None, typer.Option(help="MobileSAM's vit_t weights as safetensors.")] = None,
    checkpoint: Annotated[str | None, typer.Option(help="The product's checkpoint: a name or a file.")] = None,
    dtype: Annotated[str, typer.Option(help="The product's: auto, float32, bfloat16; the peer's is float32.")] = "auto",
    only: Annotated[list[str] | None, typer.Option(help="Only this contender (repeatable).")] = None,
    sets: Annotated[list[str] | None, typer.Option("--set", help="Only this set (repeatable).")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of the computation; all cores by default.")] = None,
    json: Annotated[Path | None, typer.Option(help="Keep the result here; a second call goes on from it.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start the file anew.")] = False,
) -> None:
    """Compare the product with MobileSAM and classic methods: one robot, the same pictures, the same run.

    Example: python -m relay_training compare --data bench --quick benchmarks/quick.txt
    --peer-weights mobile_sam.safetensors --threads 1 --json compare.json
    """
    set_threads(threads)
    contest = Contest(data, quick, sets, threads=threads, json_path=json, overwrite=overwrite)
    builder = Builder(checkpoint, peer_weights, threads, dtype)
    names = [name for name in CONTENDERS if name in only] if only else list(CONTENDERS)
    for name in only or ():
        if name not in CONTENDERS:
            raise UsageError(f"There is no contender {name!r}.", f"Choose from {', '.join(CONTENDERS)}.")
    report = follow(run_contest(contest, [builder.build(name) for name in names]))
    measure_memory(contest, builder, report)
    if json:
        report.save(json)
    console = Console()
    for table in report.tables():
        console.print(table)
    for name, kept in report.contenders.items():
        console.print(f"peak memory of {name}: {kept.peak_memory_mb or 0:.0f} MB")

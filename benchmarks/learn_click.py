"""Clicks while the program learns, against clicks on an idle machine.

    python benchmarks/learn_click.py [--n 40] [--minutes 5]

A copy of the bundled nuclei, its objects accepted, is opened with the worker process that the window uses, and clicked
through the session at the same places again and again: once to encode their views, once with nothing else going on,
then beside each stage of a learning job (encoding, measuring, learning). The bar is twice the idle p95.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from PIL import Image

import napari_relay as nr
from napari_relay.engine import WorkerEngine
from napari_relay.geometry import Box, Click
from napari_relay.learn import follow
from napari_relay.session import ClickSession
from napari_relay.sources import open_image
from napari_relay.store import Project
from napari_relay.workspace.opening import SERVICE
from recording import Figure, argument_parser, parse, publish, run, spread

SAMPLES = Path(__file__).parents[1] / "sample_data"
STAGES = ("encoding", "measuring", "learning")
REST_S = 0.3
"""Between two clicks: as a quick user."""


def main() -> None:
    """Measure, print, append."""
    parser = argument_parser(__doc__, "learn_click")
    parser.add_argument("--n", type=int, default=40, help="objects of two clicks each, a turn")
    parser.add_argument("--minutes", type=float, default=5.0, help="time of the job")
    args = parse(parser)
    with tempfile.TemporaryDirectory() as folder:
        times = clicked(accepted(Path(folder)), args.n, args.minutes)
    idle = float(np.percentile(times["idle"], 95))
    figures = []
    for stage in (s for s in STAGES if times[s]):
        beside = float(np.percentile(times[stage], 95))
        text = f"p95 {beside:.0f} ms of {idle:.0f} ms"
        figures.append(Figure(f"click while it learns, {stage}", beside / idle, "x idle", 2.0, text))
    publish(args, figures, {name: spread(found) for name, found in times.items() if found})


def accepted(folder: Path) -> Path:
    """A copy of the picture with every labelled object accepted."""
    image = folder / "nuclei.jpg"
    shutil.copyfile(SAMPLES / "nuclei.jpg", image)
    labels = np.asarray(Image.open(SAMPLES / "nuclei_labels.png"))
    with (
        open_image(image) as source,
        Project.open(
            folder / "nuclei.jpg.relay", fingerprint=source.fingerprint, shape=source.shape, image_name=source.name
        ) as project,
    ):
        for label in np.unique(labels[labels > 0]):
            rows, columns = np.nonzero(labels == label)
            box = Box(int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1)
            inside = int(len(rows) // 2)
            click = Click(float(rows[inside]), float(columns[inside]))
            project.accept(box, (labels == label)[box.slices], class_name="nucleus", clicks=[click], overlap="allow")
    return image


def clicked(image: Path, count: int, minutes: float) -> dict[str, list[float]]:
    """Milliseconds of each click, idle and beside each stage of learning."""
    times: dict[str, list[float]] = {name: [] for name in ("idle", *STAGES)}
    engine = WorkerEngine(SERVICE)
    try:
        with nr.open_workspace(image, engine=engine) as workspace:
            session = workspace.session()
            for name in ("encoded once", "idle"):
                times[name] = list(islice(_clicks(session, image, count), 2 * count))
            del times["encoded once"]
            job = workspace.learn(minutes=minutes)
            more = {stage: _clicks(session, image, count) for stage in STAGES}
            try:
                for line in follow(job):
                    if line.stage in STAGES and len(times[line.stage]) < 2 * count:
                        times[line.stage].append(next(more[line.stage]))
                    if line.stage == "learning" and len(times["learning"]) == 2 * count:
                        break
            finally:
                job.cancel()
                while job.alive:
                    time.sleep(0.2)
    finally:
        engine.close()
    return times


def _clicks(session: ClickSession, image: Path, count: int) -> Iterator[float]:
    """Click `count` places, two clicks each, again and again; yields milliseconds of each."""
    with open_image(image) as source:
        height, width = source.shape
    places = np.random.default_rng(0).uniform(0.2, 0.8, (count, 2)) * (height, width)
    for y, x in cycle(places):
        session.reset()
        for offset in (0, 10):
            time.sleep(REST_S)
            began = time.perf_counter()
            session.click(y + offset, x)
            yield (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    run(main)

"""Clicks on a machine that does other work too: the model's threads asleep while they wait, against spinning.

    python benchmarks/busy_click.py [--n 6] [--others 1]

So many processes of pure computation run beside a worker process that is clicked through the session. It is measured
twice, in turns: as it is started (OMP_WAIT_POLICY=PASSIVE), and with the spinning that the OpenMP library does by
itself (GOMP_SPINCOUNT=300000, libgomp's own number).
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from skimage.data import astronaut

import napari_relay as nr
from napari_relay.engine import WorkerEngine
from napari_relay.session import ClickSession
from napari_relay.workspace.opening import SERVICE
from recording import Figure, argument_parser, parse, publish, run, spread

SPINNING = {"GOMP_SPINCOUNT": "300000"}


def main() -> None:
    """Measure, print, append."""
    parser = argument_parser(__doc__, "busy_click")
    parser.add_argument("--n", type=int, default=6, help="objects of two clicks each, a turn")
    parser.add_argument("--others", type=int, default=1, help="processes of other work")
    args = parse(parser)
    found: dict[str, list[tuple[float, float]]] = {"asleep": [], "spinning": []}
    with other_work(args.others):
        for name in ("asleep", "spinning", "spinning", "asleep"):
            found[name] += clicks(args.n, SPINNING if name == "spinning" else {})
    figures = []
    for index, what in enumerate(("first", "further")):
        asleep, spinning = (median(pair[index] for pair in found[name]) for name in ("asleep", "spinning"))
        key = f"{what} click beside other work"
        figures.append(Figure(key, asleep / spinning, "x spinning", None, f"{asleep:.0f} ms of {spinning:.0f} ms"))
    details = {
        "others": args.others,
        **{f"{name}, {what}": spread([pair[i] for pair in pairs])
           for name, pairs in found.items() for i, what in enumerate(("first", "further"))},
    }  # fmt: skip
    publish(args, figures, details)


@contextmanager
def other_work(count: int) -> Iterator[None]:
    """So many processes that compute and nothing else."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def clicks(count: int, environment: dict[str, str]) -> list[tuple[float, float]]:
    """Milliseconds of a first and a second click on each of `count` objects in a view that is encoded."""
    before = dict(os.environ)
    os.environ.update(environment)
    engine = WorkerEngine(SERVICE)
    try:
        with nr.open_workspace(astronaut(), engine=engine) as workspace:
            session = workspace.session()
            session.click(40, 40)  # the model is loaded, the view encoded
            return [_pair(session, 60 + 30 * number) for number in range(count)]
    finally:
        engine.close()
        os.environ.clear()
        os.environ.update(before)


def _pair(session: ClickSession, place: int) -> tuple[float, float]:
    session.reset()
    times = []
    for offset in (0, 20):
        began = time.perf_counter()
        session.click(place + offset, place)
        times.append((time.perf_counter() - began) * 1000)
    return times[0], times[1]


if __name__ == "__main__":
    run(main)

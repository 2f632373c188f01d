"""How long a click takes until its mask is there, against MobileSAM in the same run.

    python benchmarks/click_latency.py --peer-weights mobile_sam_vit_t.safetensors [--n 12] [--threads 2]
    python benchmarks/click_latency.py --checkpoint step0 --photos DIR      # without weights: milliseconds alone

The product is clicked as the window clicks it: workspace, session, worker process, its own choice of dtype. The peer
is `SamPredictor` in float32 with the same number of threads; its first click is `set_image` + `predict`, a further
one is `predict` with the logits before. Both get the same clicks, take turns in alternating order, and never compute
at the same time. Cases: a photo (local view cold, no global view needed); a large image with both views cold, with
the global view cached, and hover-prefetched; a second click 1 s after the first; further clicks in cached views.
Medians over `--n` pictures of scikit-image (or of a folder), and as many places of a large image.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
from PIL import Image

from click_plan import Place, further_click, places
from make_huge import FOLDER, huge_image
from napari_relay.engine import Engine, InProcessEngine, WorkerEngine
from napari_relay.geometry import Box, Click
from napari_relay.session import ClickSession
from napari_relay.sources import Source, open_image
from napari_relay.workspace import Workspace, open_workspace
from napari_relay.workspace.opening import SERVICE
from pictures import Photo, photos, read_rgb
from recording import Figure, argument_parser, parse, publish, run, spread

PEER_FILE = "mobile_sam_vit_t.safetensors"
CROP = 1024
"""Side of the square that the peer gets of a large image: its own input, so that it need not resize."""
LARGE_SIDE = 8192
ROUNDS = 4
"""Clicks on an object in the cached pass."""
PAUSE_S = 1.0
THIS = psutil.Process()

Times = dict[str, list[float]]


def main() -> None:
    """Measure, print, append."""
    args = _arguments()
    times, processor = defaultdict(list), defaultdict(list)
    with ExitStack() as open_things:
        scratch = Path(open_things.enter_context(tempfile.TemporaryDirectory(prefix="click-latency-")))
        engine = open_things.enter_context(_engine(args))
        info = engine.call("info", lane="control")
        peer = _load_peer(args)
        bench = Bench(engine, peer, scratch, times, processor)
        bench.warm_up()
        for turn, photo in enumerate(photos(args.photos, scratch, args.n)):
            bench.photo(photo, peer_first=bool(turn % 2))
        large = args.large or huge_image(FOLDER, LARGE_SIDE, 1.0)
        with open_image(large) as source:
            for turn, place in enumerate(places(source.shape, args.n)):
                bench.place(source, place, peer_first=bool(turn % 2))
    details = {
        "checkpoint": info["card"]["name"], "dtype": info["dtype"], "threads": args.threads, "engine": args.engine,
        "ms": {name: spread(values) for name, values in times.items()},
        "processor_ms": {name: spread(values) for name, values in processor.items()},
    }  # fmt: skip
    note = f"Checkpoint {details['checkpoint']}, {info['dtype']}, {args.threads} threads; the peer in float32."
    publish(args, figures(times, processor), details, note)


def _arguments() -> argparse.Namespace:
    parser = argument_parser(__doc__, "click_latency")
    parser.add_argument("--checkpoint", help="bundled name or file (default: the default one)")
    parser.add_argument("--peer-weights", type=Path, default=_known_weights(), metavar="FILE",
                        help=f"{PEER_FILE} (default: the one in the folder that NAPARI_RELAY_DATA names, or beside it)")
    parser.add_argument("--photos", type=Path, metavar="DIR", help="pictures (default: scikit-image's)")
    parser.add_argument("--large", type=Path, metavar="IMAGE", help="large image (default: one is made of real tiles)")
    parser.add_argument("--n", type=int, default=12, help="pictures, and places of the large image")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="torch's, on both sides")
    parser.add_argument("--dtype", default="auto", help="of the product: auto, float32 or bfloat16")
    parser.add_argument("--engine", choices=("worker", "inprocess"), default="worker", help="worker: as the window")
    return parse(parser)


def _known_weights() -> Path | None:
    data = os.environ.get("NAPARI_RELAY_DATA")
    tried = [Path(data) / "weights" / PEER_FILE, Path(data).parent / "weights" / PEER_FILE] if data else []
    return next((path for path in tried if path.is_file()), None)


def _engine(args: argparse.Namespace) -> Engine:
    kind = WorkerEngine if args.engine == "worker" else InProcessEngine
    # The CPU, as the peer: the bars are about machines without a GPU.
    return kind(SERVICE, checkpoint=args.checkpoint, device="cpu", dtype=args.dtype, threads=args.threads)


def _load_peer(args: argparse.Namespace) -> Any:
    """MobileSAM with so many threads; None without its weights."""
    if args.peer_weights is None:
        print(f"No weights of the peer (--peer-weights {PEER_FILE}): milliseconds alone, no ratios.")
        return None
    import torch

    from relay_training.mobilesam import MobileSam

    torch.set_num_threads(args.threads)
    return MobileSam(args.peer_weights)


class Bench:
    """The two sides and what was measured of them.

    times : name of the case -> milliseconds. Names that start with "peer" are the peer's.
    processor : the same, in processor time of all processes and threads; it says something on a busy machine, too.
    """

    def __init__(self, engine: Engine, peer: Any, scratch: Path, times: Times, processor: Times) -> None:
        self.engine, self.peer, self.scratch, self.times, self.processor = engine, peer, scratch, times, processor
        self.projects = 0
        self._workspace: Workspace | None = None

    def warm_up(self) -> None:
        """Click a picture that does not count: first runs load code and fill caches."""
        picture = self.scratch / "warm.png"
        Image.fromarray(np.roll(read_rgb("coffee"), 7, axis=0)).save(picture)
        kept = self.times, self.processor
        self.times, self.processor = defaultdict(list), defaultdict(list)
        self.photo(Photo(picture, (150.0, 280.0)), peer_first=False)
        self.times, self.processor = kept

    def photo(self, photo: Photo, *, peer_first: bool) -> None:
        """A first click, a second one, then the same clicks again with every view cached, the peer in between."""
        first = Click(float(photo.point[0]), float(photo.point[1]))
        with ExitStack() as open_things:
            source = open_things.enter_context(open_image(photo.path))
            workspace = open_things.enter_context(self._opened(source))
            peer = Peer(self.peer, photo.path, open_things, self.times, self.processor)
            clicks: list[Click] = []
            steps: list[Callable[[], Any]] = [
                lambda: clicks.extend(self._product(workspace.session(), first, "photo")), lambda: peer.first(first),
            ]  # fmt: skip
            for step in reversed(steps) if peer_first else steps:
                step()
            self._cached(workspace.session(), peer, clicks, peer_first=peer_first)

    def place(self, source: Source, place: Place, *, peer_first: bool) -> None:
        """A place of a large image: both views cold, then the global view cached, then hover-prefetched."""
        crop, shifted = self._crop(source, place.cold)
        with ExitStack() as open_things:
            workspace = open_things.enter_context(self._opened(source))
            peer = Peer(self.peer, crop, open_things, self.times, self.processor)
            if peer_first:
                peer.first(shifted)
            self._product(workspace.session(), place.cold, "large")
            if not peer_first:
                peer.first(shifted)
            self._timed("large, global view cached", workspace.session(), place.near)
            hovering = workspace.session()
            hovering.prefetch_at(place.hovered.y, place.hovered.x)
            self._timed("large, hover-prefetched", hovering, place.hovered)

    def _opened(self, source: Source) -> Workspace:
        self.projects += 1
        workspace = open_workspace(source, self.scratch / f"{self.projects}.relay", engine=self.engine)
        # As in the window: picture decoded and contrast measured before the first click.
        workspace.session().prepare()
        source.read(Box(0, 0, 1, 1))
        self._workspace = workspace
        return workspace

    def _product(self, session: ClickSession, first: Click, case: str) -> list[Click]:
        """A cold first click, a second one after a pause (both timed), and more; returns them all."""
        clicks = [first]
        self._timed(f"{case}, first", session, first)
        started = time.perf_counter()
        clicks.append(further_click(session, clicks))
        time.sleep(max(0.0, PAUSE_S - (time.perf_counter() - started)))
        self._timed(f"{case}, second", session, clicks[-1], wait=False)
        while case == "photo" and len(clicks) < ROUNDS:
            clicks.append(further_click(session, clicks))
            session.click(clicks[-1].y, clicks[-1].x, clicks[-1].positive)
        self._wait_idle()
        return clicks

    def _cached(self, session: ClickSession, peer: Peer, clicks: list[Click], *, peer_first: bool) -> None:
        """The clicks of an earlier session again: every view is encoded."""
        self._timed("photo, first in a cached view", session, clicks[0])
        for turn, click in enumerate(clicks[1:]):
            peers_turn = peer_first ^ bool(turn % 2)
            if peers_turn:
                peer.further(click)
            self._timed("further", session, click)
            if not peers_turn:
                peer.further(click)

    def _timed(self, case: str, session: ClickSession, click: Click, *, wait: bool = True) -> None:
        if wait:
            self._wait_idle()
        cpu_s, started = processor_s(), time.perf_counter()
        session.click(click.y, click.x, click.positive)
        self.times[case].append((time.perf_counter() - started) * 1000)
        self.processor[case].append((processor_s() - cpu_s) * 1000)

    def _wait_idle(self, quiet_s: float = 0.2) -> None:
        """Until nothing is computed ahead any more: the other side's turn must not be disturbed."""
        if self._workspace is not None:
            # A view that is to be encoded ahead is read in this thread first.
            self._workspace.predicts._reader.submit(int).result()
        since = time.perf_counter()
        while time.perf_counter() - since < quiet_s:
            time.sleep(0.01)
            if self.engine.state != "ready":
                since = time.perf_counter()

    def _crop(self, source: Source, click: Click) -> tuple[Path, Click]:
        """The square of a large image round a click, as a picture for the peer."""
        height, width = source.shape
        y0 = min(max(0, round(click.y) - CROP // 2), max(0, height - CROP))
        x0 = min(max(0, round(click.x) - CROP // 2), max(0, width - CROP))
        pixels: npt.NDArray[Any] = source.read(Box(y0, x0, y0 + CROP, x0 + CROP).clip(source.shape))
        path = self.scratch / "crop.png"
        Image.fromarray(pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., 0]).save(path)
        return path, Click(click.y - y0, click.x - x0, click.positive)


class Peer:
    """The peer on one picture; does nothing where its weights are not there."""

    def __init__(self, model: Any, path: Path, open_things: ExitStack, times: Times, processor: Times) -> None:
        self._model, self._path, self._open_things = model, path, open_things
        self._times, self._processor = times, processor
        self._clicker: Any = None

    def first(self, click: Click) -> None:
        """`set_image` and the first `predict`."""
        if self._model is not None:
            self._clicker = self._open_things.enter_context(self._model.open(self._path)).start()
            self._click("peer first", click)

    def further(self, click: Click) -> None:
        """One more `predict`."""
        if self._model is not None:
            self._click("peer further", click)

    def _click(self, case: str, click: Click) -> None:
        answer = self._clicker(click)
        self._times[case].append(answer.ms)
        self._processor[case].append(answer.cpu_ms)


def processor_s() -> float:
    """Processor time of this process and its children (the worker) so far."""
    times = [process.cpu_times() for process in (THIS, *THIS.children(recursive=True))]
    return sum(part.user + part.system for part in times)


def figures(times: Times, processor: Times) -> list[Figure]:
    """What stands in `docs/performance.md`."""
    cases: Sequence[tuple[str, str, str, float]] = (
        ("first click, photo", "photo, first", "peer first", 1 / 4),
        ("first click, both views cold", "large, first", "peer first", 2 / 5),
        ("first click, global view cached", "large, global view cached", "peer first", 1 / 4),
        ("further click", "further", "peer further", 1.0),
        ("first click, hover-prefetched", "large, hover-prefetched", "peer further", 1.0),
        ("first click, cached view", "photo, first in a cached view", "peer further", 1.0),
        ("second click after 1 s, photo", "photo, second", "peer further", 1.0),
        ("second click after 1 s, large", "large, second", "peer further", 1.0),
    )
    made = []
    for key, mine, theirs, limit in cases:
        ms = median(times[mine])
        if times.get(theirs):
            peer_ms = median(times[theirs])
            cpu = median(processor[mine]) / median(processor[theirs])
            text = f"{ms:.0f} ms of {peer_ms:.0f} ms; processor time x {cpu:.2f}"
            made.append(Figure(key, ms / peer_ms, "x peer", limit, text))
        else:
            made.append(Figure(key, ms, "ms", None, f"of {len(times[mine])}"))
    return made


if __name__ == "__main__":
    run(main)

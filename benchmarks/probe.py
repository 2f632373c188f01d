"""Run a program with a window and tell its parent when what is there; used by `window_start.py` and `open_memory.py`.

    python benchmarks/probe.py REPORT {napari|relay} [--no-model] [--settle S] [-- ARGUMENTS]

The program itself is unchanged: its own entry point is called with ARGUMENTS. A timer in its event loop looks every
10 ms, writes the times (seconds since the epoch) and the resident memory to REPORT as JSON, and closes the window.
`--no-model` starts no worker process.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

POLL_MS = 10
STEADY_MS = 60
"""A window is usable when its loop has come round twice within this (a frame in software GL takes half of it)."""
LIMIT_S = 240.0


def main() -> None:
    """Patch the event loop, then be the program."""
    words = sys.argv[1:]
    split = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("program", choices=("napari", "relay"))
    parser.add_argument("--no-model", action="store_true")
    parser.add_argument("--settle", type=float, default=0.0, metavar="S", help="seconds before memory is read")
    args = parser.parse_args(words[:split])
    watch = Watch(args.report, args.settle, image=args.program == "relay")
    _when_the_loop_runs(watch.start)
    if args.no_model:
        from napari_relay.engine import WorkerEngine

        WorkerEngine.start = lambda self: None  # type: ignore[method-assign]
    sys.argv = [args.program, *words[split + 1 :]]
    if args.program == "napari":
        from napari.__main__ import main as napari

        napari()
    else:
        from napari_relay.cli import main as relay

        relay()


def _when_the_loop_runs(call: Callable[[], None]) -> None:
    from qtpy.QtWidgets import QApplication

    run = QApplication.exec_

    def exec_(*_: Any) -> Any:
        call()
        return run()

    QApplication.exec_ = QApplication.exec = exec_


class Watch:
    """Looks at the window from within its event loop.

    Parameters
    ----------
    image : whether an image is opened, which must be drawn and ready to be clicked.
    """

    def __init__(self, report: Path, settle_s: float, *, image: bool) -> None:
        self.report, self.settle_s, self.image = report, settle_s, image
        self.times: dict[str, float] = {}
        self.began = time.time()
        self._drawn = 0
        self._looked = 0
        self._ticks: list[float] = []
        self._timer: Any = None
        self._viewer: Any = None

    def start(self) -> None:
        """The event loop is about to run."""
        from qtpy.QtCore import QTimer

        self.times["loop"] = time.time()
        self._timer = QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self._tick)
        self._timer.start()
        self._find_viewer()

    def _tick(self) -> None:
        now = time.time()
        self._ticks = [*self._ticks[-2:], now]
        if self._viewer is None:
            self._find_viewer()
        elif self._drawn > 0:
            self.times.setdefault("frame", now)
            self._look(now)
        if now - self.began > LIMIT_S:
            self._end("too slow")

    def _find_viewer(self) -> None:
        import napari

        self._viewer = napari.current_viewer()
        if self._viewer is not None:
            canvas = self._viewer.window._qt_viewer.canvas
            canvas._scene_canvas.events.draw.connect(self._count, position="last")
            self._native = canvas.native

    def _count(self, event: Any = None) -> None:
        self._drawn += 1

    def _look(self, now: float) -> None:
        steady = len(self._ticks) == 3 and (self._ticks[-1] - self._ticks[0]) * 1000 < STEADY_MS
        if self.image:
            if "pixels" not in self.times and self._drawn != self._looked:
                self._looked = self._drawn
                if self._shows_image():
                    self.times["pixels"] = time.time()
            if "armed" not in self.times and self._desk().armed:
                self.times["armed"] = now
            if "ready" not in self.times and self._is_ready():
                self.times["ready"] = now
            if not {"pixels", "armed", "ready"} <= self.times.keys():
                return
        if steady:
            self.times.setdefault("usable", now)
        if "usable" in self.times and now >= self.times["usable"] + self.settle_s and self._at_rest():
            self._end("")

    def _shows_image(self) -> bool:
        """Whether the middle of the canvas is brighter than the empty canvas, which is black."""
        if not len(self._viewer.layers):
            return False
        shot = self._native.grabFramebuffer()
        x, y = shot.width() // 2, shot.height() // 2
        values = [sum(shot.pixelColor(x + dx, y + dy).getRgb()[:3]) for dx in (-9, 0, 9) for dy in (-9, 0, 9)]
        return max(values) > 60

    def _desk(self) -> Any:
        return self._viewer.window.dock_widgets["Relay"].desk

    def _is_ready(self) -> bool:
        desk = self._desk()
        return desk.armed and str(desk.shown.phase) == "ready"

    def _at_rest(self) -> bool:
        """Nothing is rendered in the background any more."""
        return not self.image or len(self._desk().controller.workspace.project.journal) == 0

    def _end(self, failure: str) -> None:
        import psutil

        self._timer.stop()
        process = psutil.Process()
        children = process.children(recursive=True)
        found = {
            "times": self.times,
            "rss": process.memory_info().rss,
            "children_rss": sum(child.memory_info().rss for child in children),
            "torch": "torch" in sys.modules,
            "drawn": self._drawn,
            "failure": failure,
        }
        self.report.write_text(json.dumps(found))
        # Closing in order takes time that is not measured here.
        for child in children:
            child.kill()
        os._exit(0)


if __name__ == "__main__":
    main()

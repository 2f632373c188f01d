"""A stall meter: how long the window's thread did not come round, and whose code it was in.

A 5 ms timer ticks in the event loop; a gap between two ticks is a stall. Meanwhile a thread looks every 2 ms at what
the window's thread is doing. Each moment of a gap counts for

- `frame`  : napari draws a frame,
- `layers` : napari adds a layer,
- `own`    : anything else with this program's code on the stack, whatever that calls,
- `other`  : napari, Qt or the benchmark alone.

So a stall of our own making is told from a frame, which costs 30 ms in software GL whoever asked for it.
"""

from __future__ import annotations

import sys
import threading
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import napari_relay

TICK_MS = 5
LOOK_S = 0.002
FRAME_NAMES = {"paintGL", "on_draw"}
LAYER_NAMES = {"add_layer", "add_image", "_add_layer_from_data"}
OWN = str(Path(napari_relay.__file__).parent)


@dataclass(frozen=True, slots=True)
class Gap:
    """One gap between ticks, in milliseconds: as a whole and the parts of it; `where` is our function in it."""

    phase: str
    ms: float
    own: float = 0.0
    frame: float = 0.0
    layers: float = 0.0
    where: str = ""


class StallMeter:
    """Measures while it is entered as a context; made on the window's thread after the application.

    `phase` names what goes on, for `gaps`.
    """

    def __init__(self) -> None:
        self._main = threading.get_ident()
        self._ticks: list[float] = []
        self._samples: list[tuple[float, str, str]] = []  # time, kind, our functions
        self._phases: list[tuple[str, float, float]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="stall meter", daemon=True)

    def __enter__(self) -> StallMeter:
        from qtpy.QtCore import Qt, QTimer

        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(TICK_MS)
        self._timer.timeout.connect(lambda: self._ticks.append(time.perf_counter()))
        self._timer.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._timer.stop()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """What happens in the block counts under this name."""
        began = time.perf_counter()
        yield
        self._phases.append((name, began, time.perf_counter()))

    def gaps(self) -> dict[str, list[Gap]]:
        """All gaps of each phase; call it when the measurement is over."""
        times = [sample[0] for sample in self._samples]
        found: dict[str, list[Gap]] = defaultdict(list)
        for name, began, ended in self._phases:
            for first, second in zip(self._ticks, self._ticks[1:], strict=False):
                if began <= second and first <= ended:
                    found[name].append(self._gap(name, first, second, times))
        return found

    def _gap(self, phase: str, first: float, second: float, times: list[float]) -> Gap:
        parts: dict[str, float] = defaultdict(float)
        where: dict[str, float] = defaultdict(float)
        before = first
        index = bisect_left(times, first)
        while before < second:
            # What was seen at a look is taken to have gone on since the one before it: code that holds the
            # interpreter delays the look until it is over.
            at, kind, function = self._samples[index] if index < len(times) else (second, "other", "")
            spent = (min(at, second) - before) * 1000
            parts[kind] += spent
            where[function] += spent
            before, index = at, index + 1
        where.pop("", None)
        most = max(where, key=lambda name: where[name], default="")
        return Gap(phase, (second - first) * 1000, parts["own"], parts["frame"], parts["layers"], most)

    def _look(self) -> None:
        while not self._stop.wait(LOOK_S):
            frame = sys._current_frames().get(self._main)
            self._samples.append((time.perf_counter(), *_told(frame)))


def _told(frame: FrameType | None) -> tuple[str, str]:
    """(kind, our outermost and innermost function) of a stack."""
    outer = inner = ""
    while frame is not None:
        code = frame.f_code
        if code.co_name in FRAME_NAMES:
            return "frame", ""
        if code.co_name in LAYER_NAMES:
            return "layers", ""
        if code.co_filename.startswith(OWN):
            outer = f"{Path(code.co_filename).name}:{code.co_name}"
            inner = inner or outer
        frame = frame.f_back
    if not outer:
        return "other", ""
    return "own", outer if inner == outer else f"{outer} > {inner}"

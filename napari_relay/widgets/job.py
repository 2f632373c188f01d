"""Long work of the window in a thread of its own: tells how far it is and how long it takes, stops when asked. No Qt
here; `JobBar` shows it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from typing import Any

from psygnal import Signal

from napari_relay.widgets.threads import Runner

TELL_S = 0.2
Steps = Generator[tuple[int, int], None, Any]
"""Yields (done, total); closed early, it leaves everything as it was or as far as it came."""


class Job:
    """One piece of work at a time. Who makes it closes it.

    Parameters
    ----------
    runner : owned; runs the work.

    Attributes
    ----------
    progress : Signal(done, total, seconds left or -1), a few times a second; not for work that is done before.
    ended : Signal(what the work returned; None when it was stopped).
    failed : Signal(exception).
    """

    progress = Signal(int, int, float)
    ended = Signal(object)
    failed = Signal(object)

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._stop = threading.Event()
        self.running = False

    def start(self, steps: Callable[[], Steps]) -> bool:
        """Begin; False while something runs."""
        if self.running:
            return False
        self.running = True
        self._stop.clear()
        self._runner.submit(lambda: self._drive(steps()), self._done, self._broken)
        return True

    def stop(self) -> None:
        """Give up at the next step."""
        self._stop.set()

    def close(self) -> None:
        """Stop and end the thread; returns at once."""
        self.stop()
        self._runner.close()

    def _drive(self, steps: Steps) -> Any:
        began, told = time.monotonic(), time.monotonic()
        while True:
            if self._stop.is_set():
                steps.close()
                return None
            try:
                done, total = next(steps)
            except StopIteration as end:
                return end.value
            now = time.monotonic()
            if now - told > TELL_S:
                told = now
                self._tell(done, total, (now - began) / done * (total - done) if done else -1.0)

    def _tell(self, done: int, total: int, left_s: float) -> None:
        self._runner.post(lambda: self.progress.emit(done, total, left_s))

    def _done(self, result: Any) -> None:
        self.running = False
        self.ended.emit(result)

    def _broken(self, error: BaseException) -> None:
        self.running = False
        self.failed.emit(error)

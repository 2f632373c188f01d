"""A whole-image job of the window: runs in a thread of its own, tells how far it is, stops when asked. No Qt here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from psygnal import Signal

from napari_relay.errors import UsageError
from napari_relay.geometry import Box, Plane
from napari_relay.widgets.threads import Runner

if TYPE_CHECKING:
    # Only names here: scipy takes long to import, and the job's thread does it.
    from napari_relay.fullimage import Step

T = TypeVar("T")
TELL_S = 0.2


class ProposeWork:
    """One job at a time on one image. Who makes it closes it.

    Parameters
    ----------
    workspace : of the image.
    runner : owned; runs the job.

    Attributes
    ----------
    progress : Signal(done, total, found, seconds left or -1).
    ended : Signal(number proposed; -1 when it was stopped).
    mapped : Signal(folder of a class map); in place of `ended`.
    failed : Signal(exception).
    """

    progress = Signal(int, int, int, float)
    ended = Signal(int)
    mapped = Signal(str)
    failed = Signal(object)

    def __init__(self, workspace: Any, runner: Runner) -> None:
        self._workspace, self._runner = workspace, runner
        self._stop = threading.Event()
        self.running = False

    def start(
        self, mode: Literal["instances", "similar", "semantic"], *, like: tuple[int, ...] = (),
        region: Box | None = None, plane: Plane | None = None,
    ) -> None:  # fmt: skip
        """Begin, or go on where the same job was stopped; nothing while one runs."""
        if self.running:
            return
        self.running = True
        self._stop.clear()

        def run() -> int | str:
            from napari_relay.fullimage.request import ClassRequest, Request

            workspace, at = self._workspace, plane or Plane()
            if mode == "semantic":
                done = self._run(workspace.classify, ClassRequest(region, at, overwrite=True))
                return -1 if done is None else str(done)
            proposed = self._run(workspace.propose, Request(mode=mode, like=like, region=region, plane=at))
            return -1 if proposed is None else len(proposed.ids)

        self._runner.submit(run, self._done, self._broken)

    def stop(self) -> None:
        """Give up at the next step; what is done is kept, and the same job goes on from there."""
        self._stop.set()

    def close(self) -> None:
        """Stop and end the thread; returns at once."""
        self.stop()
        self._runner.close()

    def _run(self, job: Callable[[Any], Generator[Step, None, T]], request: Any) -> T | None:
        try:
            return self._drive(job(replace(request, resume=True)))
        except UsageError:
            # What was stopped there was another job; if something else is wrong, it is wrong again.
            return self._drive(job(replace(request, anew=True)))

    def _drive(self, steps: Generator[Step, None, T]) -> T | None:
        """Run to the end; what came of it, None when it was stopped."""
        began, first, told = time.monotonic(), None, 0.0
        try:
            while True:
                step = next(steps)
                if self._stop.is_set():
                    steps.close()
                    return None
                first = step.done if first is None else first
                now = time.monotonic()
                if now - told > TELL_S or step.done == step.total:
                    told = now
                    new = step.done - first
                    left = (now - began) / new * (step.total - step.done) if new else -1.0
                    self._tell(step, left)
        except StopIteration as end:
            result: T = end.value
            return result

    def _tell(self, step: Step, left: float) -> None:
        self._runner.post(lambda: self.progress.emit(step.done, step.total, step.found, left))

    def _done(self, came: int | str) -> None:
        self.running = False
        if isinstance(came, str):
            self.mapped.emit(came)
        else:
            self.ended.emit(came)

    def _broken(self, error: BaseException) -> None:
        self.running = False
        self.failed.emit(error)

"""Jobs waiting for the engine, in lanes: who runs next, who is superseded, who has to stop.

Pure bookkeeping under one lock; nothing here runs a job. A future is settled exactly once, outside the lock, so
that its callbacks may submit again. One job runs at a time.
"""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Any

from napari_relay.errors import CancelledError, RelayError, SupersededError, UsageError


@dataclass(frozen=True, slots=True)
class Lane:
    """A kind of job.

    rank : smaller runs first.
    newest_wins : a new job of the lane takes the place of those that still wait in it.
    interrupts : a new job stops a running one of a lane that gives way, at that one's next yield.
    gives_way : see `interrupts`. Such jobs are only a convenience, so they never start a failed service again.
    """

    name: str
    rank: int
    newest_wins: bool
    interrupts: bool = False
    gives_way: bool = False


LANES = {
    lane.name: lane
    for lane in (
        Lane("control", rank=0, newest_wins=False),
        Lane("click", rank=1, newest_wins=True, interrupts=True),
        Lane("prefetch", rank=2, newest_wins=True, gives_way=True),
        Lane("whole", rank=3, newest_wins=False, gives_way=True),
    )
}


def lane_named(name: str) -> Lane:
    if name not in LANES:
        raise UsageError(f"The engine has no lane {name!r}.", f"Use one of: {', '.join(LANES)}.")
    return LANES[name]


@dataclass(eq=False, slots=True)
class Job:
    """One request. `given_up` is set when nobody wants the answer any more although the job still runs."""

    ticket: int
    method: str
    args: tuple[object, ...]
    lane: Lane
    future: Future[Any] = field(default_factory=Future)
    given_up: bool = False

    def settle(self, result: object = None, error: BaseException | None = None) -> None:
        """Answer the future, unless its owner cancelled it meanwhile."""
        try:
            if error is not None:
                self.future.set_exception(error)
            else:
                self.future.set_result(result)
        except InvalidStateError:
            pass


class JobQueue:
    """The waiting jobs and the running one. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tickets = itertools.count(1)
        self._waiting: list[Job] = []
        self._running: Job | None = None
        self._closed: RelayError | None = None

    def add(self, method: str, args: tuple[object, ...], lane: Lane) -> Future[Any]:
        """Queue a request; older waiting ones of its lane and a running one that gives way are superseded.

        Raises
        ------
        EngineClosedError
            After `close`.
        """
        dropped: list[Job] = []
        with self._lock:
            if self._closed is not None:
                raise self._closed
            if lane.newest_wins:
                dropped = [job for job in self._waiting if job.lane is lane]
                self._waiting = [job for job in self._waiting if job.lane is not lane]
            running = self._running
            if lane.interrupts and running is not None and running.lane.gives_way and not running.given_up:
                running.given_up = True
                dropped.append(running)
            job = Job(next(self._tickets), method, args, lane)
            self._waiting.append(job)
        for old in dropped:
            old.settle(error=SupersededError(f"A newer request took the place of this one ({old.method})."))
        return job.future

    def take(self) -> Job | None:
        """The job to run now, or None while one is running or none waits."""
        with self._lock:
            while self._running is None and self._waiting:
                job = min(self._waiting, key=lambda waiting: (waiting.lane.rank, waiting.ticket))
                self._waiting.remove(job)
                if job.future.set_running_or_notify_cancel():
                    self._running = job
                    return job
            return None

    def finish(self, ticket: int, result: object = None, error: BaseException | None = None) -> None:
        """The running job has ended. The answer of another ticket, or of a job given up, is dropped."""
        with self._lock:
            job = self._running
            if job is None or job.ticket != ticket:
                return
            self._running = None
        if not job.given_up:
            job.settle(result, error)

    def lose_running(self, error: RelayError) -> None:
        """The running job went down with its process."""
        with self._lock:
            job = self._running
        if job is not None:
            self.finish(job.ticket, error=error)

    def cancel(self, lane: Lane) -> None:
        """Give up everything in the lane; a running job stops at its next yield."""
        with self._lock:
            dropped = [job for job in self._waiting if job.lane is lane]
            self._waiting = [job for job in self._waiting if job.lane is not lane]
            running = self._running
            if running is not None and running.lane is lane and not running.given_up:
                running.given_up = True
                dropped.append(running)
        for job in dropped:
            job.settle(error=CancelledError(f"The request ({job.method}) was cancelled."))

    def drain(self, error: RelayError) -> None:
        """Fail every waiting job; the running one goes on."""
        with self._lock:
            dropped, self._waiting = self._waiting, []
        for job in dropped:
            job.settle(error=error)

    def close(self, error: RelayError) -> None:
        """Fail everything, now and later, with `error`; a running job stops at its next yield."""
        with self._lock:
            self._closed = error
            dropped, self._waiting = self._waiting, []
            if self._running is not None and not self._running.given_up:
                self._running.given_up = True
                dropped.append(self._running)
        for job in dropped:
            job.settle(error=error)

    def must_stop(self, ticket: int) -> bool:
        """Whether the job that runs under `ticket` should stop at its next yield."""
        with self._lock:
            return self._running is None or self._running.ticket != ticket or self._running.given_up

    @property
    def stopping(self) -> int | None:
        """Ticket of the running job if it was given up."""
        with self._lock:
            running = self._running
            return running.ticket if running is not None and running.given_up else None

    @property
    def busy(self) -> bool:
        with self._lock:
            return self._running is not None

    @property
    def wanted(self) -> bool:
        """Whether a job waits that is worth starting a service for, even one that failed before."""
        with self._lock:
            return any(not job.lane.gives_way for job in self._waiting)

    @property
    def waiting(self) -> bool:
        with self._lock:
            return bool(self._waiting)

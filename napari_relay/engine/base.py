"""What both engines share: the interface, the queue, the states and the life cycle."""

from __future__ import annotations

import atexit
import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from enum import Enum, StrEnum
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self

from napari_relay.engine.jobs import JobQueue, lane_named
from napari_relay.errors import EngineClosedError, EngineError, RelayError

log = logging.getLogger(__name__)

StateListener = Callable[[str, str], None]


class EngineState(StrEnum):
    """What an engine is doing; a member equals its text."""

    NEW = "new"  # nothing was asked yet; never announced
    STARTING = "starting"
    READY = "ready"
    BUSY = "busy"
    RESTARTING = "restarting"
    FAILED = "failed"
    CLOSED = "closed"


class Signal(Enum):
    """Words to the engine's thread."""

    START = "start"
    WAKE = "wake"
    RESTART = "restart"
    CLOSE = "close"


class Engine(ABC):
    """Runs methods of one service, one at a time, away from the caller's thread.

    The service is made at the first request or at `start`. Whoever makes the engine closes it; it is a context
    manager, and an engine forgotten is closed when the interpreter ends.

    Lanes: "click" (newest wins, stops a running prefetch), "prefetch" (newest wins), "control" (all run, first),
    "whole" (all run, last; stopped by a click, then SupersededError: ask again).
    Newest wins among the jobs that wait; the older ones fail with SupersededError. A method that is a generator
    can be stopped at each of its yields; its return value is the result.

    Parameters
    ----------
    factory : str
        "package.module:function"; called with `arguments`, it returns the service.
    **arguments
        Must be picklable for a worker process.
    """

    def __init__(self, factory: str, **arguments: object) -> None:
        self._factory = factory
        self._arguments = dict(arguments)
        self._jobs = JobQueue()
        self._events: SimpleQueue[Any] = SimpleQueue()  # Signals, and what a subclass puts there
        self._listeners: list[StateListener] = []
        self._lock = threading.Lock()  # guards the fields below
        self._thread: threading.Thread | None = None
        self._state, self._message = EngineState.NEW, ""
        self._closed = False
        self._failure: RelayError = EngineError("The engine failed.")  # the last one, while FAILED

    def submit(self, method: str, *args: object, lane: str = "click") -> Future[Any]:
        """Queue `service.method(*args)` and return its future; never waits.

        The future fails with what the method raised, or SupersededError, CancelledError, WorkerDiedError,
        EngineClosedError. Arrays in `args` must not be changed before it is done.

        Raises
        ------
        EngineClosedError
            The engine is closed.
        UsageError
            There is no such lane.
        """
        future = self._jobs.add(method, args, lane_named(lane))
        self._tell(Signal.WAKE)
        return future

    def call(self, method: str, *args: object, lane: str = "click", timeout: float | None = None) -> Any:
        """`submit` and wait for the result; EngineError when it does not come within `timeout` seconds."""
        future = self.submit(method, *args, lane=lane)
        try:
            return future.result(timeout)
        except TimeoutError as error:
            if future.done():  # the method itself raised it
                raise
            future.cancel()
            raise EngineError(f"{method} gave no answer within {timeout} s.", "Try again.") from error

    def cancel(self, lane: str) -> None:
        """Give up what waits or runs in the lane: the futures fail with CancelledError now, a running generator
        is stopped at its next yield, a late answer is dropped."""
        self._jobs.cancel(lane_named(lane))
        if self._thread is not None:
            self._events.put(Signal.WAKE)

    def update(self, **arguments: object) -> None:
        """Change arguments of the factory for the next time that the service is made (after a restart)."""
        with self._lock:
            self._arguments = {**self._arguments, **arguments}

    def argument(self, name: str) -> object:
        """An argument of the factory, as the last `update` left it; None where there is none."""
        with self._lock:
            return self._arguments.get(name)

    def start(self) -> None:
        """Make the service now, without waiting for it; does nothing where it is made or being made."""
        self._tell(Signal.START)

    def restart(self) -> None:
        """Make the service anew, with the arguments that `update` changed, without waiting for it; does nothing
        where it was never made. A job that runs fails with WorkerDiedError, those that wait go on waiting."""
        if self._thread is not None:
            self._tell(Signal.RESTART)

    def close(self) -> None:
        """End everything: open futures fail with EngineClosedError; no thread and no process is left.

        Idempotent, from any thread. A job that runs in this process is awaited up to its next yield.
        """
        with self._lock:
            first, self._closed = not self._closed, True
            thread = self._thread
        self._jobs.close(EngineClosedError("The engine was closed.", "Open the image again."))
        if thread is not None:
            self._events.put(Signal.CLOSE)
            if thread is not threading.current_thread():  # a listener or a future's callback closes us
                self._join(thread)
            atexit.unregister(self.close)
        if first:
            self._announce(EngineState.CLOSED)

    def on_state(self, listener: StateListener) -> Callable[[], None]:
        """Call `listener(state, message)` at each change; returns a function that ends this.

        It is called from the engine's threads, one call at a time but for "closed", and must not wait for the
        engine or the GUI thread. A message is text for the user and often empty.
        """
        with self._lock:
            self._listeners = [*self._listeners, listener]

        def remove() -> None:
            with self._lock:
                self._listeners = [known for known in self._listeners if known is not listener]

        return remove

    @property
    def state(self) -> EngineState:
        return self._state

    @property
    def message(self) -> str:
        """The message that came with the state."""
        return self._message

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def _serve(self) -> None:
        """The engine's thread: handles events until Signal.CLOSE, then frees the service."""

    def _tell(self, signal: Signal) -> None:
        with self._lock:
            if self._closed:
                return
            if self._thread is None:
                # A daemon, so that a forgotten engine cannot keep the interpreter alive; atexit closes it.
                self._thread = threading.Thread(target=self._run, name=type(self).__name__, daemon=True)
                atexit.register(self.close)
                self._thread.start()
        self._events.put(signal)

    def _join(self, thread: threading.Thread) -> None:
        thread.join()

    def _run(self) -> None:
        try:
            self._serve()
        except Exception as error:
            # The outermost loop: whatever went wrong here, nobody may wait for an answer for ever.
            log.exception("The engine's thread ended")
            failure = EngineError(f"The engine failed: {error!r}.", "Open the image again; the log has details.")
            self._jobs.close(failure)
            self._announce(EngineState.FAILED, str(failure))

    def _fail(self, error: RelayError) -> None:
        """The service cannot be made: say so and fail what waits. The next wish tries again."""
        self._failure = error
        self._announce(EngineState.FAILED, str(error))
        self._jobs.drain(error)

    def _announce(self, state: EngineState, message: str = "") -> None:
        with self._lock:
            if self._closed and state is not EngineState.CLOSED:
                return
            if (state, message) == (self._state, self._message):
                return
            self._state, self._message = state, message
            listeners = self._listeners
        for listener in listeners:
            try:
                listener(str(state), message)
            except Exception:  # a faulty listener must not end the engine
                log.exception("A state listener failed")

    def _current_arguments(self) -> dict[str, object]:
        with self._lock:
            return dict(self._arguments)

    def _fall_back_to_cpu(self, device: str | None) -> str:
        """After a death on `device` (None: before it was known) ask for the CPU; returns words for the user."""
        with self._lock:
            asked = self._arguments.get("device")
            if device == "cpu" or asked in (None, "cpu"):
                return ""
            self._arguments = {**self._arguments, "device": "cpu"}
        return " It goes on with the CPU."

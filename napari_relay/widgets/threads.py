"""Where threads are crossed: slow work goes to one executor thread, its result comes back on the GUI thread.

One thread for a window: jobs run in the order they were asked for, so nothing of a project is touched by two at
once, and an image is closed before the next one is opened.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from qtpy.QtCore import QObject, Qt, Signal

log = logging.getLogger(__name__)
T = TypeVar("T")


class Runner(Protocol):
    """What controllers need of threads; tests without Qt bring their own."""

    def submit(
        self,
        work: Callable[[], T],
        done: Callable[[T], None] | None = None,
        failed: Callable[[BaseException], None] | None = None,
        *,
        keep: bool = False,
    ) -> None:
        """Run `work` elsewhere, in order; `done` or `failed` is called on the GUI thread.

        `keep`: also when the runner is closed while it waits (an accepted object must be written).
        """

    def post(self, call: Callable[[], None]) -> None:
        """Call on the GUI thread soon; may be asked for from any thread."""

    def close(self, last: Callable[[], Any] | None = None) -> None:
        """Drop what waits and was not to be kept, deliver nothing more, run `last` at the end. Returns at once."""


class WindowThread:
    """The executor thread of a window. Made on the GUI thread; who makes it closes it."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="napari-relay")
        self._closed = False

    @classmethod
    def single(cls) -> Runner:
        """A runner on a thread of its own, which ends with it."""
        return _Lane(ThreadPoolExecutor(1, thread_name_prefix="napari-relay-open"), owned=True)

    def runner(self) -> Runner:
        """A runner on this thread; one for each image, so that closing one drops no job of another."""
        return _Lane(self._executor)

    def close(self, last: Callable[[], Any]) -> None:
        """Take no more jobs; the thread does those it has, then `last`, and ends. Returns at once; Python waits for
        the thread at exit. A second call does nothing."""
        if not self._closed:
            self._closed = True
            _submit_last(self._executor, last)
            self._executor.shutdown(wait=False)



class _Mailbox(QObject):
    """Carries calls to the thread it lives in."""

    arrived = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.open = True
        self.arrived.connect(self._deliver, Qt.ConnectionType.QueuedConnection)

    def _deliver(self, call: Callable[[], None]) -> None:
        if self.open:
            call()


class _Lane:
    """See `Runner`."""

    def __init__(self, executor: ThreadPoolExecutor, *, owned: bool = False) -> None:
        self._executor, self._owned = executor, owned
        self._mailbox = _Mailbox()
        self._droppable: set[Future[Any]] = set()

    def submit(
        self,
        work: Callable[[], T],
        done: Callable[[T], None] | None = None,
        failed: Callable[[BaseException], None] | None = None,
        *,
        keep: bool = False,
    ) -> None:
        if not self._mailbox.open:
            return

        def settled(future: Future[T]) -> None:
            self._droppable.discard(future)
            if future.cancelled():
                return
            error = future.exception()
            if error is None:
                if done is not None:
                    self.post(lambda: done(future.result()))
            elif failed is not None:
                self.post(lambda: failed(error))
            else:
                log.error("A background job failed.", exc_info=error)

        future = self._executor.submit(work)
        if not keep:
            self._droppable.add(future)
        future.add_done_callback(settled)

    def post(self, call: Callable[[], None]) -> None:
        try:
            self._mailbox.arrived.emit(call)
        except RuntimeError:  # The application is gone; there is nobody left to tell.
            log.debug("A result arrived after the window was gone.")

    def close(self, last: Callable[[], Any] | None = None) -> None:
        if not self._mailbox.open:
            return
        self._mailbox.open = False
        for future in list(self._droppable):
            future.cancel()
        if last is not None:
            _submit_last(self._executor, last)
        if self._owned:
            self._executor.shutdown(wait=False)


def _submit_last(executor: ThreadPoolExecutor, last: Callable[[], Any]) -> None:
    """Run `last` after all jobs; here and now where Python is ending and takes no more jobs."""
    try:
        executor.submit(last).add_done_callback(_report)
    except RuntimeError:
        last()


def _report(future: Future[Any]) -> None:
    error = None if future.cancelled() else future.exception()
    if error is not None:
        log.error("Closing failed.", exc_info=error)

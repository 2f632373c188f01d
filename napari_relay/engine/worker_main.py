"""The child's side of the worker engine: receives requests in a thread, runs them one by one in the main thread.

It ends when its standard input ends, that is when the parent closes the engine or dies, even in the middle of a
job: nothing it holds is worth saving.
"""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from queue import SimpleQueue
from typing import BinaryIO, NoReturn

from napari_relay.engine.service import (
    Failure,
    Stopped,
    device_of,
    failure_of,
    make_service,
    notes_of,
    run_method,
)
from napari_relay.engine.shm import BlockGuest, Place, Segments, unpack
from napari_relay.engine.wire import (
    Answer,
    Make,
    NeedRoom,
    NotMade,
    Ready,
    Refused,
    Room,
    Run,
    Stop,
    StoppedAt,
    Word,
)
from napari_relay.errors import EngineError, WorkerDiedError

PARENT_CHECK_S = 2.0


def main() -> None:
    """Entry point; the parent starts it with two pipes as standard input and output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the parent, which then closes us
    if hasattr(signal, "SIGTTOU"):  # a word on standard error must not stop us where the terminal is set to `tostop`
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    threading.Thread(target=_watch_parent, args=(os.getppid(),), daemon=True).start()
    requests, answers = _take_pipes()
    make: Make = pickle.load(requests)
    _Child(requests, answers).run(make)


class _Child:
    def __init__(self, requests: BinaryIO, answers: BinaryIO) -> None:
        self._requests, self._answers = requests, answers
        self._runs: SimpleQueue[Run] = SimpleQueue()
        self._rooms: SimpleQueue[Room] = SimpleQueue()
        self._stopped = 0  # tickets grow, and only the running one is ever stopped
        self._inbox, self._outbox = BlockGuest(), BlockGuest()

    def run(self, make: Make) -> None:
        threading.Thread(target=self._receive, daemon=True).start()
        try:
            service = make_service(make.factory, make.arguments)
        except Exception as error:  # the parent reports it
            self._say(NotMade(_portable(failure_of(error, "starting the computing process"))))
            return
        self._say(Ready(device_of(service), notes_of(service)))
        while True:
            self._handle(service, self._runs.get())

    def _receive(self) -> None:
        while True:
            try:
                word: Word = pickle.load(self._requests)
            except (EOFError, OSError, pickle.UnpicklingError):
                _leave()
            if isinstance(word, Run):
                self._runs.put(word)
            elif isinstance(word, Stop):
                self._stopped = max(self._stopped, word.ticket)
            elif isinstance(word, Room):
                self._rooms.put(word)

    def _handle(self, service: object, run: Run) -> None:
        ticket = run.ticket
        try:
            args = unpack(run.args, self._inbox.at(run.args.place))
            result = run_method(service, run.method, args, lambda: self._stopped >= ticket)
            answer = self._pack(ticket, result, run.back)
        except Stopped:
            self._say(StoppedAt(ticket))
        except Exception as error:  # crosses to the caller in the parent
            failure = _portable(failure_of(error, f"running {run.method}"))
            self._say(Refused(ticket, failure))
            if isinstance(failure.error, WorkerDiedError):
                _leave(1)
        else:
            self._say(answer)

    def _pack(self, ticket: int, result: object, back: Place) -> Answer:
        segments = Segments(result)
        if segments.small:
            return Answer(ticket, segments.inline())
        if back.size < segments.nbytes:
            self._say(NeedRoom(ticket, segments.nbytes))
            back = self._rooms.get().back
        block = self._outbox.at(back)
        return Answer(ticket, segments.inline() if block is None else segments.into(block))

    def _say(self, word: Word) -> None:
        self._answers.write(pickle.dumps(word, protocol=5))
        self._answers.flush()


def _portable(failure: Failure) -> Failure:
    """The failure itself, or its text where its error cannot travel."""
    try:
        pickle.loads(pickle.dumps(failure.error))
    except Exception:  # an error class may raise anything here
        return Failure(EngineError(failure.error.what, failure.error.fix), failure.trace)
    return failure


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Private copies of standard input and output; whatever else writes to the output goes to standard error."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, answers


def _watch_parent(parent: int) -> None:
    """The pipe does not end with the parent where a fork of it holds the other end; its process id tells."""
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_S)
    _leave()


def _leave(code: int = 0) -> NoReturn:
    os._exit(code)

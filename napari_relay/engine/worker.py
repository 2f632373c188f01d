"""The engine with a process of its own: the caller's process never loads what the service needs (torch)."""

from __future__ import annotations

import logging
import threading

from napari_relay.engine.base import Engine, EngineState, Signal
from napari_relay.engine.jobs import Job
from napari_relay.engine.process import WorkerProcess, describe_exit
from napari_relay.engine.service import failure_of
from napari_relay.engine.shm import Place, Segments, unpack
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

log = logging.getLogger(__name__)

MOST_DEATHS = 3
"""Deaths in a row, without an answer between them, after which only a new request starts the worker again."""
CLOSE_S = 5.0


class WorkerEngine(Engine):
    """Makes and runs the service in a worker process. See `Engine`.

    One thread owns the process and decides everything; a second one only reads the process's words. When the
    process dies, the job that ran there fails with WorkerDiedError, those that wait go on waiting, and a new
    process is started, with `device="cpu"` if the service has such an argument and ran (or may have run) elsewhere.
    A service that cannot be made reports its error and is tried again only at the next request that is no prefetch.
    """

    def __init__(self, factory: str, **arguments: object) -> None:
        super().__init__(factory, **arguments)
        self._process: WorkerProcess | None = None
        self._device: str | None = None  # of the process now or last; None until its service is made
        self._told_to_stop = 0
        self._deaths = 0

    @property
    def pid(self) -> int | None:
        """Process id of the worker, None while there is none."""
        process = self._process
        return None if process is None else process.pid

    def _serve(self) -> None:
        try:
            while (event := self._events.get()) is not Signal.CLOSE:
                if event is Signal.RESTART:
                    self._restart()
                elif isinstance(event, Signal):
                    self._wake(asked=event is Signal.START)
                else:
                    self._hear(*event)
        finally:
            if self._process is not None:
                self._process.end()
                self._process = None

    def _join(self, thread: threading.Thread) -> None:
        thread.join(CLOSE_S)
        process = self._process
        if thread.is_alive() and process is not None:
            process.kill()  # a worker that reads no more words can hold the thread up
            thread.join()

    def _wake(self, *, asked: bool) -> None:
        if self._process is not None:
            self._dispatch()
        elif self._state is EngineState.FAILED and not asked and not self._jobs.wanted:
            self._jobs.drain(self._failure)
        elif asked or self._jobs.waiting:
            self._deaths = 0
            self._announce(EngineState.STARTING)
            self._start_process()

    def _restart(self) -> None:
        process = self._process
        if process is None:  # it is made with the new arguments when it is needed
            return
        self._end_process(process)
        self._deaths = 0
        self._announce(EngineState.STARTING)
        self._jobs.lose_running(WorkerDiedError("The computing process is started again.", "Repeat the click."))
        self._start_process()

    def _start_process(self) -> None:
        self._device = None
        try:
            self._process = WorkerProcess(lambda process, word: self._events.put((process, word)))
        except OSError as error:
            self._fail(
                EngineError(f"The computing process cannot be started: {error}.", "Free memory, then click again.")
            )
            return
        self._process.say(Make(self._factory, self._current_arguments()))

    def _hear(self, process: WorkerProcess, word: Word | None) -> None:
        if process is not self._process:  # words of a process that was given up are late
            return
        if word is None:
            code = self._end_process(process)
            self._died(f"The computing process {describe_exit(code)}.")
            return
        if isinstance(word, Ready):
            self._device = word.device
            self._announce(EngineState.READY, word.notes)
        elif isinstance(word, NotMade):
            word.failure.report()
            self._end_process(process)
            self._fail(word.failure.error)
            return
        elif isinstance(word, NeedRoom):
            block = process.back.reserve(word.nbytes)
            process.say(Room(Place() if block is None else block.place))
        elif isinstance(word, Answer):
            self._take_answer(process, word)
        elif isinstance(word, StoppedAt):
            self._jobs.finish(word.ticket)
        elif isinstance(word, Refused):
            word.failure.report()
            if isinstance(word.failure.error, WorkerDiedError):  # the service gives its process up
                self._end_process(process)
                self._died(word.failure.error.what)
                return
            self._jobs.finish(word.ticket, error=word.failure.error)
        self._dispatch()

    def _take_answer(self, process: WorkerProcess, answer: Answer) -> None:
        self._deaths = 0
        try:
            # Copied out before the next job may overwrite the block.
            result = unpack(answer.result, process.back.at(answer.result.place))
        except Exception as error:  # a result whose class cannot be made here
            failure = failure_of(error, "reading the answer of the computing process")
            failure.report()
            self._jobs.finish(answer.ticket, error=failure.error)
        else:
            self._jobs.finish(answer.ticket, result)

    def _dispatch(self) -> None:
        process = self._process
        if process is None or self._device is None:
            return
        stopping = self._jobs.stopping
        if stopping is not None and stopping != self._told_to_stop:
            self._told_to_stop = stopping
            process.say(Stop(stopping))
        while (job := self._jobs.take()) is not None:
            if self._send(process, job):
                self._announce(EngineState.BUSY)
        if not self._jobs.busy and self._state is EngineState.BUSY:
            self._announce(EngineState.READY)

    def _send(self, process: WorkerProcess, job: Job) -> bool:
        try:
            segments = Segments(job.args)
        except Exception as error:  # pickling runs code of the arguments
            self._jobs.finish(job.ticket, error=failure_of(error, f"sending {job.method}").error)
            return False
        block = None if segments.small else process.there.reserve(segments.nbytes)
        parcel = segments.inline() if block is None else segments.into(block)
        process.say(Run(job.ticket, job.method, parcel, process.back.place))
        return True

    def _died(self, what: str) -> None:
        self._deaths += 1
        log.warning("%s (device %s, death %d in a row)", what, self._device, self._deaths)
        if self._deaths >= MOST_DEATHS:
            error = WorkerDiedError(
                f"{what} This happened {self._deaths} times in a row.",
                "Close other programs or choose another device, then click again.",
            )
            self._fail(error)
            self._jobs.lose_running(error)
            return
        words = self._fall_back_to_cpu(self._device)
        self._announce(EngineState.RESTARTING, f"{what} It is started again, your clicks are kept.{words}")
        self._jobs.lose_running(WorkerDiedError(what, "It is started again; repeat the click."))
        self._start_process()

    def _end_process(self, process: WorkerProcess) -> int:
        self._process = None
        return process.end()

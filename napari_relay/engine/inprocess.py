"""The engine without a process of its own: for the API, the command line and tests."""

from __future__ import annotations

from napari_relay.engine.base import Engine, EngineState, Signal
from napari_relay.engine.jobs import Job
from napari_relay.engine.service import Stopped, device_of, failure_of, make_service, notes_of, run_method
from napari_relay.errors import WorkerDiedError


class InProcessEngine(Engine):
    """Makes and runs the service in one thread of this process, always the same one (so that torch's threads and
    their settings stay what they are). See `Engine`.

    A service that raises WorkerDiedError says that it cannot go on (a lost GPU); it is made again.
    """

    _service: object | None = None

    def _serve(self) -> None:
        while (signal := self._events.get()) is not Signal.CLOSE:
            again = signal is Signal.RESTART and self._service is not None
            if again:
                self._service = None
            if self._service is None and not self._make(asked=again or signal is Signal.START):
                continue
            while (job := self._jobs.take()) is not None:
                self._run_job(job)
            if self._service is not None:
                self._announce(EngineState.READY)
        self._service = None

    def _make(self, *, asked: bool) -> bool:
        failed = self._state is EngineState.FAILED
        if failed and not asked and not self._jobs.wanted:
            self._jobs.drain(self._failure)
            return False
        if not asked and not self._jobs.waiting:
            return False
        self._announce(EngineState.STARTING)
        try:
            self._service = make_service(self._factory, self._current_arguments())
        except Exception as error:  # whatever the factory met is the answer to those who wait
            failure = failure_of(error, "starting")
            failure.report()
            self._fail(failure.error)
            return False
        self._announce(EngineState.READY, notes_of(self._service))
        return True

    def _run_job(self, job: Job) -> None:
        if self._service is None and not self._make(asked=True):
            self._jobs.finish(job.ticket, error=self._failure)
            return
        self._announce(EngineState.BUSY)
        try:
            result = run_method(self._service, job.method, job.args, lambda: self._jobs.must_stop(job.ticket))
        except Stopped:
            self._jobs.finish(job.ticket)
        except Exception as error:  # crosses to the caller through the future
            failure = failure_of(error, f"running {job.method}")
            failure.report()
            if isinstance(failure.error, WorkerDiedError):
                device, self._service = device_of(self._service), None
                words = self._fall_back_to_cpu(device)
                self._announce(EngineState.RESTARTING, f"{failure.error.what}{words}")
            self._jobs.finish(job.ticket, error=failure.error)
        else:
            self._jobs.finish(job.ticket, result)

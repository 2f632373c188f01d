"""The same tasks on the workers of a dask cluster: tiles as tasks, the weights sent to each worker once.

What all tasks share (the work, the weights, where the image lies) travels as a plugin of the workers: a worker that
starts later, or in place of one that was killed, gets it too. A task that was on a killed worker is done by another.
Workers only read the image and write disjoint files of the job; candidates come back to the one writer. This file needs
the package distributed; `client.py` says so where it is missing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distributed import KilledWorker, WorkerPlugin, as_completed, get_worker

from napari_relay.errors import EngineError, RelayError, UsageError
from napari_relay.fullimage.candidates import Candidate
from napari_relay.fullimage.direct import DirectSees
from napari_relay.fullimage.job import Does
from napari_relay.fullimage.sees import Sees
from napari_relay.fullimage.work import Task
from napari_relay.geometry import Level
from napari_relay.sources import Source, build_pyramid, needs_pyramid, open_image
from napari_relay.steps import finish

if TYPE_CHECKING:
    from napari_relay.predictor.portable import PortableModel

PLUGIN = "napari-relay"
AHEAD = 3
"""Tasks in flight for each thread of the cluster: none waits, and the scheduler holds few results."""
RETRIES = 3


@dataclass(frozen=True, eq=False, slots=True)
class ModelOnWorker:
    """Makes the model on a worker. Models of one `key` are the same: a worker makes it once, for all jobs."""

    model: PortableModel
    key: str

    def __call__(self) -> Sees:
        return DirectSees(self.model.load())


class Tools(WorkerPlugin):  # type: ignore[misc]
    """What a worker needs for the tasks of a job. Image and model are opened at the first task."""

    def __init__(
        self, work: Does, image: str, levels: tuple[Level, ...], fingerprint: str, make_sees: Callable[[], Sees]
    ) -> None:
        self._work, self._image, self._levels, self._fingerprint = work, image, levels, fingerprint
        self._make_sees = make_sees

    def setup(self, worker: Any) -> None:
        """Called by dask when the plugin comes to a worker."""
        self._lock = threading.Lock()
        self._source: Source | None = None
        self._sees: Sees | None = None
        # What one job has loaded the next one uses: kept with the worker, by the model's key.
        self._models: dict[str, Sees] = vars(worker).setdefault("_napari_relay_models", {})

    def teardown(self, worker: Any) -> None:
        """Called by dask when the worker ends."""
        if self._source is not None:
            self._source.close()

    def do(self, task: Task) -> list[Candidate]:
        """Do a task on this worker."""
        with self._lock:
            if self._sees is None or self._source is None:
                self._source, self._sees = self._open(), self._model()
        return self._work.do(task, self._source, self._sees)

    def _model(self) -> Sees:
        key = getattr(self._make_sees, "key", None)
        if key is None:
            return self._make_sees()
        if key not in self._models:
            self._models.clear()  # one model at a time: each takes a hundred megabytes
            self._models[key] = self._make_sees()
        return self._models[key]

    def _open(self) -> Source:
        source = open_image(self._image)
        if needs_pyramid(source):
            source = finish(build_pyramid(source))
        if source.fingerprint != self._fingerprint or source.levels != self._levels:
            raise UsageError(f"A worker sees another image at {self._image}.", "Give a path that is one for all.")
        return source


class DaskPool:
    """Does tasks on a cluster; see `Pool`. The client stays its owner's to close."""

    def __init__(self, client: Any, work: Does, source: Source, make_sees: Callable[[], Sees]) -> None:
        if source.path is None:
            raise UsageError(
                f"{source.where} is not a file that workers can open.", "Save it, or work in this process."
            )
        self._client = client
        tools = Tools(work, str(Path(source.path).absolute()), source.levels, source.fingerprint, make_sees)
        client.register_plugin(tools, name=PLUGIN)

    def run(self, tasks: Iterable[Task | None], /) -> Generator[tuple[Task, list[Candidate]], None, None]:
        """See `Pool`."""
        waiting = iter(tasks)
        running: dict[str, Task] = {}
        done = as_completed()
        room = AHEAD * max(1, sum(self._client.nthreads().values()))

        def fill() -> None:
            while len(running) < room and (task := next(waiting, None)) is not None:
                future = self._client.submit(_do, task, pure=False, retries=RETRIES)
                running[future.key] = task
                done.add(future)

        fill()
        try:
            for future in done:
                yield running.pop(future.key), _result(future)
                fill()
        finally:
            left = [future for future in done.futures if not future.done()]
            if left:
                self._client.cancel(left)


def _do(task: Task) -> list[Candidate]:
    """Runs on a worker."""
    tools: Tools = get_worker().plugins[PLUGIN]
    return tools.do(task)


def _result(future: Any) -> list[Candidate]:
    try:
        found: list[Candidate] = future.result()
    except RelayError:
        raise
    except KilledWorker as error:
        raise EngineError(
            f"The workers died again and again ({error}).", "Give them more memory; --resume goes on from here."
        ) from error
    except Exception as error:  # whatever went wrong there comes here as it was
        raise EngineError(
            f"A worker failed: {error!r}.", "Its log has the details; --resume goes on from here."
        ) from error
    return found

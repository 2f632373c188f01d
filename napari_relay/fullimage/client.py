"""A dask client for whole-image work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from napari_relay.errors import EngineError, MissingExtraError

HERE = {
    "distributed.nanny.pre-spawn-environ": {"OMP_NUM_THREADS": 1, "MKL_NUM_THREADS": 1, "OPENBLAS_NUM_THREADS": 1},
    "distributed.worker.profile.enabled": False,
}
"""Settings of dask for workers on this machine. Its own make the C library give memory back at once
(`MALLOC_TRIM_THRESHOLD_`), so that every map of every layer is fetched from the system anew, at a cost that shows. Its
sampling profiler is nobody's here."""


@contextmanager
def open_client(scheduler: str | None, workers: int | None) -> Iterator[Any]:
    """A dask client: of a scheduler by its address, or of so many single-threaded processes of this machine.

    Raises
    ------
    MissingExtraError, EngineError
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise MissingExtraError(
            "Working on several processes needs the package distributed.", "pip install napari-relay[distributed]"
        ) from error
    if scheduler is not None:
        try:
            client = Client(scheduler, timeout="20s")
        except (OSError, TimeoutError, ValueError) as error:
            raise EngineError(
                f"There is no dask scheduler at {scheduler}: {error}.", "Start one (dask scheduler), or use --workers."
            ) from error
        with client:
            yield client
        return
    import dask

    with (
        dask.config.set(HERE),
        LocalCluster(
            n_workers=workers or 1, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=0
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client

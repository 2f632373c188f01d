"""Peak memory of a process, and of a piece of work done in a process of its own."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from napari_relay.errors import WorkerDiedError


def peak_memory_mb() -> float | None:
    """Largest resident memory of this process so far, in MB (10^6 bytes); None where the system does not
    tell.
    """
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage: its value is inherited from the parent process across fork and exec.
        lines = status.read_text(encoding="utf-8").splitlines()
        line = next(line for line in lines if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e6
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def peak_memory_of(work: Callable[[], None]) -> float | None:
    """Peak memory of a fresh process that does `work` (a picklable callable), in MB.

    Raises
    ------
    WorkerDiedError
        The process ended without an answer; its own message is on stderr.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measured, args=(work, sender))
    process.start()
    sender.close()
    try:
        peak: float | None = receiver.recv()
        return peak
    except EOFError as error:
        raise WorkerDiedError("The process that measures memory ended early.", "See its message above.") from error
    finally:
        receiver.close()
        process.join()


def _measured(work: Callable[[], None], sender: Connection) -> None:
    work()
    sender.send(peak_memory_mb())
    sender.close()

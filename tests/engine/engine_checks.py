"""What the engine's tests look at: processes, shared memory, open files, logs of the services."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest


def children(pid: int | None = None) -> set[int]:
    """Process ids of the children, those that ended but were not reaped too."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid or os.getpid()}/task").glob("*/children"):
        try:
            found.update(map(int, task.read_text().split()))
        except (FileNotFoundError, ProcessLookupError):  # the thread has just ended
            continue
    return found


def shared_memory() -> set[str]:
    return set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()


def open_files() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


def wait_until(condition: Callable[[], bool], what: str = "condition", limit_s: float = 60) -> None:
    """The limit only keeps a broken program from hanging the suite."""
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"{what}: still not so after {limit_s} s")
        time.sleep(0.003)


def said(log: Path, word: str, times: int = 1) -> bool:
    return log.exists() and log.read_text().split().count(word) >= times


def alive(pid: int) -> bool:
    """Whether the process runs; one that ended and that nobody has reaped yet does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    try:
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False

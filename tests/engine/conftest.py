"""Every engine test leaves no thread, no process, no open file and no shared memory behind."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = str(Path(__file__).parent)
if HERE not in sys.path:  # the services are loaded by name, here and in the worker process
    sys.path.insert(0, HERE)

from engine_checks import children, open_files, shared_memory  # noqa: E402


@pytest.fixture(autouse=True)
def _no_leaks() -> Iterator[None]:
    threads, processes = set(threading.enumerate()), children()
    memory, files = shared_memory(), open_files()
    yield
    assert set(threading.enumerate()) - threads == set()
    assert children() - processes == set()
    assert shared_memory() - memory == set()
    assert open_files() <= files

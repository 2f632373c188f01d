"""The parent's handle of one worker process: pipes, reader thread, shared memory, and its end.

A plain subprocess rather than `multiprocessing`: spawning there imports the caller's main module again, which
for the window would load napari and Qt into the worker, and for a user's script run it twice.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import IO, cast

from napari_relay.engine.shm import BlockOwner
from napari_relay.engine.wire import Word

log = logging.getLogger(__name__)

LEAVE_S = 2.0
"""How long a worker may take to leave (an import can hold it up) before it is killed."""
PATIENT = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Environment of a process that computes: its threads sleep at the end of a parallel part instead of spinning. On a
machine that does other work too, a spinning thread keeps the core from the very thread that it waits for, and clicks
take several times as long (`benchmarks/busy_click.py`). Read when the OpenMP library is loaded; what the user has set
stays."""
BOOT = """\
import sys
sys.path[:] = sys.argv[1:]
del sys.argv[1:]
from napari_relay.engine.worker_main import main
main()
"""


class WorkerProcess:
    """A running worker. `heard(self, word)` is called in the reader thread for each word, with None at the end.

    Whoever makes it calls `end`, also after it died by itself.

    Raises
    ------
    OSError
        The process cannot be started.
    """

    def __init__(self, heard: Callable[[WorkerProcess, Word | None], None]) -> None:
        self._heard = heard
        self.there, self.back = BlockOwner(), BlockOwner()
        inherited = [fd for fd in (self.there.descriptor, self.back.descriptor) if fd is not None]
        try:
            self._popen = subprocess.Popen(
                [sys.executable, "-c", BOOT, *sys.path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if sys.stderr is not None else subprocess.DEVNULL,
                pass_fds=inherited,
                env={**PATIENT, **os.environ},
                # Ctrl+C in the terminal is for the parent. Not a session of its own: Linux would schedule it apart from
                # its parent, whatever `nice` the user gave that one.
                process_group=None if sys.platform == "win32" else 0,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError:
            self.there.close()
            self.back.close()
            raise
        self._stdin = cast("IO[bytes]", self._popen.stdin)
        self._stdout = cast("IO[bytes]", self._popen.stdout)
        self._reader = threading.Thread(target=self._read, name="WorkerReader", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._popen.pid

    def say(self, word: Word) -> None:
        """Send a word. To a process that is gone it is lost: the reader then reports the end."""
        try:
            self._stdin.write(pickle.dumps(word, protocol=5))
            self._stdin.flush()
        except (OSError, ValueError):
            log.debug("The worker %d takes no more words", self.pid)

    def kill(self) -> None:
        self._popen.kill()

    def end(self) -> int:
        """Make it leave if it still runs, free everything of it; returns the exit code. Idempotent."""
        try:
            self._stdin.close()
        except OSError:
            log.debug("The worker %d left with a word unread", self.pid)
        try:
            code = self._popen.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            code = self._popen.wait()
        if self._reader is not threading.current_thread():
            self._reader.join()
        self._stdout.close()
        self.there.close()
        self.back.close()
        return code

    def _read(self) -> None:
        try:
            while True:
                self._heard(self, pickle.load(self._stdout))
        except (EOFError, OSError, pickle.UnpicklingError):
            self._heard(self, None)


def describe_exit(code: int) -> str:
    """Words for an exit code: "was killed (SIGKILL), perhaps because memory ran out"."""
    if code >= 0:
        return f"ended unexpectedly (exit code {code})"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if name == "SIGKILL":
        return f"was killed ({name}), perhaps because memory ran out"
    return f"crashed ({name})"

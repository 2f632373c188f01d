"""The process of a job, seen from outside: start it, look at it, let it wait, end it. It outlives its starter."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from napari_relay.errors import RelayError, StorageError
from napari_relay.learn.job import JobFolder, LearnJob
from napari_relay.learn.progress import Follower, Progress
from napari_relay.learn.result import LearnResult, LearnStatus

PATIENT = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Threads that wait sleep, instead of taking the cores from the window (as in the engine's worker)."""
BOOT = """\
import sys
folder, *sys.path[:] = sys.argv[1:]
del sys.argv[1:]
from relay_training.__main__ import main
sys.exit(main(["finetune", folder]))
"""


class RunningJob:
    """A job's folder and the process that works on it, if any does. Holds nothing open."""

    def __init__(self, folder: JobFolder, launched: subprocess.Popen[bytes] | None = None) -> None:
        self.folder = folder
        self._launched, self._since = launched, time.monotonic()

    @property
    def status(self) -> LearnStatus:
        result = LearnResult.read(self.folder)
        if result is not None:
            return result.status
        if not self.alive:
            return LearnStatus.INTERRUPTED
        return LearnStatus.PAUSED if self.folder.wished("pause") else LearnStatus.RUNNING

    @property
    def alive(self) -> bool:
        """Whether a process works on it."""
        if self._launched is not None and self._launched.poll() is None:
            return True
        known = self.folder.read("process.json")
        if known is None:
            return False
        try:
            process = psutil.Process(known["pid"])
            same = abs(process.create_time() - known["started"]) < 1
            return bool(same and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.Error:
            return False

    def result(self) -> LearnResult | None:
        """None as long as it is not there."""
        return LearnResult.read(self.folder)

    def pause(self) -> None:
        """Let it wait after the step it is at."""
        self.folder.wish("pause")

    def go_on(self) -> None:
        """End a pause."""
        self.folder.wish("pause", on=False)

    def cancel(self) -> None:
        """Give it up; what is encoded stays for the next job."""
        self.folder.wish("cancel")
        if not self.alive and self.result() is None:
            self.folder.write("result.json", {"status": "cancelled", "reason": "Learning was cancelled."})

    def resume(self) -> RunningJob:
        """Start a process again where the last one was killed; does nothing where one works or the job is over."""
        return self if self.alive or self.result() is not None else launch(self.folder)


def start(job: LearnJob) -> RunningJob:
    """Make a job's folder and start its process.

    Raises
    ------
    StorageError
        The folder beside the project cannot be made.
    """
    return launch(JobFolder.make(job))


def launch(folder: JobFolder) -> RunningJob:
    """Start the process of a folder."""
    folder.wish("pause", on=False)
    try:
        with (folder.path / "log.txt").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", BOOT, str(folder.path), *sys.path],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**PATIENT, **os.environ},
                # A session of its own: closing the window's terminal, or Ctrl+C there, does not end it.
                start_new_session=sys.platform != "win32",
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0)
                | getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
    except OSError as error:
        raise StorageError(f"Learning cannot be started: {error}.", "See the folder's room and rights.") from error
    return RunningJob(folder, process)


def follow(running: RunningJob, every_s: float = 0.5) -> Iterator[Progress]:
    """Yield its progress until it is over, from its first line on.

    Raises
    ------
    RelayError
        The process failed, or ended without a result.
    """
    follower = Follower(running.folder.progress)
    while True:
        # Asked before the lines are read: what it said last is not missed.
        over = running.status not in (LearnStatus.RUNNING, LearnStatus.PAUSED)
        yield from follower.read()
        if over:
            break
        time.sleep(every_s)
    if running.status is LearnStatus.FAILED:
        result = running.result()
        raise RelayError(result.reason if result is not None else "Learning failed.", last_words(running.folder))
    if running.status is LearnStatus.INTERRUPTED:
        raise RelayError(
            f"Learning ended without a result. {last_words(running.folder)}".strip(), "Resume it, or start it anew."
        )


def last_words(folder: JobFolder) -> str:
    """Where its messages are, when there are any."""
    log: Path = folder.path / "log.txt"
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except FileNotFoundError:
        return ""
    return f"Its last words: {lines[-1]} (more in {log})" if lines else ""

"""Services for the engine's tests; loaded by name, in the worker process too."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from napari_relay.errors import CheckpointError, ClickError, WorkerDiedError


class OddError(ClickError):
    """A RelayError that cannot travel: its constructor wants something else than pickle gives."""

    def __init__(self, number: int) -> None:
        super().__init__(f"Odd {number + 1}.")


class Service:
    def __init__(self, device: str = "cpu", notes: tuple[str, ...] = ()) -> None:
        self.device = device
        self.notes = notes
        self.seen: list[object] = []

    def echo(self, *values: object) -> object:
        self.seen.append(values[0])
        return values[0] if len(values) == 1 else values

    def history(self) -> list[object]:
        return self.seen

    def keep_and_sum(self, array: np.ndarray) -> float:
        """Keeps the array, to see that the next request does not overwrite it."""
        self.seen.append(array)
        return float(self.seen[0].sum())  # type: ignore[attr-defined]

    def where(self) -> tuple[int, str]:
        return os.getpid(), self.device

    def environment(self, name: str) -> str | None:
        return os.environ.get(name)

    def thread(self) -> int:
        import threading

        return threading.get_ident()

    def zeros(self, nbytes: int) -> np.ndarray:
        return np.zeros(nbytes, np.uint8)

    def steps(self, number: int) -> Iterator[int]:
        yield from range(number)
        return number * 2

    def endless(self, log: Path) -> Iterator[str]:
        """Ends only when it is stopped at a yield."""
        write(log, "begun")
        try:
            while True:
                time.sleep(0.002)
                yield "step"
        finally:
            write(log, "stopped")

    def block(self, log: Path, until: Path) -> str:
        """No generator: cannot be stopped; ends when the file `until` is there."""
        write(log, "begun")
        while not until.exists():
            time.sleep(0.002)
        return "late"

    def die(self, log: Path | None = None, times: int = 1) -> str:
        """Kills its process, the first `times` times."""
        if log is not None:
            write(log, "died")
            if log.read_text().count("died") > times:
                return "alive"
        os.kill(os.getpid(), signal.SIGKILL)
        return "not reached"

    def give_up(self) -> None:
        raise WorkerDiedError("The GPU was lost.")

    def refuse(self) -> None:
        raise ClickError("No positive click.", "Click inside the object.")

    def refuse_oddly(self) -> None:
        raise OddError(1)

    def blunder(self) -> None:
        raise KeyError("a mistake of ours")

    def run_out(self) -> None:
        raise MemoryError

    def unpicklable(self) -> object:
        return lambda: None

    def chatter(self) -> str:
        print("text on standard output", flush=True)
        os.write(1, b"raw bytes\n")
        return "said"

    value = 3


def write(log: Path, word: str) -> None:
    with log.open("a") as file:
        file.write(word + "\n")


def make(device: str = "cpu", notes: tuple[str, ...] = ()) -> Service:
    return Service(device, notes)


def make_counted(log: Path, fail: bool = True, device: str = "cpu") -> Service:
    """Fails like a bad checkpoint; writes down each try."""
    write(log, "made")
    if fail:
        raise CheckpointError("weights.safetensors is truncated.", "Copy the file again.")
    return Service(device)


def make_and_die(log: Path, device: str = "auto") -> Service:
    """The process dies while it starts, unless on the CPU."""
    write(log, device)
    if device != "cpu":
        os.kill(os.getpid(), signal.SIGKILL)
    return Service(device)


def make_slowly(log: Path, until: Path) -> Service:
    write(log, "making")
    while not until.exists():
        time.sleep(0.002)
    return Service()

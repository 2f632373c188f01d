"""Feeds a library that pulls its input in one long call, so that the exporter can yield progress between pieces."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

_WAITING = 8


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Piece(Generic[T]):
    value: T


class _Stopped(Exception):
    """The feeder gave up; unwinds the puller."""


class Feed(Generic[T]):
    """Runs `pull(pieces)` in a thread; `put` gives it the next piece.

    A context manager: leaving it waits for the call to end and raises what it raised. Leaving it by an error, or by
    closing the generator it stands in, makes the puller stop at its next piece.
    """

    def __init__(self, pull: Callable[[Iterator[T]], None], name: str = "export") -> None:
        self._pull = pull
        self._pieces: queue.Queue[_Piece[T] | type[_Stopped] | None] = queue.Queue(_WAITING)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def put(self, piece: T) -> None:
        """Hand a piece over; waits while the puller is behind.

        Raises
        ------
        OSError
            Whatever the call raised.
        """
        self._put(_Piece(piece))
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: Any) -> None:
        self._put(None if kind is None else _Stopped)
        self._thread.join()
        if kind is None and self._error is not None:
            raise self._error

    def _put(self, piece: _Piece[T] | type[_Stopped] | None) -> None:
        while self._thread.is_alive():
            try:
                self._pieces.put(piece, timeout=0.2)
            except queue.Full:
                continue
            return

    def _run(self) -> None:
        try:
            self._pull(self._take())
        except _Stopped:
            pass
        except BaseException as error:  # raised again in the thread that feeds
            self._error = error

    def _take(self) -> Iterator[T]:
        while (piece := self._pieces.get()) is not None:
            if isinstance(piece, type):
                raise _Stopped
            yield piece.value

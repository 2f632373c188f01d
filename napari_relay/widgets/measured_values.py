"""Measurements of many objects in memory: four bytes a number. No Qt here."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float32]


class MeasuredValues:
    """The measurements of each object that was measured since it last changed; from any thread.

    Parameters
    ----------
    names : of the measurements.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._columns = {name: index for index, name in enumerate(names)}
        self._lock = threading.Lock()
        self._values: Numbers = np.zeros((0, len(names)), np.float32)
        self._known = np.zeros(0, bool)
        self._changed_at = np.zeros(0, np.int64)
        self._now = 0

    @property
    def now(self) -> int:
        """A moment, for `put`: take it before the objects are read that are measured."""
        return self._now

    def put(self, found: Mapping[int, Mapping[str, float]], read_at: int) -> None:
        """Keep what was measured, by id; not of those that changed since the moment at which they were read."""
        if not found:
            return
        with self._lock:
            self._grow(max(found))
            for number, values in found.items():
                if self._changed_at[number] <= read_at:
                    row = np.full(len(self._columns), np.nan, np.float32)
                    for name, value in values.items():
                        row[self._columns[name]] = value
                    self._values[number], self._known[number] = row, True

    def forget(self, ids: Iterable[int]) -> None:
        """These objects have changed."""
        wanted = np.fromiter(ids, np.int64)
        if wanted.size:
            with self._lock:
                self._now += 1
                self._grow(int(wanted.max()))
                self._known[wanted] = False
                self._changed_at[wanted] = self._now

    def unknown(self, ids: Ids) -> Ids:
        """Those of some objects that are not measured."""
        with self._lock:
            inside = ids < self._known.size
            return ids[~(inside & self._known[np.where(inside, ids, 0)])] if self._known.size else ids

    def column(self, name: str, ids: Ids) -> Numbers:
        """One measurement of each object, float32 [n]; NaN where it is not known."""
        with self._lock:
            found = np.full(ids.size, np.nan, np.float32)
            inside = np.flatnonzero(ids < self._known.size)
            inside = inside[self._known[ids[inside]]]
            found[inside] = self._values[ids[inside], self._columns[name]]
            return found

    def get(self, name: str, number: int) -> float | None:
        """One measurement of one object; None where it is not known."""
        with self._lock:
            if number >= self._known.size or not self._known[number]:
                return None
            value = float(self._values[number, self._columns[name]])
        return None if np.isnan(value) else value

    def _grow(self, number: int) -> None:
        """Make room for ids up to `number`; the lock is held."""
        if number < self._known.size:
            return
        more = max(1024, 2 * self._known.size, number + 1) - self._known.size
        self._values = np.concatenate([self._values, np.full((more, len(self._columns)), np.nan, np.float32)])
        self._known = np.concatenate([self._known, np.zeros(more, bool)])
        self._changed_at = np.concatenate([self._changed_at, np.zeros(more, np.int64)])

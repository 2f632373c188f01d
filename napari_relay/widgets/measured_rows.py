"""Measurements in the table of objects, in the background, while they are wanted: of the rows that are looked at, and
of all when the table is sorted or filtered by one. No Qt here."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from napari_relay.store import Change, ObjectFilter, Order, StoredObject
from napari_relay.widgets.measured_values import Ids, MeasuredValues
from napari_relay.widgets.object_columns import ByMeasure, Column

BATCH = 50
"""Objects measured between two values of progress: some tenths of a second."""
_SAME_PIXELS = ("note", "class-change", "class-create", "class-edit", "class-template")
"""Kinds of changes after which objects measure what they did."""


@dataclass(frozen=True, slots=True)
class MeasuredFilter(ObjectFilter):
    """Objects whose measurement of that name lies in [low, high], beside what an `ObjectFilter` asks for. Those that
    are not measured are left out."""

    measure: str = ""
    low: float = -math.inf
    high: float = math.inf


Question = tuple[ObjectFilter, Order | ByMeasure, bool]
"""Filter, order, descending."""


class MeasuredRows:
    """A project's `find` and `rows`, with measurements beside the rows while `wanted`.

    Parameters
    ----------
    project : a Project.
    source : its image.

    Attributes
    ----------
    missing : called, in a reading thread, with what was asked of `find` when it had to do without some measurements.
    """

    def __init__(self, project: Any, source: Any) -> None:
        self.wanted = False
        self.missing: Callable[[Question], None] = lambda asked: None
        self._project, self._source = project, source
        self._measure: Any = None
        self._values: MeasuredValues | None = None

    def find(self, wanted: ObjectFilter, order: Order | ByMeasure, *, descending: bool = False) -> Ids:
        """As the project's; by a measurement, too. Objects that are not measured yet come last."""
        plain = Order.ID if isinstance(order, ByMeasure) else order
        ids: Ids = self._project.find(wanted, plain, descending=descending)
        names = [order.name] if isinstance(order, ByMeasure) else []
        names += [wanted.measure] if isinstance(wanted, MeasuredFilter) else []
        if names and len(self._ready().unknown(ids)):
            self.missing((wanted, order, descending))
        if isinstance(wanted, MeasuredFilter):
            values = self._ready().column(wanted.measure, ids)
            ids = ids[(values >= wanted.low) & (values <= wanted.high)]
        if isinstance(order, ByMeasure):
            values = self._ready().column(order.name, ids)
            values = -values if descending else values
            ids = ids[np.argsort(values, kind="stable")]  # NaN last
        return ids

    def rows(self, ids: Sequence[int]) -> list[StoredObject]:
        """As the project's; measures them first. In a reading thread."""
        if not self.wanted:
            found: list[StoredObject] = self._project.rows(ids)
            return found
        return self._measured(ids)

    def measure_all(self, wanted: ObjectFilter) -> Generator[tuple[int, int], None, bool]:
        """Measure all objects that a filter (but for its measurement) lets through and that are not measured yet, by
        their place in the image; yields (done, total), returns True."""
        values = self._ready()
        todo = values.unknown(self._project.find(wanted, Order.POSITION))
        for start in range(0, len(todo), BATCH):
            self._measured(todo[start : start + BATCH].tolist())
            yield min(start + BATCH, len(todo)), len(todo)
        return True

    def project_changed(self, change: Change) -> None:
        """Something was committed."""
        if self._values is not None and change.kind not in _SAME_PIXELS:
            self._values.forget(change.ids)

    def names(self) -> list[str]:
        """The names of all measurements."""
        self._ready()
        names: list[str] = self._measure.names()
        return names

    def columns(self) -> tuple[Column, ...]:
        """A column for each measurement but the area, which the table has anyway."""
        names = [name for name in self.names() if not name.startswith("Area ")]
        return tuple(Column(name, ByMeasure(name), partial(self._text, name), number=True) for name in names)

    def _measured(self, ids: Sequence[int]) -> list[StoredObject]:
        values = self._ready()
        moment = values.now
        rows: list[StoredObject] = self._project.rows(ids)
        unknown = set(values.unknown(np.asarray(ids, np.int64)).tolist())
        values.put({stored.id: self._measure.of(stored) for stored in rows if stored.id in unknown}, moment)
        return rows

    def _text(self, name: str, stored: StoredObject) -> str:
        value = None if self._values is None else self._values.get(name, stored.id)
        return "" if value is None else f"{value:,.4g}"

    def _ready(self) -> MeasuredValues:
        if self._values is None:
            from napari_relay.formats.measuring import Measure, scale_of

            self._measure = Measure(scale_of(self._source, None), self._source)
            self._values = MeasuredValues(self._measure.names())
        return self._values

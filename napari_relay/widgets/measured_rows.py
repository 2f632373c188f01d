"""Measurements in the table of objects: of the rows that are looked at, in the background, while they are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from napari_relay.store import StoredObject
from napari_relay.widgets.object_columns import Column

MOST = 20_000
"""Objects whose measurements are kept."""


class MeasuredRows:
    """A project's `find` and `rows`, with measurements beside the rows while `wanted`.

    Parameters
    ----------
    project : a Project.
    source : its image.
    """

    def __init__(self, project: Any, source: Any) -> None:
        self.wanted = False
        self._project, self._source = project, source
        self._measure: Any = None
        self._values: dict[int, dict[str, float]] = {}

    def find(self, *args: Any, **settings: Any) -> Any:
        """As the project's."""
        return self._project.find(*args, **settings)

    def rows(self, ids: Sequence[int]) -> list[StoredObject]:
        """As the project's; measures them first. In a reading thread."""
        rows: list[StoredObject] = self._project.rows(ids)
        if self.wanted:
            measure = self._ready()
            if len(self._values) > MOST:
                self._values.clear()
            self._values.update({stored.id: measure.of(stored) for stored in rows})
        return rows

    def columns(self) -> tuple[Column, ...]:
        """A column for each measurement but the area, which the table has anyway."""
        names = [name for name in self._ready().names() if not name.startswith("Area ")]
        return tuple(Column(name, None, partial(self._text, name), number=True) for name in names)

    def _text(self, name: str, stored: StoredObject) -> str:
        value = self._values.get(stored.id, {}).get(name)
        return "" if value is None else f"{value:,.4g}"

    def _ready(self) -> Any:
        if self._measure is None:
            from napari_relay.formats.measuring import Measure, scale_of

            self._measure = Measure(scale_of(self._source, None), self._source)
        return self._measure

"""Shapes that are parts of one object, where a format says so by a number that they share."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from napari_relay.formats import runs as runs_
from napari_relay.formats.checking import Place
from napari_relay.formats.facts import Facts
from napari_relay.formats.frames import Frame
from napari_relay.formats.outlines import Polygon, fill
from napari_relay.formats.records import Found
from napari_relay.formats.runs import Runs


@dataclass(slots=True)
class Group:
    """Shapes of one object so far; `number` is None for an object of one shape."""

    place: Place
    frame: Frame
    facts: Facts
    number: int | None
    polygons: list[Polygon] = field(default_factory=list)
    runs: list[Runs] = field(default_factory=list)

    def takes(self, label: str, number: int | None) -> bool:
        """Whether a shape of that class and number belongs to the same object."""
        return number is not None and (self.facts.class_name, self.number) == (label, number)

    def add(self, part: Polygon | Runs) -> None:
        """Take a shape; outlines stay outlines until a mask joins them."""
        if isinstance(part, Polygon) and not self.runs:
            self.polygons.append(part)
            return
        self.runs += [self._filled(polygon) for polygon in self.polygons]
        self.polygons.clear()
        self.runs.append(self._filled(part) if isinstance(part, Polygon) else part)

    def found(self) -> Found:
        """The object of all shapes."""
        if not self.runs:
            return Found(self.place, self.facts, self.frame, tuple(self.polygons))
        return Found(self.place, self.facts, self.frame, runs_.merge(np.concatenate(self.runs)), counted=False)

    def _filled(self, polygon: Polygon) -> Runs:
        return fill([polygon], self.frame.box.relative_to(self.frame.box))

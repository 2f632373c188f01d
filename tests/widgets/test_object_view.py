"""One project as classes, as single objects, and as both."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_relay.geometry import Box
from napari_relay.store import NewObject
from napari_relay.widgets.view_choice import WORDS

pytestmark = pytest.mark.gui


def test_objects_are_told_apart_by_class_by_themselves_or_by_both(ready: Any) -> None:
    project = ready.workspace.project
    square = np.ones((40, 40), bool)
    places = [(10, 200), (10, 250), (100, 200), (100, 250)]
    project.import_objects([
        NewObject(Box(y, x, y + 40, x + 40), square, name)
        for (y, x), name in zip(places, ["cat", "cat", "dog", "dog"], strict=True)
    ])  # fmt: skip
    ready.dock.show_objects()
    ready.until(lambda: ready.dock.objects.book is not None)
    ready.until(lambda: not project.journal.positions())
    committed = ready.dock.desk.committed

    def level() -> Any:
        layer = committed.layer.layer
        return layer.data[0] if layer.multiscale else layer.data

    ready.until(lambda: committed.layer.layer is not None and bool(level()[20, 220]))

    def looks() -> list[tuple[int, ...]]:
        ready.settle()
        layer = committed.layer.layer
        return [tuple(layer.colormap.map(int(level()[y + 20, x + 20])).round(3)) for y, x in places]

    def choose(words: str) -> list[tuple[int, ...]]:
        before = committed.layer.layer.colormap
        choice.setCurrentText(words)
        choice.activated.emit(choice.currentIndex())
        ready.until(lambda: committed.layer.layer.colormap is not before)
        return looks()

    choice = ready.dock.objects.view_choice
    assert len(set(looks())) == 4
    background = ready.pixel(5, 230)

    classes = choose(WORDS["classes"])
    assert (classes[0], classes[2]) == (classes[1], classes[3])
    assert classes[0] != classes[2]
    assert np.abs(ready.pixel(30, 220) - ready.pixel(30, 270)).max() <= 8
    assert np.abs(ready.pixel(30, 220) - ready.pixel(120, 220)).max() > 20

    instances = choose(WORDS["instances"])
    assert len(set(instances)) == 4
    assert np.abs(ready.pixel(30, 220) - ready.pixel(30, 270)).max() > 20
    assert np.abs(ready.pixel(5, 230) - background).max() <= 8, "nothing beside the objects changes"
    both = choose(WORDS["both"])
    assert len(set(both)) == 4
    assert both[2] == classes[2], "the first shade is the colour of the class itself"

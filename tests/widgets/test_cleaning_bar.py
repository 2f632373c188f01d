"""The settings of cleaning below the table of objects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_relay.geometry import Box
from napari_relay.store import CleaningRules, NewObject

pytestmark = pytest.mark.gui


def test_holes_are_filled_by_a_setting_and_come_back_with_undo(ready: Any) -> None:
    project = ready.workspace.project
    ring = np.ones((20, 20), bool)
    ring[8:11, 8:11] = False
    stored = project.accept(Box(10, 200, 30, 220), ring)
    ready.dock.show_objects()
    ready.until(lambda: ready.dock.objects.book is not None)
    bar = ready.dock.objects.book.cleaning

    bar.holes.setValue(9)

    ready.until(lambda: project.object(stored.id).area == 400)
    assert project.cleaning == CleaningRules(holes_px=9)
    ready.settle()
    ready.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    ready.until(lambda: project.object(stored.id).area == 391 and bar.holes.value() == 0)
    bar.existing.setChecked(False)
    bar.islands.setValue(50)
    ready.until(lambda: project.cleaning == CleaningRules(islands_px=50))
    assert project.object(stored.id).area == 391


def test_cleaning_very_many_shows_how_far_it_is_and_stops(ready: Any) -> None:
    project = ready.workspace.project
    project.overlap = "allow"
    ring = np.ones((9, 9), bool)
    ring[4, 4] = False
    places = [(y, x) for y in range(0, 200, 10) for x in range(0, 300, 10)]
    ids = project.import_objects(NewObject(Box(y, x, y + 9, x + 9), ring) for y, x in places * 5).ids
    ready.dock.show_objects()
    ready.until(lambda: ready.dock.objects.book is not None)
    book = ready.dock.objects.book
    bar, told = book.cleaning, []
    book.cleaning_job.progress.connect(lambda done, total, left: told.append((done, total, left)))

    bar.holes.setValue(9)
    ready.until(lambda: not bar.progress.isHidden())
    assert "of 3,000 objects" in bar.progress.told.text()
    bar.progress.stop.click()

    ready.until(lambda: not book.cleaning_job.running and bar.holes.value() == 0)
    assert bar.progress.isHidden()
    assert project.cleaning == CleaningRules()
    assert {stored.area for stored in project.rows(ids)} == {80}
    done, total, left = told[-1]
    assert 0 < done < total == 3000
    assert left > 0
    bar.holes.setValue(9)
    ready.until(lambda: project.cleaning == CleaningRules(holes_px=9))
    assert {stored.area for stored in project.rows(ids)} == {81}

"""The settings of cleaning below the table of objects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_relay.geometry import Box
from napari_relay.store import CleaningRules, NewObject
from napari_relay.widgets.state import Phase

pytestmark = pytest.mark.gui


def test_holes_are_filled_by_a_setting_and_come_back_with_undo(window: Any) -> None:
    window.click(100, 100)
    window.wait(Phase.PROPOSAL)
    window.key(Qt.Key.Key_Escape)
    window.wait(Phase.READY)
    project = window.workspace.project
    ring = np.ones((20, 20), bool)
    ring[8:11, 8:11] = False
    stored = project.accept(Box(10, 200, 30, 220), ring)
    window.dock.show_objects()
    window.until(lambda: window.dock.objects.book is not None)
    bar = window.dock.objects.book.cleaning

    bar.holes.setValue(9)

    window.until(lambda: project.object(stored.id).area == 400)
    assert project.cleaning == CleaningRules(holes_px=9)
    window.settle()
    window.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    window.until(lambda: project.object(stored.id).area == 391 and bar.holes.value() == 0)
    bar.existing.setChecked(False)
    bar.islands.setValue(50)
    window.until(lambda: project.cleaning == CleaningRules(islands_px=50))
    assert project.object(stored.id).area == 391


def test_cleaning_very_many_shows_how_far_it_is_and_stops(window: Any) -> None:
    window.click(100, 100)
    window.wait(Phase.PROPOSAL)
    window.key(Qt.Key.Key_Escape)
    window.wait(Phase.READY)
    project = window.workspace.project
    project.overlap = "allow"
    ring = np.ones((9, 9), bool)
    ring[4, 4] = False
    places = [(y, x) for y in range(0, 200, 10) for x in range(0, 300, 10)]
    ids = project.import_objects(NewObject(Box(y, x, y + 9, x + 9), ring) for y, x in places * 5).ids
    window.dock.show_objects()
    window.until(lambda: window.dock.objects.book is not None)
    book = window.dock.objects.book
    bar, told = book.cleaning, []
    book.cleaning_job.progress.connect(lambda done, total, left: told.append((done, total, left)))

    bar.holes.setValue(9)
    window.until(lambda: not bar.progress.isHidden())
    assert "of 3,000 objects" in bar.progress.told.text()
    bar.progress.stop.click()

    window.until(lambda: not book.cleaning_job.running and bar.holes.value() == 0)
    assert bar.progress.isHidden()
    assert project.cleaning == CleaningRules()
    assert {stored.area for stored in project.rows(ids)} == {80}
    done, total, left = told[-1]
    assert 0 < done < total == 3000
    assert left > 0
    bar.holes.setValue(9)
    window.until(lambda: project.cleaning == CleaningRules(holes_px=9))
    assert {stored.area for stored in project.rows(ids)} == {81}

"""Measurements in the table: there when they are wanted, of the rows in view, in the units of the world."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_relay.geometry import Box
from napari_relay.widgets.state import Phase

pytestmark = pytest.mark.gui


def test_measurements_are_columns_of_the_table_while_they_are_wanted(window: Any) -> None:
    window.click(100, 100)
    window.wait(Phase.PROPOSAL)
    window.key(Qt.Key.Key_Escape)
    window.wait(Phase.READY)
    project = window.workspace.project
    project.accept(Box(230, 50, 250, 90), np.ones((20, 40), bool))  # inside the square of 240
    window.dock.show_objects()
    window.until(lambda: window.dock.objects.book is not None and window.dock.objects.book.model.rowCount() == 1)
    book = window.dock.objects.book
    plain = book.model.columnCount()

    book.measure.setChecked(True)

    titles = [column.title for column in book.model.columns]
    mean = book.model.index(0, titles.index("red: Mean"))
    window.until(lambda: book.model.data(mean) == "240")
    assert float(book.model.data(book.model.index(0, titles.index("Solidity")))) == 1
    project.paint(1, Box(230, 90, 250, 130), np.ones((20, 40), bool))  # half of it beside the square
    window.until(lambda: book.model.data(mean) not in ("", "240"))
    book.model.sort(titles.index("Solidity"))  # which cannot be sorted by
    book.measure.setChecked(False)
    assert book.model.columnCount() == plain

"""Measurements in the table: there when they are wanted, sorted and filtered by, in the units of the world."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from skimage.draw import disk

from napari_relay.geometry import Box
from napari_relay.store import NewObject
from napari_relay.widgets.measured_values import MeasuredValues
from napari_relay.widgets.object_columns import ByMeasure


def open_book(window: Any, count: int) -> Any:
    """The page of objects, once it shows so many."""
    window.dock.show_objects()
    window.until(lambda: window.dock.objects.book is not None)
    window.until(lambda: window.dock.objects.book.model.rowCount() == count)
    return window.dock.objects.book


def column_of(book: Any, title: str) -> int:
    return [column.title for column in book.model.columns].index(title)


@pytest.mark.gui
def test_measurements_are_columns_of_the_table_while_they_are_wanted(ready: Any) -> None:
    book = open_book(ready, 0)
    project = ready.workspace.project
    project.accept(Box(230, 50, 250, 90), np.ones((20, 40), bool))  # inside the square of 240
    ready.until(lambda: book.model.rowCount() == 1)
    plain = book.model.columnCount()

    book.measuring.shown.setChecked(True)

    mean = book.model.index(0, column_of(book, "red: Mean"))
    ready.until(lambda: book.model.data(mean) == "240")
    assert float(book.model.data(book.model.index(0, column_of(book, "Solidity")))) == 1
    project.paint(1, Box(230, 90, 250, 130), np.ones((20, 40), bool))  # half of it beside the square
    ready.until(lambda: book.model.data(mean) not in ("", "240"))
    book.measuring.shown.setChecked(False)
    assert book.model.columnCount() == plain


@pytest.mark.gui
def test_the_table_is_sorted_and_filtered_by_a_measurement_of_objects_that_were_never_looked_at(ready: Any) -> None:
    book = open_book(ready, 0)
    project = ready.workspace.project
    project.overlap = "allow"
    masks = [np.ones((30, 2 + k), bool) for k in range(28)]  # from thin to square
    round_ = np.zeros((30, 30), bool)
    round_[disk((14.5, 14.5), 15)] = True
    ids = project.import_objects([NewObject(Box(0, 0, *mask.shape), mask) for mask in [*masks, round_] * 20]).ids
    ready.until(lambda: book.model.rowCount() == 580)
    book.measuring.shown.setChecked(True)
    view, eccentricity = book.table.view, column_of(book, "Eccentricity")

    view.sortByColumn(eccentricity, Qt.SortOrder.DescendingOrder)

    thinnest = ids[0::29]
    ready.until(lambda: not book.measuring_job.running and sorted(book.model.ids[:20].tolist()) == list(thinnest))
    values = book._measured._values.column("Eccentricity", book.model.ids)
    assert (np.diff(values) <= 0).all()

    bar = book.measuring
    bar.name.setCurrentText("Circularity")
    bar.low.setText("0.85")
    bar.low.editingFinished.emit()
    ready.until(lambda: sorted(book.model.ids.tolist()) == sorted(ids[28::29]))  # the round ones
    project.paint(ids[28], Box(0, 30, 3, 90), np.ones((3, 60), bool))  # no longer round
    ready.until(lambda: ids[28] not in book.model.ids.tolist() and len(book.model.ids) == 19)
    bar.shown.setChecked(False)
    ready.until(lambda: book.model.ids.tolist() == list(ids))


@pytest.mark.gui
def test_measuring_all_objects_stops_and_goes_on(ready: Any) -> None:
    book = open_book(ready, 0)
    project = ready.workspace.project
    project.overlap = "allow"
    square = np.ones((30, 30), bool)
    ids = project.import_objects([NewObject(Box(k % 200, 0, k % 200 + 30, 30), square) for k in range(3000)]).ids
    ready.until(lambda: book.model.rowCount() == 3000)
    bar = book.measuring
    bar.shown.setChecked(True)

    book.model.sort(column_of(book, "red: Mean"))
    ready.until(lambda: not bar.progress.isHidden())
    assert "of 3,000 objects" in bar.progress.told.text()
    bar.progress.stop.click()

    ready.until(lambda: not book.measuring_job.running and bar.progress.isHidden())
    ready.settle()
    known = np.isfinite(book._measured._values.column("red: Mean", np.array(ids)))
    assert 0 < known.sum() < 3000
    assert not book.measuring_job.running, "it was stopped"
    book.model.sort(column_of(book, "red: Mean"), Qt.SortOrder.DescendingOrder)
    ready.until(lambda: book.measuring_job.running)


def test_what_changed_after_it_was_read_is_not_kept() -> None:
    values = MeasuredValues(["a", "b"])
    ids = np.array([3, 5_000, 4])
    moment = values.now
    values.forget([4])
    values.put({3: {"a": 1.5}, 4: {"a": 2}, 5_000: {"b": 7}}, moment)

    np.testing.assert_array_equal(values.column("a", ids), [1.5, np.nan, np.nan])
    np.testing.assert_array_equal(values.unknown(ids), [4])
    assert values.get("b", 5_000) == 7
    assert values.get("a", 5_000) is values.get("a", 9_999_999) is None
    values.put({4: {"a": 2}}, values.now)
    assert values.get("a", 4) == 2
    values.forget([3])
    np.testing.assert_array_equal(values.unknown(np.array([3, 4, 9_999_999])), [3, 9_999_999])


def test_a_project_without_measurements_is_not_measured(workspace: Any) -> None:
    from napari_relay.widgets.measured_rows import MeasuredRows

    rows = MeasuredRows(workspace.project, workspace.source)
    asked: list[Any] = []
    rows.missing = asked.append
    workspace.project.accept(Box(0, 0, 5, 5), np.ones((5, 5), bool))
    workspace.project.accept(Box(0, 10, 5, 15), np.ones((5, 5), bool))

    assert rows.find(None, "id").tolist() == [1, 2]
    assert (asked, rows._values) == ([], None)
    assert rows.find(None, ByMeasure("Solidity"), descending=True).tolist() == [2, 1]
    assert len(asked) == 1

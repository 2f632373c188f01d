"""The object table: a million rows by pages, sort, filter, select, and change many at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QItemSelectionModel, QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QLineEdit

from napari_relay.geometry import Box, Plane
from napari_relay.store import NewObject, ObjectFilter, Project, StoredObject
from napari_relay.widgets.measures import PixelArea, pixel_area
from napari_relay.widgets.object_model import KEPT, PAGE, ObjectModel
from napari_relay.widgets.object_table import ObjectTable

TITLES = ["Id", "Class", "State", "Area, px", "Area, µm²", "Place (y, x)", "Clicks", "Seconds", "Score", "Author",
          "Created", "Checkpoint", "Note"]  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """300 objects: object n is n pixels wide; every third is a cell, every tenth reviewed."""
    with Project.open(tmp_path / "a.relay", fingerprint="a", shape=(400, 400)) as made:
        made.import_objects(
            NewObject(
                Box(n, 0, n + 1, n), np.ones((1, n), bool), class_name="dust" if n % 3 else "cell",
                state="accepted" if n % 10 else "reviewed", score=n / 300, note=f"note {n}",
            )
            for n in range(1, 301)
        )  # fmt: skip
        yield made


class Table:
    """A table over a project, with the hands of a user; what waits is done by `settle`."""

    def __init__(self, project: Project, runner: Any, qtbot: Any) -> None:
        self.project, self.runner = project, runner
        self.errors: list[BaseException] = []
        self.model = ObjectModel(project, runner, PixelArea(0.25, "µm²"))
        self.model.failed.connect(self.errors.append)
        self.table = ObjectTable(self.model, self.write)
        qtbot.addWidget(self.table)
        self.picked: list[int] = []
        self.table.picked.connect(self.picked.append)
        project.changed.connect(self.changed)
        self.table.resize(900, 500)
        self.table.show()
        self.model.load()
        self.settle()

    def write(self, change: Any) -> None:
        self.runner.submit(lambda: change(self.project), None, self.errors.append)

    def changed(self, change: Any) -> None:
        self.runner.post(lambda: self.model.project_changed(change))

    def settle(self) -> None:
        for _ in range(3):
            self.runner.run()
            self.table.grab()  # paints the rows, which asks for those that are missing

    def cell(self, row: int, title: str) -> str:
        index = self.model.index(row, [c.title for c in self.model.columns].index(title))
        self.model.data(index)
        self.runner.run()
        return self.model.data(index)

    def select(self, *rows: int) -> None:
        flags = QItemSelectionModel.SelectionFlag
        selection = self.table.view.selectionModel()
        selection.clearSelection()
        for row in rows:
            selection.select(self.model.index(row, 0), flags.Select | flags.Rows)

    def click(self, row: int, modifiers: Any = Qt.KeyboardModifier.NoModifier) -> None:
        place = self.table.view.visualRect(self.model.index(row, 0)).center()
        QTest.mouseClick(self.table.view.viewport(), Qt.MouseButton.LeftButton, modifiers, place)


@pytest.fixture
def table(project: Project, runner: Any, qtbot: Any) -> Iterator[Table]:
    made = Table(project, runner, qtbot)
    yield made
    project.changed.disconnect(made.changed)
    assert made.errors == []


def test_every_column_shows_what_the_project_has(table):
    assert [table.model.headerData(n, Qt.Orientation.Horizontal) for n in range(len(TITLES))] == TITLES
    row = {title: table.cell(9, title) for title in TITLES}
    stored = table.project.object(10)
    assert row == {
        "Id": "10", "Class": "dust", "State": "reviewed", "Area, px": "10", "Area, µm²": "2.5",
        "Place (y, x)": "10, 0", "Clicks": "0", "Seconds": "", "Score": "0.03", "Author": stored.author,
        "Created": stored.created.replace("T", " ")[:19], "Checkpoint": "", "Note": "note 10",
    }  # fmt: skip


def test_area_in_units_of_the_world_is_there_only_where_the_image_tells_them():
    plain = SimpleNamespace(crs=None, affine=None, pixel_size_um=None)
    assert pixel_area(plain) is None
    assert pixel_area(SimpleNamespace(crs=None, affine=None, pixel_size_um=(0.5, 0.25))) == PixelArea(0.125, "µm²")
    lies = SimpleNamespace(crs="EPSG:32618", affine=(3.0, 0.0, 100.0, 0.0, -2.0, 50.0), pixel_size_um=None)
    assert pixel_area(lies) == PixelArea(6.0, "CRS units²")
    assert [c.title for c in ObjectModel(None, None).columns].count("Area, µm²") == 0


def test_only_pages_that_are_looked_at_are_read(table, monkeypatch):
    asked: list[list[int]] = []
    rows = table.project.rows
    monkeypatch.setattr(table.project, "rows", lambda ids: asked.append(list(ids)) or rows(ids))
    table.table.view.scrollToBottom()
    table.settle()
    assert table.model.object_at(299).id == 300
    assert {len(ids) for ids in asked} <= {PAGE, 300 - 2 * PAGE}
    assert sum(map(len, asked)) <= 2 * PAGE


class Million:
    """A project of a million objects, as far as the table asks."""

    def find(self, *_: Any, **__: Any) -> Any:
        return np.arange(1, 1_000_001)

    def rows(self, ids: Any) -> list[StoredObject]:
        assert len(ids) <= PAGE
        box, read = Box(0, 0, 1, 1), lambda stored, box: np.ones(box.shape, bool)
        return [
            StoredObject(i, "cell", box, Plane(), 1, "accepted", None, None, None, "Ada", "2026", 0, "", 1, read)
            for i in ids
        ]


@pytest.fixture
def million(runner: Any) -> ObjectModel:
    model = ObjectModel(Million(), runner)
    model.load()
    runner.run()
    assert model.rowCount() == 1_000_000
    return model


def test_a_million_rows_are_selected_without_a_look_at_each(million, runner, qtbot, monkeypatch):
    asked: list[int] = []
    monkeypatch.setattr(ObjectModel, "flags", lambda self, index: asked.append(1) or Qt.ItemFlag.ItemIsEnabled
                        | Qt.ItemFlag.ItemIsSelectable)  # fmt: skip
    table = ObjectTable(million, lambda change: None)
    qtbot.addWidget(table)
    table.show()
    table.view.selectAll()
    table.grab()
    runner.run()
    assert len(table.selected_ids()) == 1_000_000
    assert table.count.text() == "1,000,000 objects, 1,000,000 selected"
    assert len(asked) < 10_000


def test_a_million_rows_hold_ids_and_a_few_pages(million, runner):
    model = million
    for row in range(0, 1_000_000, 997):  # as a fast hand on the scroll bar
        model.object_at(row)
    runner.run()
    assert model.object_at(999_991).id == 999_992  # the last page asked for is there
    assert len(model._read) <= KEPT
    assert len(model._rows) <= KEPT * PAGE
    before = len(model._read)
    for row in range(0, 1_000_000, 997):
        model.object_at(row)
    assert len(runner.jobs) == 1  # one read under way, the others wait, most are given up
    runner.run()
    assert len(model._read) <= before + 5


def test_a_click_on_a_title_sorts_and_a_second_one_turns_it_round(table):
    head = table.table.view.horizontalHeader()
    place = head.sectionViewportPosition(3) + 5
    for first in (1, 300):
        QTest.mouseClick(head.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(place, 5))
        table.settle()
        assert table.cell(0, "Area, px") == str(first)


def test_filters_are_combined(table):
    table.table.classes.setCurrentIndex(table.table.classes.findData("cell"))
    table.settle()
    assert table.model.rowCount() == 100
    table.table.states.setCurrentIndex(table.table.states.findData("reviewed"))
    table.settle()
    assert table.model.ids.tolist() == list(range(30, 301, 30))
    table.table.text.setText("note 30")
    QTest.qWait(300)
    table.settle()
    assert table.model.ids.tolist() == [30, 300]
    assert table.table.count.text().startswith("2 objects")


@pytest.fixture(autouse=True)
def _classes(request: pytest.FixtureRequest) -> None:
    if "table" in request.fixturenames:
        request.getfixturevalue("table").table.show_classes(["object", "dust", "cell"])


def test_choosing_one_row_asks_to_look_at_it_and_several_do_not(table):
    table.click(4)
    assert table.picked == [5]
    table.click(6, Qt.KeyboardModifier.ShiftModifier)
    assert table.table.selected_ids().tolist() == [5, 6, 7]
    assert table.picked == [5]


def test_an_object_clicked_in_the_image_is_selected_and_brought_into_view(table):
    table.table.select(250)
    table.settle()
    assert table.table.selected_ids().tolist() == [250]
    assert table.table.view.rowAt(table.table.view.viewport().height() // 2) in range(240, 260)
    assert table.picked == []  # nobody flies anywhere for it


def test_an_object_selected_before_its_row_is_there_is_selected_when_it_comes(table):
    stored = table.project.accept(Box(350, 350, 360, 360), np.ones((10, 10), bool))
    table.table.select(stored.id)
    table.settle()
    assert table.table.selected_ids().tolist() == [stored.id]


def test_many_objects_are_changed_in_one_action(table):
    table.select(*range(50))
    before = len(table.project.history(None))
    table.table._set_state("locked")
    table.settle()
    assert len(table.project.history(None)) == before + 1
    assert table.project.totals()[("cell", "locked")] + table.project.totals()[("dust", "locked")] == 50
    assert table.cell(0, "State") == "locked"
    assert table.table.selected_ids().tolist() == list(range(1, 51))


def test_menus_and_keys_do_what_they_say(table):
    table.select(0, 1)
    menu = table.table.set_class.menu()
    next(action for action in menu.actions() if action.text() == "cell").trigger()
    table.settle()
    assert [table.cell(row, "Class") for row in (0, 1)] == ["cell", "cell"]
    next(action for action in table.table.set_state.menu().actions() if action.text() == "Reject").trigger()
    table.settle()
    assert table.cell(0, "State") == "rejected"
    QTest.keyClick(table.table.view, Qt.Key.Key_Delete)
    table.settle()
    assert table.model.ids[0] == 3
    assert table.model.rowCount() == 298
    assert table.table.selected_ids().tolist() == []
    table.project.undo()
    table.settle()
    assert table.model.rowCount() == 300


def test_selected_rows_stay_selected_when_others_go(table):
    table.select(10, 20, 21)
    table.picked.clear()
    table.project.delete([1, 2, 3])
    table.settle()
    assert table.table.selected_ids().tolist() == [11, 21, 22]
    assert table.picked == []


def test_a_selection_that_is_scattered_over_very_many_places_is_given_up(table, monkeypatch):
    monkeypatch.setattr("napari_relay.widgets.object_table.MOST_RUNS", 10)
    table.select(*range(0, 40, 2))
    table.table.view.sortByColumn(TITLES.index("Area, px"), Qt.SortOrder.DescendingOrder)
    table.settle()
    assert table.table.selected_ids().tolist() == []
    table.select(*range(0, 10, 2))
    table.table.view.sortByColumn(0, Qt.SortOrder.AscendingOrder)
    table.settle()
    assert table.table.selected_ids().tolist() == [292, 294, 296, 298, 300]


def test_a_note_is_written_in_its_cell(table):
    index = table.model.index(2, TITLES.index("Note"))
    table.table.view.setCurrentIndex(index)
    table.table.view.edit(index)
    editor = next(field for field in table.table.view.findChildren(QLineEdit))
    editor.setText("seen twice")
    QTest.keyClick(editor, Qt.Key.Key_Return)
    QApplication.processEvents()
    table.settle()
    assert table.project.object(3).note == "seen twice"
    assert table.cell(2, "Note") == "seen twice"


def test_accepts_are_appended_without_another_query(table, monkeypatch):
    def no_query(*_: Any, **__: Any) -> None:
        raise AssertionError("queried")

    monkeypatch.setattr(table.project, "find", no_query)
    stored = table.project.accept(Box(350, 350, 360, 360), np.ones((10, 10), bool))
    table.settle()
    assert table.model.ids[-1] == stored.id
    assert table.cell(300, "Area, px") == "100"


def test_an_object_that_another_one_swallows_leaves_the_table(table):
    box = Box(1, 0, 2, 50)
    table.project.accept(box, np.ones(box.shape, bool), overlap="replace")  # lies over all of object 1
    table.settle()
    assert table.model.ids.tolist() == [*range(2, 301), 301]
    table.project.erase(2, Box(0, 0, 400, 400), np.ones((400, 400), bool))
    table.settle()
    assert table.model.ids[0] == 3


def test_an_older_query_does_not_overtake_a_newer_one(table):
    table.model.set_filter(ObjectFilter(class_names=("cell",)))
    work, done, *_ = table.runner.jobs.pop(0)
    answer = work()
    table.model.set_filter(ObjectFilter(class_names=("dust",)))
    done(answer)
    table.settle()
    assert table.model.rowCount() == 200


def test_what_is_locked_says_so_and_stays(table):
    table.project.set_state(1, "locked")
    table.settle()
    table.select(0)
    table.table._delete()
    table.settle()
    (error,) = table.errors
    assert "locked" in str(error)
    table.errors.clear()
    assert table.model.rowCount() == 300

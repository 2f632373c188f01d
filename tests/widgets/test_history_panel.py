"""The history panel: what was done, where the project stands, and the way to any point."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_relay.geometry import Box
from napari_relay.store import Project
from napari_relay.widgets.history_panel import HistoryPanel


@pytest.fixture
def project(tmp_path: Path):
    with Project.open(tmp_path / "a.relay", fingerprint="a", shape=(100, 100)) as made:
        for n in range(4):
            made.accept(Box(10 * n, 0, 10 * n + 5, 5), np.ones((5, 5), bool), class_name="cell")
        yield made


@pytest.fixture
def panel(project: Project, runner: Any, qtbot: Any) -> HistoryPanel:
    made = HistoryPanel(project, runner, lambda change: runner.submit(lambda: change(project)))
    qtbot.addWidget(made)
    made.load()
    runner.run()
    return made


def rows(panel: HistoryPanel) -> list[tuple[int, bool]]:
    """(action, whether the project stands there)."""
    items = [panel.list.item(row) for row in range(panel.list.count())]
    return [(item.data(Qt.ItemDataRole.UserRole), item.font().bold()) for item in items]


def test_actions_are_listed_newest_first_down_to_the_beginning(panel):
    assert rows(panel) == [(4, True), (3, False), (2, False), (1, False), (0, False)]
    assert "accept cell" in panel.list.item(0).text()


def test_a_double_click_goes_there_and_back(panel, project, runner):
    for row, count in ((2, 2), (4, 0), (0, 4)):
        panel.list.setCurrentRow(row)
        panel.list.itemDoubleClicked.emit(panel.list.item(row))
        panel.load()
        runner.run()
        assert project.count() == count
        assert [bold for _, bold in rows(panel)].index(True) == row


def test_the_button_goes_to_the_chosen_point(panel, project, runner):
    assert not panel.go.isEnabled()
    panel.list.setCurrentRow(1)
    assert panel.go.isEnabled()
    panel.go.click()
    panel.load()
    runner.run()
    assert project.count() == 3
    assert panel.list.currentRow() == 1  # what was chosen stays chosen


def test_reading_is_asked_for_once(panel, runner):
    for _ in range(5):
        panel.load()
    assert len(runner.jobs) == 1
    runner.run()

"""Classes in the window: hierarchy, keys, editing, templates."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialogButtonBox, QFileDialog

from napari_relay.store import ClassSpec
from napari_relay.widgets.class_dialog import ClassDialog
from napari_relay.widgets.class_panel import ClassPanel
from napari_relay.widgets.ledger import choices
from napari_relay.widgets.state import ClassChoice


def info(number: int, name: str, key: str = "", parent: int | None = None) -> Any:
    return SimpleNamespace(id=number, name=name, color="#112233", key=key, parent_id=parent)


def test_classes_below_another_stand_right_after_it_with_their_own_keys():
    found = choices([info(1, "cell", "3"), info(2, "dust"), info(3, "nucleus", "1", 1), info(4, "lobe", "0", 3)])
    assert [(c.name, c.digit, c.depth, c.parent) for c in found] == [
        ("cell", 3, 0, ""), ("nucleus", 1, 1, "cell"), ("lobe", 0, 2, "nucleus"), ("dust", None, 0, ""),
    ]  # fmt: skip


def test_the_dialog_hands_over_what_was_filled_in(qtbot):
    parent = ClassPanel()
    qtbot.addWidget(parent)
    tissue, cell = ClassChoice("tissue", "#ff0000", 1), ClassChoice("cell", "#00ff00", 2, 1, "tissue")
    dialog = ClassDialog(cell, [tissue, cell], parent)
    assert dialog.parent_class.currentText() == "tissue"
    assert dialog.parent_class.findText("cell") < 0, "no class lies below itself"
    dialog.name.setText(" nucleus ")
    dialog.key.setCurrentText("none")
    dialog.parent_class.setCurrentIndex(0)
    with qtbot.waitSignal(dialog.edited) as caught:
        dialog.findChild(QDialogButtonBox).button(QDialogButtonBox.StandardButton.Ok).click()
    assert caught.args == [ClassChoice("nucleus", "#00ff00", None, 0, "")]


@pytest.mark.gui
def test_a_class_is_edited_in_the_window_and_its_key_chooses_it(ready: Any) -> None:
    panel, project = ready.dock.panels.classes, ready.workspace.project
    panel.picked.emit("cell")
    ready.until(lambda: panel.list.count() == 2)

    panel.edit()
    dialog = panel.findChild(ClassDialog)
    dialog.name.setText("nucleus")
    dialog.key.setCurrentText("7")
    dialog.parent_class.setCurrentText("object")
    dialog.findChild(QDialogButtonBox).button(QDialogButtonBox.StandardButton.Ok).click()

    ready.until(lambda: "nucleus" in panel.list.item(1).text())
    color = project.class_specs()[1].color
    assert project.class_specs()[1] == ClassSpec("nucleus", color, "7", "object")
    assert panel.list.item(1).text() == "7      nucleus"
    ready.key(Qt.Key.Key_1)
    ready.until(lambda: project.current_class == "object")
    ready.key(Qt.Key.Key_7)
    ready.until(lambda: project.current_class == "nucleus")
    dialog.deleteLater()


@pytest.mark.gui
def test_templates_are_saved_and_loaded_in_the_window(ready: Any, tmp_path: Path, monkeypatch: Any) -> None:
    panel, project = ready.dock.panels.classes, ready.workspace.project
    file = tmp_path / "mine"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(file), ""))
    actions = {action.text(): action for action in panel.more.menu().actions()}
    actions["Save classes as a template ..."].trigger()
    file = tmp_path / "mine.classes.json"
    ready.until(file.exists)
    template = json.loads(file.read_text())
    template["classes"].append({"name": "cell", "color": "#010203", "key": "5", "parent": "object"})
    file.write_text(json.dumps(template))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(file), ""))
    actions["Load a template ..."].trigger()

    ready.until(lambda: panel.list.count() == 2)
    assert project.class_specs()[1] == ClassSpec("cell", "#010203", "5", "object")
    ready.key(Qt.Key.Key_5)
    ready.until(lambda: project.current_class == "cell")
    ready.key(Qt.Key.Key_1)
    ready.until(lambda: panel.list.currentRow() == 0)
    panel.list.setCurrentRow(1)
    actions["Remove class"].trigger()
    ready.until(lambda: panel.list.count() == 1)
    project.undo()
    ready.until(lambda: panel.list.count() == 2)

"""The panels of the dock, each alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
from qtpy.QtGui import QDropEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QLabel, QPushButton

from napari_relay.model.checkpoint import list_bundled
from napari_relay.widgets.class_panel import ClassPanel, swatch
from napari_relay.widgets.drops import CheckpointDrops
from napari_relay.widgets.keys import KEY_TABLE
from napari_relay.widgets.keys_dialog import KeysDialog
from napari_relay.widgets.model_panel import ModelPanel
from napari_relay.widgets.opening import Choice, Question
from napari_relay.widgets.question_bar import ProgressBar, QuestionBar
from napari_relay.widgets.settings import WindowSettings
from napari_relay.widgets.settings_form import SettingsForm
from napari_relay.widgets.state import ClassChoice
from napari_relay.widgets.status_panel import StatusPanel
from napari_relay.widgets.turns import Turns
from napari_relay.widgets.wording import Words, duration

pytestmark = pytest.mark.gui


def test_status_shows_words_and_moves_only_while_busy(qtbot: Any) -> None:
    panel = StatusPanel()
    qtbot.addWidget(panel)

    panel.show_words(Words("Working <1>", "Wait.", busy=True))
    assert "Working &lt;1&gt;" in panel.headline.text()
    assert panel.bar.maximum() == 0
    panel.show_words(Words("Ready", "Click."))
    assert panel.bar.maximum() == 1
    assert panel.hint.text() == "Click."


def test_classes_are_picked_and_made(qtbot: Any) -> None:
    panel, picked = ClassPanel(), []
    qtbot.addWidget(panel)
    panel.picked.connect(picked.append)
    panel.show_classes([ClassChoice("cell", "#ff0000", 1), ClassChoice("gland", "#00ff00")], "gland")
    panel.show()

    assert [panel.list.item(row).text() for row in range(2)] == ["1  cell", "gland"]
    assert panel.list.currentRow() == 1
    place = panel.list.visualItemRect(panel.list.item(0)).center()
    QTest.mouseClick(panel.list.viewport(), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place)
    QTest.keyClicks(panel.field, "  nerve ")
    QTest.keyClick(panel.field, Qt.Key.Key_Return)
    QTest.keyClick(panel.field, Qt.Key.Key_Return)
    assert picked == ["cell", "nerve"]
    assert panel.field.text() == ""
    assert swatch("#ff0000").pixmap(14, 14).toImage().pixelColor(5, 5).name() == "#ff0000"


def test_a_question_has_a_button_for_each_answer(qtbot: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bar, answers = QuestionBar(), []
    qtbot.addWidget(bar)
    bar.ask(Question("Where?", (Choice("Here", answers.append), Choice("In a file ...", answers.append, file=True))))
    first, second = bar.findChildren(QPushButton)
    assert bar.isVisibleTo(None) or not bar.isHidden()

    first.click()
    monkeypatch.setattr(
        "napari_relay.widgets.question_bar.QFileDialog.getSaveFileName", lambda *a: (str(tmp_path / "kept"), "")
    )
    second.click()
    monkeypatch.setattr("napari_relay.widgets.question_bar.QFileDialog.getSaveFileName", lambda *a: ("", ""))
    second.click()

    assert answers == [None, tmp_path / "kept.relay"]
    bar.ask(None)
    assert bar.isHidden()


def test_a_long_job_is_shown_and_can_be_stopped(qtbot: Any) -> None:
    bar, stopped = ProgressBar(), []
    qtbot.addWidget(bar)
    bar.cancelled.connect(lambda: stopped.append(1))

    bar.show_progress(("Building levels, 40 s left", 0.25))
    assert bar.bar.value() == 250
    bar.button.click()
    assert stopped == [1]
    assert not bar.button.isEnabled()
    bar.show_progress(None)
    assert bar.isHidden()
    assert (duration(3), duration(200), duration(4900)) == ("3 s", "3 min", "1 h 22 min")


def test_bundled_checkpoints_are_listed_with_their_cards(qtbot: Any) -> None:
    panel = ModelPanel("step0")
    qtbot.addWidget(panel)
    cards = list_bundled()

    assert [panel.combo.itemData(row) for row in range(panel.combo.count())] == [card.name for card in cards]
    assert panel.current == "step0"
    assert "Apache-2.0" in panel.card.text()


def test_a_file_that_is_no_checkpoint_is_refused_with_a_reason(qtbot: Any, tmp_path: Path) -> None:
    panel, refused, chosen = ModelPanel("step0"), [], []
    qtbot.addWidget(panel)
    panel.refused.connect(refused.append)
    panel.chosen.connect(chosen.append)
    wrong = tmp_path / "notes.safetensors"
    wrong.write_bytes(b"not a checkpoint at all")

    assert not panel.use_file(wrong)
    assert not panel.use_file(tmp_path / "missing.safetensors")

    assert "notes.safetensors" in refused[0]
    assert "no checkpoint at" in refused[1]
    assert not chosen
    assert panel.current == "step0"


def test_a_carried_checkpoint_of_any_name_is_taken(qtbot: Any, tmp_path: Path) -> None:
    path = tmp_path / "any name.safetensors"
    write_checkpoint(path)
    panel, chosen = ModelPanel("step0"), []
    qtbot.addWidget(panel)
    panel.chosen.connect(chosen.append)

    assert panel.use_file(path)

    assert chosen == [str(path)]
    assert panel.combo.currentText() == "Carried here"
    assert "my licence" in panel.card.text()


def test_a_checkpoint_dropped_anywhere_is_told_from_an_image(qtbot: Any, tmp_path: Path) -> None:
    taken: list[str] = []
    drops = CheckpointDrops(taken.append)

    assert drops.eventFilter(None, drop_of("/data/small.safetensors"))
    assert not drops.eventFilter(None, drop_of("/data/slide.svs"))
    assert not drops.eventFilter(None, drop_of("/data/a.safetensors", "/data/b.safetensors"))

    assert taken == ["/data/small.safetensors"]


def drop_of(*paths: str) -> QDropEvent:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(path) for path in paths])
    drop_of.kept = data  # type: ignore[attr-defined]  # Qt does not own it
    button, keys = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    return QDropEvent(QPointF(5, 5), Qt.DropAction.CopyAction, data, button, keys)


def write_checkpoint(path: Path) -> None:
    """A safetensors file with a card and no tensor."""
    import json
    import struct

    card = {"name": "carried", "title": "Carried here", "licence": "my licence", "config": {}, "format": 1}
    header = json.dumps({"__metadata__": {"card": json.dumps(card)}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)


def test_settings_are_changed_in_the_form_and_kept(qtbot: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(WindowSettings, "path", classmethod(lambda cls: tmp_path / "window.json"))
    form, seen = SettingsForm(WindowSettings()), []
    qtbot.addWidget(form.native)
    form.changed.connect(lambda settings: seen.append(settings))

    form.threads.value = 3
    form.prefetch.value = False
    form.device.value = "cpu"

    assert seen[-1] == WindowSettings(threads=3, prefetch=False, device="cpu")
    assert seen[-1].needs_new_worker(WindowSettings())
    assert not WindowSettings(prefetch=False).needs_new_worker(WindowSettings())
    seen[-1].save()
    assert WindowSettings.load() == seen[-1]
    (tmp_path / "window.json").write_text("{ torn")
    assert WindowSettings.load() == WindowSettings()


def test_the_page_of_keys_names_them_all(qtbot: Any) -> None:
    parent = StatusPanel()
    qtbot.addWidget(parent)
    page = KeysDialog(parent)

    texts = " ".join(label.text() for label in page.findChildren(QLabel))
    assert all(keys in texts and meaning in texts for keys, meaning in KEY_TABLE)


def test_turns_run_one_call_each_in_order(qtbot: Any) -> None:
    turns, seen = Turns(), []
    turns.later(lambda: (seen.append(1), turns.later(lambda: seen.append(3))))
    turns.later(lambda: seen.append(2))
    assert not seen

    qtbot.waitUntil(lambda: len(seen) == 3)

    assert seen == [1, 2, 3]
    turns.later(lambda: seen.append(4))
    turns.stop()
    QTest.qWait(5)
    assert seen == [1, 2, 3]

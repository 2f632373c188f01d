"""Learning in the window: a user presses buttons, a real process answers, the project remembers."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from safetensors.numpy import save_file

from napari_relay.fullimage.request import class_head_path
from napari_relay.learn import JobFolder, LearnJob, LearnStatus, Material, Shelf, learn_folder, running, start
from napari_relay.learn.progress import Progress, append
from napari_relay.model.checkpoint import read_card
from napari_relay.widgets.column import Fold
from napari_relay.widgets.learn_panel import LearnPanel, summary, time_left
from napari_relay.widgets.learn_work import HANDLED, LearnShown, LearnWork
from napari_relay.widgets.model_panel import card_details
from napari_relay.widgets.state import Phase
from napari_relay.workspace.learning import promotable, promote_classes, roll_back_project

LEFT = Qt.MouseButton.LeftButton

STANDS_IN = """\
import json, pathlib, sys, time
folder, *sys.path[:] = sys.argv[1:]
del sys.argv[1:]
import psutil
from napari_relay.learn.job import JobFolder
from napari_relay.learn.progress import Progress, append
job = JobFolder(pathlib.Path(folder))
job.write("process.json", {"pid": psutil.Process().pid, "started": psutil.Process().create_time()})
for step in range(1, 4):
    here = Progress("learning", step, 3, share=step / 3, left_s=80.0 - step, step=step, iou=0.7 + step / 20)
    append(job.progress, here)
while not (job.path / "finish").exists() and not job.wished("cancel"):
    time.sleep(0.02)
if job.wished("cancel"):
    job.write("result.json", {"status": "cancelled", "reason": "Learning was cancelled."})
else:
    job.write("result.json", json.loads((job.path.parent / "outcome.json").read_text()))
"""
"""A process that keeps to the job's protocol without training: it waits for a file `finish`."""


def head(before: float, after: float) -> dict[str, Any]:
    return {"before": before, "after": after, "low": -1.0, "high": -0.1}


def write_outcome(project: Path, *, better: bool, classes: bool = False) -> None:
    """What the stand-in will have learned: a real difference checkpoint and a picture."""
    home = project.with_name(project.name.removesuffix(".relay") + ".learn")
    (home / "files").mkdir(parents=True, exist_ok=True)
    card = {**read_card("small").to_json(), "name": "learned", "shards": [], "base": {"name": "small", "hash": "x"}}
    file = home / "files" / "all.safetensors"
    save_file({"head.pixels.out.bias": np.ones(1, np.float16)}, file, metadata={"card": json.dumps(card)})
    picture = home / "files" / "01_a.png_object3_4_to_2.png"
    Image.new("RGB", (452, 224), (90, 20, 20)).save(picture)
    outcome = {
        "status": "done", "better": better, "reason": "4.00 -> 2.50 clicks to 85 % on 30 objects: surely fewer.",
        "checkpoints": {"better": "../files/all.safetensors" if better else None, "all": "../files/all.safetensors"},
        "objects": 50, "measured": "folds", "heads": {"click": {"noc85": head(4, 2.5), "miou1": head(0.5, 0.75)}},
        "gallery": ["../files/01_a.png_object3_4_to_2.png"],
    }  # fmt: skip
    if classes:
        (home / "files" / "class-0.safetensors").write_bytes(b"a class head")
        one = {"project": str(project), "better": True, "file": "../files/class-0.safetensors"}
        outcome["heads"]["class"] = {"better": True, "projects": [one], "accuracy": head(0.5, 0.96)}  # type: ignore[index]
    (home / "outcome.json").write_text(json.dumps(outcome))


@pytest.fixture(autouse=True)
def learning(fakes: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake workspace learns with the stand-in, and promotes for real."""
    monkeypatch.setattr(running, "BOOT", STANDS_IN)

    def learn(self: Any, *, minutes: float, deep: bool) -> Any:
        return start(LearnJob((Material(self.project.path, "an image"),), minutes=minutes, deep=deep))

    def promote(self: Any, result: Any, *, anyway: bool = False) -> Path:
        return Shelf(self.project).promote(promotable(result, anyway=anyway))

    monkeypatch.setattr(fakes.Workspace, "learn", learn, raising=False)
    monkeypatch.setattr(fakes.Workspace, "promote", promote, raising=False)
    monkeypatch.setattr(
        fakes.Workspace, "promote_classes", lambda self, result: promote_classes(result), raising=False
    )
    monkeypatch.setattr(
        fakes.Workspace, "roll_back", lambda self, fallback: roll_back_project(self.project), raising=False
    )


@pytest.fixture
def ready(window: Any) -> Any:
    """The window with its image open and the Learn panel unfolded."""
    window.click(100, 100)  # which answers where an array's objects are kept
    window.wait(Phase.PROPOSAL)
    window.key(Qt.Key.Key_Escape)
    window.until(lambda: window.dock._learning.work is not None)

    for fold in window.dock.findChildren(Fold):
        if fold.title == "Learn":
            QTest.mouseClick(fold.button, LEFT)
    window.until(panel(window).learn.isVisible)
    return window


def panel(window: Any) -> LearnPanel:
    return window.dock.panels.learn


def press(button: Any) -> None:
    assert button.isEnabled()
    assert not button.isHidden(), button.text()
    QTest.mouseClick(button, LEFT)


def job_folder(window: Any) -> JobFolder:
    found = JobFolder.latest(window.workspace.project.path)
    assert found is not None
    return found


def begin(window: Any, *, better: bool, classes: bool = False) -> JobFolder:
    write_outcome(window.workspace.project.path, better=better, classes=classes)
    press(panel(window).learn)
    window.until(lambda: len(panel(window).curve.points) == 3)
    return job_folder(window)


def end(window: Any, folder: JobFolder) -> None:
    (folder.path / "finish").touch()
    window.until(lambda: not panel(window).result.isHidden())


@pytest.mark.gui
def test_learn_shows_curve_and_time_and_promotes_what_is_better(ready: Any) -> None:
    window = ready
    folder = begin(window, better=True)
    shown = panel(window)
    assert not shown.learn.isEnabled()
    assert "About 77 s left" in shown.words.text()
    assert "Learning 3 of 3" in shown.words.text()

    end(window, folder)
    assert "In use now" in shown.result.text()
    assert "4.0" in shown.result.text()
    assert not shown.gallery.isHidden()
    assert "4 clicks before, 2 after" in shown.gallery.caption.text()
    assert shown.promote.isHidden()
    assert Shelf(window.workspace.project).current() is not None

    press(shown.back)
    window.until(lambda: shown.back.isHidden())
    assert Shelf(window.workspace.project).current() is None


@pytest.mark.gui
def test_the_model_panel_names_what_the_project_uses(ready: Any) -> None:
    window = ready
    model, bundled = window.dock.panels.model, window.dock.panels.model.current
    listed = model.combo.count()
    end(window, begin(window, better=True))
    learned = Shelf(window.workspace.project).current()

    assert model.current == str(learned)
    assert model.combo.currentText() == read_card(str(learned)).title
    assert model.card.toolTip() == card_details(read_card(str(learned)))
    model.combo.setCurrentIndex(0)
    model.combo.activated.emit(0)  # as a user picks another one, and comes back
    window.until(lambda: window.workspace.checkpoints == [model.combo.itemData(0)])
    place = model.combo.findData(str(learned))
    model.combo.setCurrentIndex(place)
    model.combo.activated.emit(place)
    window.until(lambda: window.workspace.checkpoints[-1] == str(learned))
    assert window.dock.settings.checkpoint == model.combo.itemData(0), "what one image learned is not kept for others"

    press(panel(window).back)
    window.until(lambda: panel(window).back.isHidden())
    assert model.current in (bundled, model.combo.itemData(0))
    assert model.combo.count() == listed
    assert model.combo.findData(str(learned)) < 0


@pytest.mark.gui
def test_what_is_not_better_is_promoted_only_when_the_user_says_so(ready: Any) -> None:
    window = ready
    folder = begin(window, better=False)
    end(window, folder)
    shown = panel(window)
    assert "Not promoted" in shown.result.text()
    assert Shelf(window.workspace.project).current() is None

    press(shown.promote)
    window.until(lambda: "In use now" in shown.result.text())
    assert Shelf(window.workspace.project).current() is not None
    assert window.workspace.project.history(1, everything=True)[0].kind == "learn"


@pytest.mark.gui
def test_better_classes_are_used_though_the_clicks_got_no_better(ready: Any) -> None:
    window = ready
    project = window.workspace.project.path
    class_head_path(project).write_bytes(b"the one before")
    end(window, begin(window, better=False, classes=True))
    shown = panel(window)

    assert "Classes right" in shown.result.text()
    assert "0.50" in shown.result.text()
    assert "0.96" in shown.result.text()
    assert "Not promoted. Classes: in use now." in shown.result.text()
    assert class_head_path(project).read_bytes() == b"a class head"
    kept = sorted(path.read_bytes() for path in (learn_folder(project) / "class-heads").glob("*.safetensors"))
    assert kept == [b"a class head", b"the one before"]
    assert Shelf(window.workspace.project).current() is None

    press(shown.back)
    window.until(lambda: class_head_path(project).read_bytes() == b"the one before")
    window.until(lambda: shown.back.isHidden())
    assert "Classes: not promoted." in shown.result.text()


@pytest.mark.gui
@pytest.mark.parametrize("longer", [False, True])
def test_training_longer_adapts_the_encoder_and_takes_its_time(ready: Any, longer: bool) -> None:
    window = ready
    press_check = panel(window).longer
    assert press_check.isVisible()
    press_check.setChecked(longer)

    folder = begin(window, better=True)

    job = folder.job()
    assert (job.deep, job.minutes) == ((True, 20.0) if longer else (False, 5.0))
    assert press_check.isHidden()
    end(window, folder)
    assert press_check.isVisible()


@pytest.mark.gui
def test_pause_and_cancel(ready: Any) -> None:
    window = ready
    folder = begin(window, better=True)
    shown = panel(window)

    press(shown.pause)
    window.until(lambda: shown.pause.text() == "Go on")
    assert folder.wished("pause")
    press(shown.pause)
    window.until(lambda: shown.pause.text() == "Pause")
    assert not folder.wished("pause")

    press(shown.cancel)
    window.until(lambda: shown.learn.isEnabled())
    assert running.RunningJob(folder).status is LearnStatus.CANCELLED
    assert shown.result.isHidden()
    assert Shelf(window.workspace.project).current() is None


def test_a_job_that_ended_while_no_window_was_open_is_taken_up_once(workspace: Any, runner: Any) -> None:
    write_outcome(workspace.project.path, better=True)
    folder = JobFolder.make(LearnJob((Material(workspace.project.path, "an image"),)))
    append(folder.progress, Progress("learning", 1, 3, step=1, iou=0.5))
    folder.write("result.json", json.loads((folder.path.parent / "outcome.json").read_text()))

    first = LearnWork(workspace, runner)
    runner.run()
    assert first.shown.promoted
    kept = Shelf(workspace.project).current()
    assert kept is not None
    assert folder.read(HANDLED) == {"promoted": True}

    Shelf(workspace.project).roll_back()
    again = LearnWork(workspace, runner)
    runner.run()
    assert again.shown.result is not None
    assert Shelf(workspace.project).current() is None, "it was taken up before; the user went back since"


def test_an_interrupted_job_is_offered_to_go_on(workspace: Any, runner: Any, qtbot: Any) -> None:
    folder = JobFolder.make(LearnJob((Material(workspace.project.path, "an image"),)))
    append(folder.progress, Progress("encoding", 3, 10))
    work = LearnWork(workspace, runner)
    runner.run()
    assert work.shown.status == "interrupted"

    shown = LearnPanel()
    qtbot.addWidget(shown)
    shown.show_state(work.shown)
    assert shown.learn.text() == "Go on learning"
    assert "interrupted" in shown.message.text()


def test_a_failure_is_told_in_its_own_words(workspace: Any, runner: Any) -> None:
    folder = JobFolder.make(LearnJob((Material(workspace.project.path, "an image"),)))
    folder.write("result.json", {"status": "failed", "reason": "There are 3 accepted objects to learn from."})
    work = LearnWork(workspace, runner)
    runner.run()
    assert (work.shown.status, work.shown.message) == ("failed", "There are 3 accepted objects to learn from.")


def test_words() -> None:
    assert [time_left(v) for v in (None, 0.2, 89, 240)] == ["", "About 1 s left", "About 89 s left", "About 4 min left"]
    assert LearnShown(status="paused").running
    assert not LearnShown(status="done").running
    assert callable(summary)

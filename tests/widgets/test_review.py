"""Proposals are looked at in a grid: one key each, several at once, and the image shows what is looked at."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_relay.fullimage import Place, Proposed, Step
from napari_relay.fullimage.candidates import Candidate
from napari_relay.fullimage.ranking import save_search
from napari_relay.fullimage.similar import Examples
from napari_relay.geometry import Box
from napari_relay.store import NewObject
from napari_relay.widgets.object_pictures import SIDE_PX, picture_of, view_of
from napari_relay.widgets.palette import PROPOSAL
from napari_relay.widgets.propose_bar import SHOWN, box_on_screen
from napari_relay.widgets.review_queue import PAGE
from napari_relay.widgets.state import Phase

pytestmark = pytest.mark.gui

BOXES = [
    Box(20 + 40 * row, 20 + 40 * column, 44 + 40 * row, 48 + 40 * column) for row in range(6) for column in range(8)
]


def new_object(box: Box, score: float | None = None) -> NewObject:
    mask = np.ones(box.shape, bool)
    mask[0, 0] = False
    return NewObject(box, mask, score=score)


@pytest.fixture
def review(ready: Any) -> Any:
    """The panel over eight proposals, the doubtful ones first."""
    window = ready
    scores = [0.9, 0.2, 0.5, 0.8, 0.3, 0.7, 0.6, 0.4]
    window.workspace.project.propose(new_object(box, score) for box, score in zip(BOXES, scores, strict=False))
    window.dock.show_objects()
    panel = window.dock.sides.objects
    window.until(lambda: panel.book is not None)
    panel.book.tabs.setCurrentIndex(1)
    window.until(lambda: panel.book.review.grid.count() == 8)
    panel.book.review.grid.setFocus()
    return panel.book.review


def shown(review: Any) -> list[int]:
    return [int(review.grid.item(row).text()) for row in range(review.grid.count())]


def choose(review: Any, *rows: int) -> None:
    review.grid.clearSelection()
    for row in rows:
        review.grid.item(row).setSelected(True)


def press(review: Any, key: Qt.Key) -> None:
    QTest.keyClick(review.grid, key)


def state_of(window: Any, object_id: int) -> str:
    state: str = window.workspace.project.object(object_id).state
    return state


def test_the_most_doubtful_come_first_and_each_has_its_picture(window, review):
    assert shown(review) == [2, 5, 8, 3, 7, 6, 4, 1]
    window.until(lambda: all(review.queue.picture(i) is not None for i in range(1, 9)))
    picture = review.grid.item(0).icon().pixmap(SIDE_PX, SIDE_PX).toImage()
    pixels = [picture.pixelColor(x, y).getRgb()[:3] for x in range(SIDE_PX) for y in range(SIDE_PX)]
    cyan = 255 * np.array(PROPOSAL[:3])
    assert (np.abs(np.array(pixels) - cyan).max(axis=1) < 10).sum() > SIDE_PX, "the outline"
    assert "8 proposals" in review.count.text()


def test_one_key_each_accepts_rejects_and_skips_and_the_next_is_chosen(window, review):
    choose(review, 0)
    press(review, Qt.Key.Key_A)
    window.until(lambda: state_of(window, 2) == "accepted")
    assert review.selected_ids() == [5]
    press(review, Qt.Key.Key_R)
    window.until(lambda: state_of(window, 5) == "rejected")
    assert review.selected_ids() == [8]
    press(review, Qt.Key.Key_S)
    window.until(lambda: shown(review) == [3, 7, 6, 4, 1, 8])
    assert state_of(window, 8) == "proposed"
    window.until(lambda: review.stop_sign.text() == "Of the last 2, 0 were corrected and 1 rejected.")

    window.workspace.project.undo()
    window.until(lambda: 5 in shown(review))
    window.until(lambda: "last 1," in review.stop_sign.text())


def test_several_are_decided_as_one_step(window, review):
    choose(review, 1, 3, 4)
    press(review, Qt.Key.Key_A)
    window.until(lambda: [state_of(window, i) for i in (5, 3, 7)] == ["accepted"] * 3)
    assert window.workspace.project.history(1)[0].summary == "accept proposed 3 objects"
    window.until(lambda: shown(review) == [2, 8, 6, 4, 1])


def test_one_that_is_looked_at_is_flown_to_and_a_corrected_one_is_accepted(window, review):
    choose(review, 7)
    centre = BOXES[0].centre
    window.until(lambda: window.viewer.scene.camera.center[-2:] == pytest.approx(centre, abs=2))
    press(review, Qt.Key.Key_C)
    window.until(lambda: window.dock.desk.controller.scene.proposal is not None)
    window.click(30, 30)
    window.wait(Phase.PROPOSAL)
    window.key(Qt.Key.Key_Return)
    window.until(lambda: state_of(window, 1) == "accepted")

    assert window.workspace.project.history(1)[0].kind == "correct"
    assert window.workspace.project.answers().corrected == 1
    window.until(lambda: 1 not in shown(review))


def test_the_mask_of_the_one_looked_at_is_shown_until_something_else_is(window, review):
    desk = window.dock.desk
    y, x = BOXES[0].centre
    before = window.pixel(y, x)
    choose(review, 7)
    window.until(lambda: desk.scene.canvas.array.any())
    assert np.abs(window.pixel(y, x) - before).max() > 20

    press(review, Qt.Key.Key_R)
    window.until(lambda: state_of(window, 1) == "rejected" and review.looked_at == [4])
    window.until(lambda: desk._looked_at is not None and desk._looked_at.object_id == 4)
    choose(review, 0, 1)
    window.until(lambda: not desk.scene.canvas.array.any())
    choose(review, 0)
    window.until(lambda: desk.scene.canvas.array.any())
    window.dock.sides.objects.book.tabs.setCurrentIndex(0)
    window.until(lambda: not desk.scene.canvas.array.any())


def test_pages_turn_by_key(window, review):
    project = window.workspace.project
    project.propose(new_object(box, 0.5) for box in BOXES)
    window.until(lambda: review.grid.count() == PAGE and "page 1 of 2" in review.count.text())
    press(review, Qt.Key.Key_PageDown)
    window.until(lambda: "page 2 of 2" in review.count.text())
    assert review.grid.count() == 8
    assert not review.forth.isEnabled()
    press(review, Qt.Key.Key_PageUp)
    window.until(lambda: review.grid.count() == PAGE)


def test_the_threshold_says_how_many_are_right_and_accepts_them_at_once(window, review):
    project = window.workspace.project
    ids = list(range(1, 9))
    vectors = np.eye(8, dtype=np.float32)
    scores = np.linspace(0.2, 0.9, 8)
    found = [
        Candidate(Place(0, 0, 0), 0, BOXES[i], np.ones(BOXES[i].shape, bool), float(scores[i]), vector=vectors[i])
        for i in range(8)
    ]
    save_search(project.path, ids, found, Examples(vectors[:1], vectors[:0], 0.1, 24.0, 0))
    review.queue.load()
    window.until(lambda: review.queue.ranks)
    assert "look at some" in review.estimate.text()
    before = len(review.queue.above(review.level))

    choose(review, shown(review).index(8))
    press(review, Qt.Key.Key_R)
    window.until(lambda: "right (" in review.estimate.text())
    review.threshold.setValue(1)
    above = review.queue.above(0.01)
    assert len(above) >= before
    assert f"{len(above)} proposal" in review.estimate.text()
    review.accept_above.click()
    window.until(lambda: all(state_of(window, i) == "accepted" for i in above))


class SlowSearch:
    """Stands in for a search: two tasks, between which the test has its time."""

    def __init__(self, workspace: Any) -> None:
        self.requests: list[Any] = []
        self.go = threading.Event()
        self._project = workspace.project

    def __call__(self, request: Any) -> Generator[Step, None, Proposed]:
        self.requests.append(request)
        yield Step(1, 2, 1)
        self.go.wait(20)
        yield Step(2, 2, 3)
        done = self._project.propose([new_object(BOXES[40], 0.5)])
        return Proposed(done.ids, 2)


@pytest.fixture
def search(window: Any, review: Any) -> SlowSearch:
    window.workspace.propose = SlowSearch(window.workspace)
    return window.workspace.propose


def find_bar(window: Any) -> Any:
    return window.dock.sides.objects.book.find


def test_find_similar_asks_for_the_chosen_objects_and_shows_what_was_found(window, review, search):
    bar, table = find_bar(window), window.dock.sides.objects.book.table
    bar.similar.click()
    assert not bar.stop.isVisible(), "nothing is chosen"
    review.queue.accept([2])
    window.until(lambda: state_of(window, 2) == "accepted")
    table.select(2)
    window.until(lambda: table.selected_ids().tolist() == [2])

    bar.similar.click()
    window.until(lambda: bar.bar.maximum() == 2 and bar.bar.value() == 1)
    assert "1 candidate" in bar.told.text()
    assert not bar.similar.isEnabled()
    window.click(100, 100)
    window.wait(Phase.PROPOSAL)
    search.go.set()
    window.until(lambda: bar.told.text() == "1 object proposed.")

    (request,) = search.requests
    assert (request.mode, request.like, request.region) == ("similar", (2,), None)
    window.until(lambda: len(shown(review)) == 8)


def test_a_search_in_what_is_on_screen_is_stopped_and_goes_on(window, review, search):
    bar = find_bar(window)
    window.viewer.scene.camera.center, window.viewer.scene.camera.zoom = (150, 200), 8
    window.settle()
    bar.where.setCurrentText(SHOWN)
    bar.every.click()
    window.until(lambda: bar.bar.value() == 1)
    bar.stop.click()
    search.go.set()
    window.until(lambda: bar.told.text() == "Stopped.")
    assert bar.every.isEnabled()
    bar.every.click()
    window.until(lambda: bar.told.text() == "1 object proposed.")

    first, second = search.requests
    assert first.mode == "instances"
    assert first == second, "what was done before is kept: the same request resumes"
    assert first.resume
    assert first.region == box_on_screen(window.dock.desk.layer, (300, 400))
    assert 0 < first.region.y0 < 150 < first.region.y1 < 300


def test_a_search_that_fails_says_why_and_can_be_started_again(window, review, search, monkeypatch):
    from napari_relay.errors import EngineError

    def broken(request: Any) -> Any:
        raise EngineError("The worker is gone.")

    notices = []
    bar = find_bar(window)
    monkeypatch.setattr(bar, "_notify", notices.append)
    window.workspace.propose = broken
    bar.every.click()
    window.until(lambda: bool(notices))
    assert "The worker is gone" in notices[0]
    assert bar.every.isEnabled()


def test_a_picture_of_an_object_at_the_border_and_of_a_huge_one(ready):
    workspace = ready.workspace
    result = workspace.project.propose([new_object(Box(0, 0, 3, 5)), new_object(Box(0, 0, 300, 400))])
    for stored in workspace.project.rows(result.ids):
        picture = picture_of(workspace.source, workspace.contrast(), stored)
        assert picture.shape == (SIDE_PX, SIDE_PX, 3)
        assert view_of(stored.box, SIDE_PX).box.covers(stored.box)


class SlowMap:
    """Stands in for a semantic job: writes a real class map of a region, slowly."""

    def __init__(self, workspace: Any) -> None:
        self.requests: list[Any] = []
        self.go = threading.Event()
        self._workspace = workspace

    def __call__(self, request: Any) -> Generator[Step, None, Path]:
        from napari_relay.fullimage.plan import Grid, checked_region
        from napari_relay.fullimage.request import class_map_path
        from napari_relay.fullimage.semantic import ClassMap, ClassWork, make_result
        from napari_relay.fullimage.work import Work
        from napari_relay.geometry import Plane
        from napari_relay.views import Stretch, default_mix

        self.requests.append(request)
        yield Step(2, 8)
        self.go.wait(20)
        yield Step(8, 8)
        source, project = self._workspace.source, self._workspace.project.path
        out = class_map_path(project, request)
        shutil.rmtree(out, ignore_errors=True)
        grid = Grid(source.shape, 0, checked_region(source.shape, request.region))
        work = Work({0: grid}, Plane(), default_mix(source), Stretch.none(source.channels))
        result = ClassMap(out, ("background", "cell"), ("#808080", "#ff00ff"))
        group: Any = make_result(ClassWork(work, project, project.parent, result))
        for level in range(len(list(group.array_keys()))):
            group[str(level)][: 100 >> level, : 400 >> level] = 1
        return out


def class_maps(window: Any) -> list[Any]:
    return [layer for layer in window.viewer.layers if "class map" in layer.metadata]


def test_the_class_of_every_pixel_is_mapped_shown_and_its_place_named(window, review):
    slow = window.workspace.classify = SlowMap(window.workspace)
    bar, before = find_bar(window), window.pixel(50, 200)
    QTest.mouseClick(bar.classes, Qt.MouseButton.LeftButton)
    window.until(lambda: bar.bar.maximum() == 8 and bar.bar.value() == 2)
    assert "2 of 8 parts" in bar.told.text()
    assert not bar.classes.isEnabled()
    QTest.mouseClick(bar.stop, Qt.MouseButton.LeftButton)
    slow.go.set()
    window.until(lambda: bar.told.text() == "Stopped.")
    assert class_maps(window) == []

    window.viewer.scene.camera.center, window.viewer.scene.camera.zoom = (150, 200), 2
    window.settle()
    bar.where.setCurrentText(SHOWN)
    QTest.mouseClick(bar.classes, Qt.MouseButton.LeftButton)
    window.until(lambda: len(class_maps(window)) == 1)

    whole, part = slow.requests
    out = Path(bar.told.toolTip())
    assert whole.region is None
    assert part.region == box_on_screen(window.dock.desk.layer, (300, 400))
    assert whole.resume
    assert out.is_dir()
    assert out.name in bar.told.text()
    (layer,) = class_maps(window)
    assert layer.get_status((50, 200), world=True)["value"].endswith("class: cell")
    window.until(lambda: np.abs(window.pixel(50, 200) - before).max() > 40)  # magenta lies over it
    assert window.viewer.layers.index(layer) == window.viewer.layers.index(window.dock.desk.layer) + 1

    QTest.mouseClick(bar.classes, Qt.MouseButton.LeftButton)
    window.until(lambda: len(slow.requests) == 3 and bar.classes.isEnabled())
    window.settle()
    assert class_maps(window) == [layer], "the new map takes the place of the old one"


def test_without_a_class_head_the_bar_says_what_to_do(window, review, monkeypatch):
    from napari_relay.workspace.proposing import classify

    notices: list[str] = []
    bar = find_bar(window)
    monkeypatch.setattr(bar, "_notify", notices.append)
    window.workspace.classify = lambda request: classify(window.workspace, request)
    QTest.mouseClick(bar.classes, Qt.MouseButton.LeftButton)
    window.until(lambda: bool(notices))
    assert "Learn the classes first" in notices[0]
    assert bar.classes.isEnabled()

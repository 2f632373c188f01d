"""A folder of images in the window: list, thumbnails, next and previous by key, shared classes, what is done."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image
from qtpy.QtCore import Qt

from napari_relay.widgets.state import Phase
from napari_relay.workspace.folder import ImageFolder, ImageState, look_at

pytestmark = pytest.mark.gui
CONTROL = Qt.KeyboardModifier.ControlModifier


@pytest.fixture
def folder(tmp_path: Path, make_picture: Any) -> Path:
    """Three pictures, each of another size, and one that is none."""
    place = tmp_path / "photos"
    place.mkdir()
    for index, shape in enumerate([(300, 400), (320, 360), (300, 500)], start=1):
        Image.fromarray(make_picture(shape)).save(place / f"photo{index}.png")
    (place / "photo4.png").write_bytes(b"nothing")
    return place


@pytest.fixture
def open_folder(
    make_napari_viewer: Any, qtbot: Any, tmp_path: Path, fakes: Any, folder: Path, running_threads: Any
) -> Iterator[Callable[[], Any]]:
    """The window with the folder open, its first image ready to be clicked."""
    from napari_relay.widgets.dock import RelayWidget
    from napari_relay.widgets.settings import WindowSettings

    docks: list[Any] = []

    def make() -> Any:
        viewer = make_napari_viewer(show=True)
        viewer.window.resize(1200, 800)
        computing = fakes.Computing(tmp_path)
        dock = RelayWidget(viewer, settings=WindowSettings(), computing=computing)
        docks.append(dock)
        viewer.window.add_dock_widget(dock, name="Relay", area="right")
        dock.open_path(str(folder))
        qtbot.waitUntil(lambda: dock.sides.folder is not None, timeout=60_000)
        return fakes.Window(viewer, dock, computing, qtbot)

    yield make
    for dock in docks:
        dock.shutdown()
    qtbot.waitUntil(lambda: not running_threads(), timeout=60_000)


def ready(window: Any, index: int) -> Any:
    """Wait until the image of that index can be clicked and nothing is left of the one before."""
    work = window.dock.sides.folder.work
    window.until(lambda: work.index == index and work._is_ours(window.dock.desk.controller))
    window.until(lambda: not work._leaving and window.shown.phase is Phase.READY and bool(window.shown.classes))
    window.settle()
    return work


def accept(window: Any, y: float, x: float) -> None:
    count = window.workspace.project.count()
    window.click(y, x)
    window.wait(Phase.PROPOSAL)
    window.key(Qt.Key.Key_Return)
    window.until(lambda: window.workspace.project.count() == count + 1)


def test_a_folder_is_worked_through_by_keys(open_folder: Any, folder: Path) -> None:
    window = open_folder()
    work = ready(window, 0)
    panel = window.dock.sides.folder
    assert [panel.list.item(row).text().split("\n")[0] for row in range(4)] == [f"photo{n}.png" for n in (1, 2, 3, 4)]
    window.until(lambda: work.entries[3].state == "broken")
    assert panel.list.item(0).icon().pixmap(72, 72).toImage().pixelColor(36, 36).alpha() == 255

    accept(window, 100, 100)
    window.key(Qt.Key.Key_PageDown)
    ready(window, 1)
    assert window.dock.desk.layer.data.shape[:2] == (320, 360)
    assert len([layer for layer in window.viewer.layers if layer.name.startswith("photo")]) == 1
    accept(window, 100, 100)
    accept(window, 250, 75)
    window.until(lambda: "2 objects" in panel.list.item(1).text())
    window.until(lambda: "1 object" in panel.list.item(0).text())

    window.key(Qt.Key.Key_Return, CONTROL)
    ready(window, 2)
    assert panel.count.text() == "1 of 4 images done"
    assert "done" in panel.list.item(1).text()
    window.key(Qt.Key.Key_PageUp)
    ready(window, 1)
    panel.undone.click()
    assert panel.count.text() == "0 of 4 images done"
    window.key(Qt.Key.Key_PageUp)
    ready(window, 0)
    window.key(Qt.Key.Key_PageUp)
    assert work.index == 0, "there is none before the first"
    window.until(lambda: look_at(folder / "photo2.png").state is ImageState.BEGUN)
    assert look_at(folder / "photo2.png").n_objects == 2


def test_a_class_made_in_one_image_is_there_in_the_next(open_folder: Any, folder: Path) -> None:
    window = open_folder()
    ready(window, 0)
    window.dock.panels.classes.picked.emit("nucleus")
    window.until(lambda: "nucleus" in [choice.name for choice in window.shown.classes])
    shared = ImageFolder(folder)
    window.until(lambda: shared.template() is not None and len(shared.template().classes) == 2)

    window.key(Qt.Key.Key_PageDown)

    ready(window, 1)
    window.until(lambda: [choice.name for choice in window.shown.classes] == ["object", "nucleus"])


def test_a_mask_that_is_not_accepted_is_not_lost_by_going_on(open_folder: Any) -> None:
    window = open_folder()
    work = ready(window, 0)
    window.click(100, 100)
    window.wait(Phase.PROPOSAL)

    window.key(Qt.Key.Key_PageDown)

    assert (work.index, window.shown.phase) == (0, Phase.PROPOSAL)
    window.key(Qt.Key.Key_Escape)
    window.key(Qt.Key.Key_PageDown)
    ready(window, 1)


def test_a_file_that_cannot_be_opened_is_passed_over(open_folder: Any) -> None:
    window = open_folder()
    work = ready(window, 0)
    panel = window.dock.sides.folder
    panel.list.itemClicked.emit(panel.list.item(3))
    window.until(lambda: work.entries[3].state == "broken" and not work._opening)
    window.key(Qt.Key.Key_PageUp)
    ready(window, 2)


def test_a_closed_list_leaves_the_image_open(open_folder: Any) -> None:
    window = open_folder()
    ready(window, 0)
    window.viewer.window.remove_dock_widget(window.dock.sides.folder)
    window.until(lambda: window.dock.sides.folder is None)
    accept(window, 100, 100)


def test_folders_below_are_in_the_list_when_that_is_asked(open_folder: Any, folder: Path, make_picture: Any) -> None:
    (folder / "below").mkdir()
    Image.fromarray(make_picture((300, 400))).save(folder / "below" / "photo9.png")
    window = open_folder()
    ready(window, 0)

    window.dock.open_path(str(folder), recursive=True)

    window.until(lambda: window.dock.sides.folder is not None and len(window.dock.sides.folder.work.entries) == 5)
    panel = window.dock.sides.folder
    ready(window, 0)
    assert panel.list.item(4).text().split("\n")[0] == "below/photo9.png"
    panel.list.itemClicked.emit(panel.list.item(4))
    ready(window, 4)
    accept(window, 100, 100)
    window.until(lambda: look_at(folder / "below" / "photo9.png").n_objects == 1)


def test_pictures_are_shown_small_and_in_their_form(folder: Path) -> None:
    from napari_relay.workspace.thumbnails import thumbnail

    picture = thumbnail(folder / "photo3.png", 100)
    assert picture is not None
    assert picture.shape == (60, 100, 3)
    assert np.abs(picture[20, 20].astype(int) - 200).max() < 10


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_long_folder_costs_no_memory_no_files_and_no_threads_an_image(
    open_folder: Any, folder: Path, make_picture: Any
) -> None:
    count = 120  # 500, without a window: tests/workspace/test_soak.py
    for path in folder.iterdir():
        path.unlink()
    for index in range(count):
        Image.fromarray(make_picture((150, 200))).save(folder / f"photo{index}.png")
    window = open_folder()
    window.viewer.window.resize(700, 450)  # frames are drawn by the processor: fewer pixels, less time
    process, used = psutil.Process(), []
    first, last = count // 4, count - 1
    for index in range(count):
        work = ready(window, index)
        accept(window, 60, 60)
        if index in (first, last):
            looked: list[None] = []
            work._runner.submit(lambda: None, looked.append)
            window.until(lambda looked=looked: bool(looked))  # every thumbnail is made
            gc.collect()
            used.append((process.memory_info().rss / 2**20, process.num_fds(), process.num_threads()))
        window.key(Qt.Key.Key_PageDown)
    (memory, files, threads), (memory_after, files_after, threads_after) = used
    assert (memory_after - memory) / (last - first) <= 1, f"{memory} MB grew to {memory_after} MB"
    assert files_after <= files + 5, f"{files} open files grew to {files_after}"
    assert threads_after <= threads + 5, f"{threads} threads grew to {threads_after}"
    assert all(entry.n_objects == 1 for entry in work.entries[: count - 1])
    print(f"{memory:.0f} to {memory_after:.0f} MB, {files} to {files_after} files")

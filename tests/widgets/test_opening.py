"""From a layer to its image and project: what is asked, what is not, and what goes wrong."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from napari.layers import Image

from napari_relay.errors import ImageError
from napari_relay.widgets.binding import LayerShape, open_source
from napari_relay.widgets.opening import Opening
from napari_relay.widgets.reading import layer_tuples, path_of


def read_layer(path: Path) -> Image:
    from napari_relay.sources import open_image

    ((data, arguments, _),) = layer_tuples(open_image(path))
    return Image(data, **arguments)


@pytest.fixture
def coins(sample_data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(sample_data / "coins.png", tmp_path))


class Desk:
    """Takes what an Opening delivers."""

    def __init__(self, runner: Any, fakes: Any, folder: Path) -> None:
        self.runner, self.computing = runner, fakes.Computing(folder)
        self.questions: list[Any] = []
        self.opened: list[Any] = []
        self.errors: list[BaseException] = []

    def opening(self, layer: Any, **kwargs: Any) -> Opening:
        return Opening(
            layer, self.runner, self.computing.open, self.questions.append, self.opened.append, self.errors.append,
            **kwargs,
        )  # fmt: skip


@pytest.fixture
def desk(runner: Any, fakes: Any, tmp_path: Path) -> Desk:
    folder = tmp_path / "arrays"
    folder.mkdir()
    return Desk(runner, fakes, folder)


def test_a_layer_of_ours_leads_back_to_its_file(coins: Path) -> None:
    layer = read_layer(coins)

    with open_source(layer) as source:
        assert source.path == coins
    assert path_of(layer) == str(coins)


def test_a_layer_that_shows_something_else_than_its_file_is_read_from_its_arrays(coins: Path) -> None:
    cropped = Image(np.zeros((20, 30), np.uint8), metadata={"napari_relay": {"path": str(coins)}})

    with open_source(cropped) as source:
        assert (source.path, source.shape) == (None, (20, 30))


@pytest.mark.parametrize(
    ("shape", "rgb", "sizes", "plane"),
    [
        ((20, 30), False, (1, 1), (20, 30)),
        ((20, 30, 3), True, (1, 1), (20, 30)),
        ((5, 20, 30), False, (1, 5), (20, 30)),
        ((4, 5, 20, 30), False, (4, 5), (20, 30)),
        # An axis of three in front is planes, whatever it looks like: napari shows it so.
        ((3, 20, 30), False, (1, 3), (20, 30)),
    ],
)
def test_arrays_keep_the_axes_that_napari_shows(
    shape: tuple[int, ...], rgb: bool, sizes: tuple[int, int], plane: tuple[int, int]
) -> None:
    layer = Image(np.zeros(shape, np.uint8), rgb=rgb)

    with open_source(layer) as source:
        assert (source.sizes_t, source.sizes_z) == sizes
        assert source.shape == plane == LayerShape.of(layer).plane
        assert LayerShape.of(layer).fits(source)


def test_levels_are_passed_on() -> None:
    levels = [np.zeros((64, 80), np.uint8), np.zeros((32, 40), np.uint8)]

    with open_source(Image(levels, multiscale=True)) as source:
        assert [level.shape for level in source.levels] == [(64, 80), (32, 40)]


def test_a_file_gets_its_project_beside_it_without_a_question(desk: Desk, coins: Path) -> None:
    desk.opening(read_layer(coins)).start()
    desk.runner.run()

    (opened,) = desk.opened
    assert opened.workspace.project.path == coins.with_name("coins.png.relay")
    assert not opened.temporary
    assert not desk.questions
    opened.close()
    assert opened.workspace.closed


def test_an_array_asks_where_and_a_click_takes_the_temporary_project(desk: Desk) -> None:
    opening = desk.opening(Image(np.zeros((64, 80), np.uint8), name="mine"))
    opening.start()
    desk.runner.run()
    (question,) = desk.questions
    assert "mine" in question.text
    assert not desk.opened

    opening.answer_default()
    desk.runner.run()

    assert desk.opened[0].temporary
    assert desk.questions[-1] is None
    desk.opened[0].close()


def test_a_click_before_the_question_makes_it_needless(desk: Desk) -> None:
    opening = desk.opening(Image(np.zeros((64, 80), np.uint8)))
    opening.start()
    opening.answer_default()
    desk.runner.run()

    assert len(desk.opened) == 1
    assert not any(desk.questions)
    desk.opened[0].close()


def test_the_answer_may_be_a_file(desk: Desk, tmp_path: Path) -> None:
    desk.opening(Image(np.zeros((64, 80), np.uint8))).start()
    desk.runner.run()

    desk.questions[0].choices[1].act(tmp_path / "kept.relay")
    desk.runner.run()

    assert desk.opened[0].workspace.project.path == tmp_path / "kept.relay"
    assert not desk.opened[0].temporary
    desk.opened[0].close()


def test_a_folder_that_cannot_be_written_to_asks_and_leaves_nothing_behind(
    desk: Desk, coins: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and real(path, mode))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "arrays"))
    monkeypatch.setattr("tempfile.tempdir", None)
    opening = desk.opening(read_layer(coins))
    opening.start()
    desk.runner.run()
    assert "cannot be written" in desk.questions[0].text

    opening.answer_default()
    desk.runner.run()

    (opened,) = desk.opened
    folder = opened.workspace.project.path.parent
    assert folder != coins.parent
    opened.close()
    assert not folder.exists()


def test_a_named_project_is_taken(desk: Desk, coins: Path, tmp_path: Path) -> None:
    desk.opening(read_layer(coins), project=tmp_path / "elsewhere.relay").start()
    desk.runner.run()

    assert desk.opened[0].workspace.project.path == tmp_path / "elsewhere.relay"
    desk.opened[0].close()


@pytest.mark.parametrize("stage", ["asked for", "source open", "workspace open, not delivered"])
def test_an_opening_that_is_cancelled_closes_what_it_had_opened(desk: Desk, coins: Path, stage: str) -> None:
    opening = desk.opening(read_layer(coins))
    opening.start()
    if stage != "asked for":
        desk.runner.run(1)
    if stage.startswith("workspace"):
        desk.runner.jobs[0][0]()

    opening.cancel()
    desk.runner.run()

    assert len(desk.computing.workspaces) == stage.startswith("workspace")
    assert all(workspace.closed for workspace in desk.computing.workspaces)
    assert not desk.opened


def test_an_image_that_cannot_be_opened_says_why(desk: Desk) -> None:
    def broken() -> Any:
        raise ImageError("Nothing there.", "Open another image.")

    layer = SimpleNamespace(data=None, multiscale=False, rgb=False, metadata={}, source=SimpleNamespace(path=None))
    desk.opening(layer).start()
    desk.runner.run()
    assert len(desk.errors) == 1

    desk2 = Desk(type(desk.runner)(), SimpleNamespace(Computing=lambda folder: SimpleNamespace(open=None)), Path())
    desk2.computing.open = lambda source, project: broken()
    desk2.opening(Image(np.zeros((8, 8), np.uint8)), project=Path("x.relay")).start()
    desk2.runner.run()
    assert isinstance(desk2.errors[0], ImageError)

"""Opening files: in the background, with an offer to build levels, and with reasons when it fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel

from napari_relay.sources import open_image
from napari_relay.widgets.image_opener import ImageOpener
from napari_relay.widgets.reading import path_of


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that needs a pyramid (the limit is lowered, so that it need not be large)."""
    monkeypatch.setattr("napari_relay.sources.pyramid.MAX_SIDE", 600)
    monkeypatch.setenv("NAPARI_RELAY_CACHE_DIR", str(tmp_path / "cache"))
    path = tmp_path / "large.tif"
    tifffile.imwrite(path, np.random.default_rng(0).integers(0, 255, (900, 1100), np.uint8))
    return path


class Heard:
    def __init__(self, opener: ImageOpener) -> None:
        self.questions: list[Any] = []
        self.progress: list[Any] = []
        self.failures: list[str] = []
        opener.question.connect(lambda question: self.questions.append(question))
        opener.progress.connect(lambda progress: self.progress.append(progress))
        opener.failed.connect(lambda text: self.failures.append(text))


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def opener(viewer: ViewerModel, runner: Any) -> ImageOpener:
    return ImageOpener(viewer, lambda: runner)


@pytest.fixture
def heard(opener: ImageOpener) -> Heard:
    return Heard(opener)


def test_a_small_image_becomes_a_layer_that_knows_its_file(
    opener: ImageOpener, viewer: ViewerModel, runner: Any, heard: Heard, sample_data: Path
) -> None:
    opener.open(sample_data / "coins.png")
    assert not viewer.layers
    runner.run()

    (layer,) = viewer.layers
    assert path_of(layer) == str(sample_data / "coins.png")
    assert layer.data.shape == (303, 384)
    assert not any(heard.questions)


def test_channels_become_layers(opener: ImageOpener, viewer: ViewerModel, runner: Any, tmp_path: Path) -> None:
    path = tmp_path / "channels.ome.tif"
    tifffile.imwrite(path, np.zeros((4, 64, 80), np.uint16), ome=True, metadata={"axes": "CYX"})

    opener.open(path)
    runner.run()

    assert len(viewer.layers) == 4
    assert {path_of(layer) for layer in viewer.layers} == {str(path)}


def test_a_missing_or_broken_file_is_said(opener: ImageOpener, runner: Any, heard: Heard, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")

    opener.open(tmp_path / "missing.png")
    runner.run()
    opener.open(tmp_path / "broken.png")
    runner.closed = False
    opener.open(tmp_path / "broken.png")
    runner.run()

    assert "missing.png" in heard.failures[0]


def test_a_large_image_without_levels_asks_and_can_be_opened_as_it_is(
    opener: ImageOpener, viewer: ViewerModel, runner: Any, heard: Heard, large: Path
) -> None:
    opener.open(large)
    runner.run()
    question = heard.questions[-1]
    assert "1,100 x 900" in question.text
    assert not viewer.layers

    question.choices[1].act(None)

    assert not viewer.layers[0].multiscale
    assert heard.questions[-1] is None


def test_levels_are_built_with_progress_and_used_next_time(
    opener: ImageOpener, viewer: ViewerModel, runner: Any, heard: Heard, large: Path
) -> None:
    opener.open(large)
    runner.run()
    heard.questions[-1].choices[0].act(None)
    runner.run()

    assert viewer.layers[0].multiscale
    assert heard.progress[-1] is None
    fractions = [item[1] for item in heard.progress[:-1]]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert path_of(viewer.layers[0]) == str(large)
    runner.closed = False
    asked = len(heard.questions)
    opener.open(large)
    runner.closed = False
    opener.open(large)
    runner.run()
    assert viewer.layers[-1].multiscale
    assert not any(heard.questions[asked:])


def test_a_build_that_is_stopped_opens_the_image_as_it_is(
    opener: ImageOpener, viewer: ViewerModel, runner: Any, heard: Heard, large: Path
) -> None:
    opener.open(large)
    runner.run()
    heard.questions[-1].choices[0].act(None)
    opener.cancel_build()
    runner.run()

    assert not viewer.layers[0].multiscale
    with open_image(large) as source:
        assert source.shape == (900, 1100)

"""The overlay picture: objects in their colours at every scale, and nothing else changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_relay.cli.overlay import draw_overlay, save_overlay
from napari_relay.errors import StorageError
from napari_relay.geometry import Box, Plane
from napari_relay.sources import Source, open_image
from napari_relay.store import Project

RED = {"object": "#ff0000", "cell": "#00ff00"}


def grey_image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(100, 140, (height, width), np.uint8)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with Project.open(tmp_path / "p.relay", fingerprint="f", shape=(900, 1200), sizes=(1, 2)) as opened:
        yield opened


@pytest.fixture
def source() -> Iterator[Source]:
    with open_image(grey_image(900, 1200)) as opened:
        yield opened


def changed(picture: np.ndarray) -> np.ndarray:
    return np.ptp(picture.astype(int), axis=2) > 10


def test_exactly_the_objects_pixels_are_coloured_at_scale_1(source: Source, project: Project) -> None:
    yy, xx = np.mgrid[:100, :100]
    disc = (yy - 50) ** 2 + (xx - 50) ** 2 < 40**2
    project.accept(Box(0, 0, 100, 100), disc)
    project.accept(Box(880, 1150, 900, 1200), np.ones((20, 50), bool), class_name="cell")

    picture = draw_overlay(source, project.objects(), RED)

    expected = np.zeros((900, 1200), bool)
    expected[:100, :100] = disc
    expected[880:900, 1150:1200] = True
    assert picture.shape == (900, 1200, 3)
    np.testing.assert_array_equal(changed(picture), expected)
    assert tuple(picture[890, 1150]) == (0, 255, 0), "the outline has the class colour"


def test_objects_of_other_planes_are_left_out(source: Source, project: Project) -> None:
    project.accept(Box(0, 0, 10, 10), np.ones((10, 10), bool), plane=Plane(0, 1))

    assert not changed(draw_overlay(source, project.objects(), RED)).any()


@pytest.mark.parametrize(("height", "width", "shape"), [(100, 60, (640, 384)), (1800, 2400, (1536, 2048))])
def test_small_images_are_enlarged_and_large_ones_reduced(
    tmp_path: Path, height: int, width: int, shape: tuple[int, int]
) -> None:
    with (
        open_image(grey_image(height, width)) as source,
        Project.open(tmp_path / "q.relay", fingerprint="f", shape=(height, width)) as project,
    ):
        box = Box(height // 4, width // 4, height // 2, width // 2)
        project.accept(box, np.ones(box.shape, bool))

        picture = draw_overlay(source, project.objects(), RED)

    assert picture.shape[:2] == shape
    area = np.count_nonzero(changed(picture)) / changed(picture).size
    assert area == pytest.approx(1 / 16, rel=0.03)


def test_picture_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    picture = np.zeros((5, 5, 3), np.uint8)
    (tmp_path / "file").touch()

    save_overlay(tmp_path / "new" / "o.png", picture)
    with pytest.raises(StorageError):
        save_overlay(tmp_path / "file" / "o.png", picture)

    assert Image.open(tmp_path / "new" / "o.png").size == (5, 5)
    assert not list(tmp_path.rglob("*.partial"))

"""Arrays in memory, dask and zarr arrays, and lists of levels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import zarr
from made_images import Pixels, halved, made_up, planes, rgb
from source_contract import SourceContract

from napari_relay.errors import DamagedImageError, UnsupportedImageError, UsageError
from napari_relay.geometry import Box
from napari_relay.sources import open_image
from napari_relay.sources.array import guess_axes


class TestNumpyGrey(SourceContract):
    movable = False

    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        image = made_up(130, 97, dtype=np.float32)
        return image, planes(image, axes="yx")


class TestNumpyStackOfChannels(SourceContract):
    movable = False

    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        image = made_up(2, 3, 4, 60, 70, dtype=np.int16)
        return image, planes(image, axes="tczyx")


class TestNumpyBool(SourceContract):
    movable = False

    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        image = made_up(80, 90, dtype=bool)
        return image, planes(image, axes="yx")


class TestListOfLevels(SourceContract):
    movable, rgb = False, True

    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        levels = halved(rgb(200, 301), 2)
        return levels, planes(*levels, axes="yxc")


class TestDask(SourceContract):
    movable = False

    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        image = made_up(5, 120, 140, dtype=np.uint16)
        return da.from_array(image, chunks=(1, 50, 60)), planes(image, axes="cyx")


class TestZarrArray(SourceContract):
    movable = False

    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        image = made_up(6, 90, 80, dtype=np.uint8)
        return zarr.array(image, chunks=(1, 32, 32)), planes(image, axes="cyx")


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((50, 60), "yx"),
        ((50, 60, 3), "yxc"),
        ((3, 50, 60), "cyx"),
        ((8, 50, 60), "cyx"),
        ((30, 50, 60), "zyx"),
        ((30, 50, 60, 3), "zyxc"),
        ((2, 30, 50, 60), "czyx"),
        ((30, 2, 50, 60), "zcyx"),
        ((30, 20, 50, 60), "tzyx"),
        ((5, 2, 30, 50, 60), "tczyx"),
        ((5, 30, 50, 60, 3), "tzyxc"),
    ],
)
def test_axes_are_guessed_from_the_shape(shape: tuple[int, ...], axes: str) -> None:
    assert guess_axes(shape) == axes


@pytest.mark.parametrize(
    ("image", "is_rgb"),
    [
        (np.zeros((40, 50, 3), np.uint8), True),
        (np.zeros((4, 40, 50), np.uint16), True),
        (np.full((40, 50, 3), 0.5), True),
        (np.full((40, 50, 3), 7.5), False),
        (np.full((3, 40, 50), 0.5), False),
        (np.zeros((40, 50, 3), np.int32), False),
        (da.zeros((40, 50, 3)), False),
        (np.zeros((40, 50, 5), np.uint8), False),
    ],
)
def test_colour_is_guessed_from_type_and_channels(image: Any, is_rgb: bool) -> None:
    assert open_image(image).is_rgb == is_rgb


def test_axes_and_colour_can_be_given() -> None:
    source = open_image(np.zeros((3, 40, 50), np.uint8), axes="zyx")
    assert (source.sizes_z, source.channels, source.is_rgb) == (3, 1, False)

    assert not open_image(np.zeros((40, 50, 3), np.uint8), rgb=False).is_rgb


@pytest.mark.parametrize("axes", ["yx", "yxq", "yyc", "tzyxc", "zcx", ""])
def test_axes_that_do_not_fit_are_named(axes: str) -> None:
    with pytest.raises(UsageError, match=r"do not fit array, which has the shape \(40, 50, 3\)"):
        open_image(np.zeros((40, 50, 3)), axes=axes)


@pytest.mark.parametrize(
    "levels",
    [
        [np.zeros((40, 50)), np.zeros((80, 100))],
        [np.zeros((40, 50)), np.zeros((20, 25), np.uint8)],
        [np.zeros((40, 50, 3)), np.zeros((20, 25, 4))],
        [np.zeros((40, 50)), np.zeros((20, 25, 3))],
    ],
)
def test_levels_that_do_not_belong_together_are_named(levels: list[Pixels]) -> None:
    with pytest.raises(UsageError, match="Level 1 of array"):
        open_image(levels)


@pytest.mark.parametrize(
    ("image", "error", "words"),
    [
        (np.zeros((0, 50)), DamagedImageError, "holds no pixels"),
        (np.zeros((40, 50), complex), UnsupportedImageError, "of type complex128"),
        (np.full((40, 50), "a"), UnsupportedImageError, "of type <U1"),
        (np.full((40, 50), np.nan), DamagedImageError, "Every pixel of array is NaN"),
        (np.zeros(40), UnsupportedImageError, "1 axes"),
        (np.zeros((1,) * 6), UnsupportedImageError, "6 axes"),
        (42, UnsupportedImageError, "A int is not an image"),
        ([], UsageError, "list of levels is empty"),
        ([[1, 2], [3, 4]], UnsupportedImageError, "A list is not an image"),
    ],
)
def test_what_is_no_image_is_refused_in_one_sentence(image: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        open_image(image)


def test_a_few_numbers_among_nan_are_enough() -> None:
    image = np.full((40, 50), np.nan, np.float32)
    image[20, 20] = 1

    assert open_image(image).read(Box(20, 20, 21, 21)) == 1


def test_channel_names_must_count_as_the_channels() -> None:
    image = np.zeros((2, 40, 50))

    source = open_image(image, channel_names=["DAPI", "GFP"])
    assert source.channel_index("GFP") == 1
    assert source.channel_index(0) == 0
    with pytest.raises(UsageError, match=r"no channel 'RFP'. It has: 0 \(DAPI\), 1 \(GFP\)"):
        source.channel_index("RFP")
    with pytest.raises(UsageError, match="2 channel"):
        open_image(image, channel_names=["DAPI"])


def test_only_the_chunks_under_the_box_are_computed() -> None:
    computed = []

    def block(block_info: Any = None) -> Pixels:
        computed.append(block_info[None]["chunk-location"])
        return np.ones((10, 10), np.uint8)

    image = da.map_blocks(block, chunks=((10,) * 20, (10,) * 20), dtype=np.uint8, meta=np.zeros((0, 0), np.uint8))
    source = open_image(image)

    source.read(Box(15, 15, 25, 18))

    assert sorted(computed) == [(1, 1), (2, 1)]


def test_fingerprint_changes_with_pixels_and_type() -> None:
    image = made_up(50, 60)
    other = image.copy()
    other[30, 30] += 1

    fingerprints = {open_image(i).fingerprint for i in (image, other, image.astype(np.int16), image[:, :59])}

    assert len(fingerprints) == 4
    assert open_image(image.copy()).fingerprint in fingerprints

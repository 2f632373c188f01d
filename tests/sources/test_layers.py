"""`LayerArray` is indexed like the array that it stands for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import basic_indices
from made_images import made_up

from napari_relay.geometry import Box
from napari_relay.sources import LayerArray, open_image

STACK = made_up(2, 3, 4, 9, 11, dtype=np.int32).transpose(0, 2, 3, 4, 1)  # [t, z, y, x, c]
SOURCE = open_image(STACK, axes="tzyxc", rgb=False)


@settings(max_examples=150, deadline=None)
@given(basic_indices(STACK.shape, allow_newaxis=False))
def test_indexing_is_that_of_numpy(index: Any) -> None:
    (layer,) = SOURCE.layer_data()

    found, expected = layer[index], STACK[index]

    assert found.shape == expected.shape
    assert found.ndim == expected.ndim
    assert found.size == expected.size
    np.testing.assert_array_equal(np.asarray(found), expected)


@settings(max_examples=50, deadline=None)
@given(basic_indices((2, 4, 9, 3), allow_newaxis=False), st.integers(0, 10))
def test_indexing_twice_is_that_of_numpy(index: Any, column: int) -> None:
    (layer,) = SOURCE.layer_data()

    np.testing.assert_array_equal(np.asarray(layer[..., column, :][index]), STACK[..., column, :][index])


def test_indexing_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    (layer,) = SOURCE.layer_data()
    boxes: list[Box] = []
    monkeypatch.setattr(SOURCE, "read", lambda box, level, plane: boxes.append(box))

    part = layer[0, 1, 2:5, 3:9]

    assert isinstance(part, LayerArray)
    assert part.axes == "yxc"
    assert not boxes


@pytest.mark.parametrize("index", [2, (0, 9), (0, 0, 0, 0, 0, 0), (0, 0, 0, 11)])
def test_an_index_outside_is_an_index_error(index: Any) -> None:
    (layer,) = SOURCE.layer_data()

    with pytest.raises(IndexError):
        layer[index]


def test_axes_of_length_one_are_left_out() -> None:
    (layer,) = open_image(np.zeros((1, 1, 1, 30, 40)), axes="tczyx").layer_data()

    assert layer.axes == "yx"
    assert len(layer) == 30
    with pytest.raises(ValueError, match="must be read"):
        np.asarray(layer, copy=False)


def test_arguments_for_napari() -> None:
    stack = open_image(np.zeros((2, 3, 30, 40), np.uint16), axes="czyx", channel_names=["DAPI", "GFP"])
    assert stack.layer_kwargs() == {"name": ["array DAPI", "array GFP"], "channel_axis": 3}

    colour = open_image([np.zeros((60, 80, 3), np.uint8), np.zeros((30, 40, 3), np.uint8)])
    assert colour.layer_kwargs() == {"name": "array", "multiscale": True, "rgb": True, "contrast_limits": [0, 255]}

    mask = open_image(np.zeros((60, 80), bool))
    assert mask.layer_kwargs() == {"name": "array", "rgb": False, "contrast_limits": [0, 1]}

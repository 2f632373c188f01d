"""napari shows a source's arrays as it shows plain ones: the same pixels in the same place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from made_images import halved, made_up, rgb

from napari_relay.sources import open_image

pytestmark = [pytest.mark.gui, pytest.mark.slow]


def shown(make: Callable[..., Any], data: Any, options: dict[str, Any], zoom: float) -> npt.NDArray[np.uint8]:
    """A screenshot of the canvas with one image, at a fixed place."""
    from qtpy.QtWidgets import QApplication

    viewer = make(show=True)
    viewer.window.resize(900, 700)
    viewer.add_image(data, **options)
    for _ in range(5):
        QApplication.processEvents()
    viewer.scene.camera.zoom, viewer.scene.camera.center = zoom, (0, 500, 700)
    for _ in range(5):
        QApplication.processEvents()
    picture: npt.NDArray[np.uint8] = viewer.screenshot(canvas_only=True, flash=False)
    return picture


@pytest.mark.parametrize("zoom", [0.3, 3])
def test_a_pyramid_looks_like_its_arrays(zoom: float, make_napari_viewer: Callable[..., Any]) -> None:
    levels = halved(rgb(1001, 1403), 2)
    source = open_image(levels)

    ours = shown(make_napari_viewer, source.layer_data(), source.layer_kwargs(), zoom)
    plain = shown(make_napari_viewer, levels, {"rgb": True, "multiscale": True}, zoom)

    assert ours.std() > 10
    np.testing.assert_array_equal(ours, plain)


def test_channels_are_split_without_reading(make_napari_viewer: Callable[..., Any]) -> None:
    levels = [made_up(2, 3, 1000, 1400, dtype=np.uint16), made_up(2, 3, 500, 700, dtype=np.uint16)]
    source = open_image(levels, axes="czyx", channel_names=["DAPI", "GFP"])
    viewer = make_napari_viewer()
    boxes = []
    read = source.read
    source.read = lambda box, *rest: boxes.append(box) or read(box, *rest)  # type: ignore[assignment, func-returns-value]

    layers = viewer.add_image(source.layer_data(), contrast_limits=[0, 300], **source.layer_kwargs())

    assert [layer.name for layer in layers] == ["array DAPI", "array GFP"]
    assert [layer.data.shapes for layer in layers] == [((3, 1000, 1400), (3, 500, 700))] * 2
    assert max(box.area for box in boxes) < 1000 * 1400

"""Where an opened image keeps its label pyramid: beside it, or among its own labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr

from napari_relay import open_workspace
from napari_relay.errors import UsageError
from napari_relay.geometry import Box
from napari_relay.store.ome_metadata import OmeVersion, multiscales, to_attributes


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.ome.zarr"
    group = zarr.create_group(path, zarr_format=3)
    group.create_array("0", shape=(60, 80), chunks=(60, 80), dtype="uint8", dimension_names=("y", "x"))[:] = 7
    entry = multiscales("image", [(60, 80)], (1, 1), None)
    group.attrs.update(to_attributes({"multiscales": [entry]}, OmeVersion.V05))
    return path


def accept_and_render(ws) -> np.ndarray:
    ws.project.accept(Box(0, 0, 10, 10), np.ones((10, 10), bool), overlap="allow")
    ws.writer.flush(60)
    return np.asarray(ws.pyramid.arrays[0])


def test_labels_go_inside_on_request_and_are_found_there_again(image):
    with open_workspace(image, labels="inside") as ws:
        expected = accept_and_render(ws)
    inside = zarr.open_group(image / "labels" / "napari-relay", mode="r")
    np.testing.assert_array_equal(inside["0"][...], expected)
    assert not list(image.parent.glob("*.labels.ome.zarr"))
    with open_workspace(image) as ws:
        assert ws.pyramid.path == image / "labels" / "napari-relay"
        assert len(ws.project.journal) == 0  # trusted, not rendered anew


def test_labels_lie_beside_without_a_request(image):
    with open_workspace(image) as ws:
        accept_and_render(ws)
    assert (image.parent / "image.ome.zarr.labels.ome.zarr").is_dir()
    assert not (image / "labels").exists()


def test_what_is_no_ome_zarr_takes_no_labels_inside(sample_data, tmp_path):
    with pytest.raises(UsageError, match="beside"):
        open_workspace(sample_data / "coins.png", tmp_path / "a.relay", labels="inside")

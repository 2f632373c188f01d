"""The manifest is valid, complete, and leads to code that is there."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import numpy as np
import pytest
from npe2 import PluginManifest

from napari_relay.errors import ExportError

ROOT = Path(__file__).resolve().parents[1]
MANIFEST = ROOT / "napari.yaml"

manifest = PluginManifest.from_file(MANIFEST)
COMMANDS = manifest.contributions.commands or []


def load(python_name: str) -> object:
    module, _, name = python_name.partition(":")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.id)
def test_every_python_name_can_be_called(command: object) -> None:
    assert callable(load(command.python_name))


def test_the_packages_manifest_is_this_one() -> None:
    assert (ROOT / "napari_relay" / "napari.yaml").read_bytes() == MANIFEST.read_bytes()


def test_every_contribution_names_a_command_that_is_there() -> None:
    known = {command.id for command in COMMANDS}
    contributions = manifest.contributions
    kinds = ("widgets", "readers", "writers", "sample_data")
    used = [item.command for kind in kinds for item in getattr(contributions, kind)]
    used += [item.command for items in contributions.menus.values() for item in items]

    assert set(used) == known


def test_menus_are_ones_that_napari_has() -> None:
    from napari._app_model.constants import MenuId

    assert set(manifest.contributions.menus) <= {str(menu) for menu in MenuId.contributables()}


def test_the_widget_asks_for_the_viewer_alone() -> None:
    parameters = inspect.signature(load("napari_relay.widgets.dock:RelayWidget")).parameters

    needed = [name for name, parameter in parameters.items() if parameter.default is inspect.Parameter.empty]
    assert needed == ["napari_viewer"]


def test_the_reader_reads_what_it_claims(sample_data: Path) -> None:
    from napari_relay.widgets.contributions import get_reader

    patterns = manifest.contributions.readers[0].filename_patterns
    for name in ("coins.png", "nuclei.jpg", "CMU-1-Small-Region.svs"):
        path = sample_data / name
        assert any(path.match(pattern) for pattern in patterns)
        ((data, arguments, kind),) = get_reader(str(path))(str(path))
        assert kind == "image"
        assert arguments["metadata"]["napari_relay"]["path"] == str(path)
        finest = data[0] if isinstance(data, list) else data
        assert np.asarray(finest[:8, :8]).size
    assert get_reader(["a.png", "b.png"]) is None


@pytest.mark.parametrize("sample", manifest.contributions.sample_data, ids=lambda sample: sample.key)
def test_samples_open_and_keep_no_project_in_the_programs_folder(sample: object) -> None:
    command = next(command for command in COMMANDS if command.id == sample.command)

    ((data, arguments, kind),) = load(command.python_name)()

    assert kind == "image"
    assert "metadata" not in arguments
    assert (data[0] if isinstance(data, list) else data).ndim in (2, 3)


def test_the_writers_export_the_project_behind_the_objects_layer(tmp_path: Path) -> None:
    import tifffile

    from napari_relay.geometry import Box
    from napari_relay.store import Project
    from napari_relay.widgets.contributions import write_label_tiff, write_ome_zarr

    place = tmp_path / "a.relay"
    with Project.open(place, fingerprint="f", shape=(64, 80)) as project:
        stored = project.accept(Box(10, 20, 14, 25), np.ones((4, 5), bool))
    meta = {"name": "Relay objects", "metadata": {"napari_relay": {"project": str(place)}}}

    (tiff,) = write_label_tiff(str(tmp_path / "a.tif"), None, meta)
    (zarr,) = write_ome_zarr(str(tmp_path / "a.ome.zarr"), None, meta)

    labels = tifffile.imread(tiff)
    assert (labels == stored.id).sum() == 20
    assert (Path(zarr) / "zarr.json").is_file()
    with pytest.raises(ExportError, match="not the objects layer"):
        write_label_tiff(str(tmp_path / "b.tif"), None, {"name": "mine", "metadata": {}})


def test_labels_and_shapes_of_the_user_are_written_by_the_same_code(tmp_path: Path) -> None:
    import json

    from napari_relay.widgets.contributions import write_coco, write_geojson

    labels = np.zeros((40, 50), np.int32)
    labels[5:10, 5:15], labels[20:22, 30:40] = 7, 9
    (path,) = write_geojson(str(tmp_path / "labels.geojson"), labels, {"name": "mine", "metadata": {}})
    areas = [f["properties"]["measurements"]["Area px^2"] for f in json.loads(Path(path).read_text())["features"]]
    assert sorted(areas) == [20, 50]
    (path,) = write_coco(str(tmp_path / "labels.json"), [labels, labels[::2, ::2]], {"name": "mine", "metadata": {}})
    assert sorted(a["area"] for a in json.loads(Path(path).read_text())["annotations"]) == [20, 50]
    shapes = [np.array([[4.6, 4.6], [4.6, 14.4], [9.4, 14.4], [9.4, 4.6]]), np.array([[0, 0], [9, 9]])]
    meta = {"name": "drawn", "metadata": {}, "shape_type": ["rectangle", "line"]}
    (path,) = write_geojson(str(tmp_path / "shapes.geojson"), shapes, meta)
    (feature,) = json.loads(Path(path).read_text())["features"]
    assert feature["properties"]["measurements"]["Area px^2"] == 50

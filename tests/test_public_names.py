"""The public names are what the package says they are, and importing it costs nothing heavy."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import napari_relay

ROOMS = ("sources", "views", "predictor", "engine", "session", "store", "formats", "workspace", "model", "widgets")


@pytest.mark.parametrize("name", napari_relay.__all__)
def test_public_name_exists(name: str) -> None:
    assert getattr(napari_relay, name) is not None


def test_dir_lists_exactly_the_public_names() -> None:
    assert dir(napari_relay) == sorted(napari_relay.__all__)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        napari_relay.nothing  # noqa: B018


@pytest.mark.parametrize("room", ROOMS)
def test_room_exports_what_its_list_says(room: str) -> None:
    module = importlib.import_module(f"napari_relay.{room}")

    assert module.__doc__, "a room says what it is for"
    for name in module.__all__:
        assert hasattr(module, name), f"napari_relay.{room}.__all__ names {name}, which is not there"


def loaded_after(statement: str) -> set[str]:
    """Names of the top-level modules that a fresh Python holds after `statement`."""
    script = f"import sys\n{statement}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_loads_neither_torch_nor_qt() -> None:
    heavy = {"torch", "napari", "qtpy", "PyQt5", "PyQt6", "numpy", "zarr"}

    assert not loaded_after("import napari_relay") & heavy


def test_workspace_and_sources_load_without_torch() -> None:
    statement = "import napari_relay as nr; nr.open_workspace; nr.open_image; import napari_relay.model.checkpoint"

    assert not loaded_after(statement) & {"torch", "torchvision", "timm", "napari"}

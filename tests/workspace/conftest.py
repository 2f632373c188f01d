"""Every workspace test leaves no thread, no process, no open file, no lock and no temporary project behind."""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import zarr
from PIL import Image

HERE = Path(__file__).parent
for folder in (HERE, HERE.parent / "engine"):
    if str(folder) not in sys.path:  # the stand-in is loaded by name, in the worker process too
        sys.path.insert(0, str(folder))

from engine_checks import children, open_files, shared_memory  # noqa: E402

from napari_relay.workspace import Workspace, open_workspace  # noqa: E402

Open = Callable[..., Workspace]


def own_threads() -> set[threading.Thread]:
    """Threads but those that zarr keeps for the life of the process."""
    return {thread for thread in threading.enumerate() if not thread.name.startswith(("zarr", "asyncio"))}


@pytest.fixture(scope="session", autouse=True)
def _zarr_is_awake() -> None:
    """zarr starts its event loop at the first use; its files are no leak."""
    zarr.zeros((4, 4))[:]


@pytest.fixture(autouse=True)
def _no_leaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    threads, processes, memory, files = own_threads(), children(), shared_memory(), open_files()
    yield
    assert own_threads() - threads == set()
    assert children() - processes == set()
    assert shared_memory() - memory == set()
    assert open_files() <= files
    assert list(temporary.glob("napari-relay-*")) == []
    assert list(tmp_path.rglob("*.lock")) == []


@pytest.fixture
def driver(tmp_path: Path) -> Path:
    """The folder that drives the stand-in."""
    folder = tmp_path / "driver"
    folder.mkdir()
    return folder


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A file of 300 x 400 pixels."""
    path = tmp_path / "images" / "photo.png"
    path.parent.mkdir()
    y, x = np.mgrid[:300, :400]
    Image.fromarray(np.stack([y % 256, x % 256, (x + y) % 256], axis=-1).astype(np.uint8)).save(path)
    return path


@pytest.fixture
def opened(driver: Path) -> Open:
    """`open_workspace` with the stand-in."""
    return partial(open_workspace, checkpoint=str(driver), service="workspace_services:make")

"""Makes the contract and the made-up images importable, and finds the folder of real sample files."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("source_contract")

from ranges_server import RangesServer  # noqa: E402


@pytest.fixture(scope="session")
def samples() -> Path:
    """Folder `samples` of the data folder that NAPARI_RELAY_DATA names; skips without it."""
    folder = os.environ.get("NAPARI_RELAY_DATA")
    if not folder:
        pytest.skip("NAPARI_RELAY_DATA is not set: it names the folder that holds bench/, samples/ and train/")
    return Path(folder) / "samples"


@pytest.fixture
def ranges_server(tmp_path: Path) -> Iterator[RangesServer]:
    """The files of `tmp_path`, at URLs."""
    with RangesServer(tmp_path) as server:
        yield server

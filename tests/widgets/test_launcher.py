"""What a start of the program leaves for the next one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

UNITS = (
    "import pint; from napari_relay.widgets.launcher import _remember_units; _remember_units(); "
    "print(type(pint.application_registry.get()).__name__, pint.application_registry.micrometer)"
)


def started(cache: Path) -> str:
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    done = subprocess.run([sys.executable, "-c", UNITS], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="XDG folders are Linux's")
def test_units_are_kept_for_the_next_start_and_wanted_by_none(tmp_path: Path) -> None:
    assert started(tmp_path) == "UnitRegistry micrometer"
    kept = sorted((tmp_path / "napari-relay" / "units").iterdir())
    assert kept
    assert started(tmp_path) == "UnitRegistry micrometer"
    assert sorted((tmp_path / "napari-relay" / "units").iterdir()) == kept, "the second start reads what is there"

    (tmp_path / "a_file").write_text("")
    assert started(tmp_path / "a_file").endswith("micrometer"), "where nothing can be kept it works without"

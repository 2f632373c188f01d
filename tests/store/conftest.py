"""A small project, and masks of every awkward kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from napari_relay.store import Project

SHAPE = (1300, 1500)


@pytest.fixture
def open_project(tmp_path: Path) -> Iterator[Callable[..., Project]]:
    """Opens the same project file again and again; closes what a test leaves open."""
    opened: list[Project] = []

    def make(name: str = "image.tif.relay", **settings: object) -> Project:
        settings = {"fingerprint": "abc", "shape": SHAPE, "image_name": "image.tif", **settings}
        project = Project.open(tmp_path / name, **settings)
        opened.append(project)
        return project

    yield make
    for project in opened:
        project.close()


@pytest.fixture
def project(open_project: Callable[..., Project]) -> Project:
    return open_project()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)

"""Projects in a temporary folder, closed at the end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from napari_relay.store import Project

HERE = str(Path(__file__).parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)

from format_checks import SHAPE  # noqa: E402

NewProject = Callable[..., Project]


@pytest.fixture
def new_project(tmp_path: Path) -> Iterator[NewProject]:
    opened: list[Project] = []

    def make(shape: tuple[int, int] = SHAPE, sizes: tuple[int, int] = (1, 1), name: str = "image.tif") -> Project:
        path = tmp_path / f"image{len(opened)}.relay"
        opened.append(Project.open(path, fingerprint="abc", shape=shape, sizes=sizes, image_name=name))
        return opened[-1]

    yield make
    for project in opened:
        project.close()

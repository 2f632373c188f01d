"""A small project, and masks of every awkward kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from napari_relay.geometry import Box, Plane
from napari_relay.store import Project

SHAPE = (1300, 1500)


@pytest.fixture
def open_project(tmp_path: Path) -> Iterator[Callable[..., Project]]:
    """Opens the same project file again and again; closes what a test leaves open. A new one lets objects overlap
    (or does what `overlap` says), so that tests may accept anything anywhere."""
    opened: list[Project] = []

    def make(name: str = "image.tif.relay", overlap: str = "allow", **settings: object) -> Project:
        settings = {"fingerprint": "abc", "shape": SHAPE, "image_name": "image.tif", **settings}
        new = not (tmp_path / name).exists()
        project = Project.open(tmp_path / name, **settings)
        opened.append(project)
        if new:
            project.overlap = overlap
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


def blob(rng: np.random.Generator, box: Box) -> np.ndarray:
    """A mask of one of many kinds over `box`: full, speckled, a disc, a ring, one pixel, a checkerboard."""
    kind = rng.integers(6)
    y, x = np.ogrid[: box.height, : box.width]
    radius = np.hypot((y - box.height / 2) / box.height, (x - box.width / 2) / box.width)
    mask = [
        np.ones(box.shape, bool),
        rng.random(box.shape) < 0.3,
        radius < 0.5,
        (radius < 0.5) & (radius > 0.3),
        (y == box.height // 2) & (x == box.width // 2),
        (y + x) % 2 == 0,
    ][kind]
    mask[box.height // 2, box.width // 2] = True
    return mask


def random_box(rng: np.random.Generator, shape: tuple[int, int], longest: int) -> Box:
    """A box inside an image, now and then at its border."""
    sides = [int(rng.integers(1, min(longest, side) + 1)) for side in shape]
    starts = [int(rng.choice([0, side - length, rng.integers(0, side - length + 1)]))
              for side, length in zip(shape, sides, strict=True)]  # fmt: skip
    return Box(starts[0], starts[1], starts[0] + sides[0], starts[1] + sides[1])


@pytest.fixture
def act(rng: np.random.Generator) -> Callable[..., None]:
    """Does random actions on a project: accept, delete, class change, undo, redo."""

    def act(project: Project, count: int, longest: int = 700) -> None:
        for _ in range(count):
            ids = [stored.id for stored in project.objects()]
            kind = rng.choice(["accept", "accept", "accept", "delete", "class", "undo", "undo", "redo"])
            if kind == "accept" or not ids:
                box = random_box(rng, project.shape, longest)
                plane = Plane(int(rng.integers(project.sizes[0])), int(rng.integers(project.sizes[1])))
                project.accept(box, blob(rng, box), plane=plane)
            elif kind == "delete":
                project.delete([int(i) for i in rng.choice(ids, min(len(ids), 2), replace=False)])
            elif kind == "class":
                project.set_class(int(rng.choice(ids)), str(rng.choice(["a", "b", "c"])))
            elif kind == "undo":
                project.undo()
            else:
                project.redo()

    return act


@pytest.fixture
def make_blob(rng: np.random.Generator) -> Callable[[Box], np.ndarray]:
    return lambda box: blob(rng, box)

"""Shapes that exporters get wrong, and how an export is driven."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_relay.geometry import Box, Plane
from napari_relay.store import Project

SHAPE = (700, 1100)


def finish(exporting: Any) -> Any:
    """Run an export or import to its end."""
    progress = None
    while True:
        try:
            progress = next(exporting)
        except StopIteration as end:
            assert progress is None or progress.done == progress.total
            return end.value


def fill(project: Project) -> None:
    """Holes, a ring in a ring, a checkerboard, parts, one pixel, the border, touching and overlapping objects."""
    y, x = np.ogrid[:200, :200]
    radius = np.hypot(y - 99.5, x - 99.5)
    masks = {
        (0, 0): radius < 90,
        (250, 10): ((radius < 90) & (radius > 60)) | ((radius < 40) & (radius > 20)),
        (10, 450): ((y + x) % 2 == 0) & (y < 30) & (x < 40),
        (480, 480): (radius > 40) & (y % 50 < 20),
        (500, 900): np.ones((200, 200), bool),  # in the corner
    }
    for (top, left), mask in masks.items():
        project.accept(Box(top, left, top + 200, left + 200), mask)
    project.accept(Box(3, 1000, 4, 1001), np.ones((1, 1), bool), class_name="dot", score=0.123456789)
    project.accept(Box(4, 1000, 104, 1100), np.ones((100, 100), bool), class_name="square")
    project.accept(Box(50, 980, 110, 1080), np.ones((60, 100), bool), class_name="über alles", overlap="allow")


def masks_of(project: Project, plane: Plane | None = None) -> list[tuple[str, Box, bytes]]:
    """Class, box and pixels of every object, by id."""
    return [(item.class_name, item.box, np.packbits(item.mask).tobytes()) for item in project.objects(plane=plane)]


def number_next_object(project: Project, number: int) -> None:
    """As if that many objects had been made before."""
    with project._database.write() as db:
        db.execute("DELETE FROM sqlite_sequence WHERE name = 'objects'")
        db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('objects', ?)", (number - 1,))

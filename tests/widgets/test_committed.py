"""The objects layer follows a project: only what changed is looked at; old pixels of a corrected object are hidden."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_relay.geometry import Box
from napari_relay.widgets.committed import CommittedObjects
from napari_relay.widgets.palette import SHADES

SQUARE = np.ones((20, 20), bool)


@pytest.fixture
def committed(workspace: Any, runner: Any, make_picture: Any) -> Iterator[CommittedObjects]:
    viewer = ViewerModel()
    image = viewer.add_image(make_picture(), rgb=True)
    made = CommittedObjects(viewer, image, workspace, runner, shown=lambda ids: None, pending=list)
    made.set_classes([("object", "#ff0000"), ("cell", "#00ff00"), ("dust", "#0000ff")])
    runner.run()
    yield made
    made.close()


def colors(committed: CommittedObjects, *ids: int) -> list[int]:
    """Index of the class that each object is shown as; -1 where it is not shown."""
    values = committed.layer.table.of(np.array(ids)).astype(int)
    return [int((value - 1) // SHADES) if value else -1 for value in values]


def settle(workspace: Any, runner: Any) -> None:
    workspace.writer.flush()
    runner.run()


def test_a_change_of_one_object_reads_that_object_alone(committed, workspace, runner, monkeypatch):
    project = workspace.project
    ids = [project.accept(Box(0, 25 * n, 20, 25 * n + 20), SQUARE, class_name="cell").id for n in range(5)]
    settle(workspace, runner)
    asked: list[Any] = []
    read = project.object_colors
    monkeypatch.setattr(project, "object_colors", lambda ids=None: asked.append(ids) or read(ids))

    project.set_class(ids[2], "dust")
    project.undo()
    project.redo()
    project.set_note(ids[0], "x")
    settle(workspace, runner)

    assert asked == [(ids[2],)] * 3 + [(ids[0],)]
    assert colors(committed, *ids) == [1, 1, 2, 1, 1]


def test_the_old_mask_of_a_corrected_object_is_hidden_until_the_new_one_is_rendered(committed, workspace, runner):
    project = workspace.project
    one, two = (project.accept(Box(0, x, 20, x + 20), SQUARE, class_name="cell").id for x in (0, 50))
    settle(workspace, runner)
    assert colors(committed, one, two) == [1, 1]

    project.revise(one, Box(100, 100, 120, 120), SQUARE)

    assert colors(committed, one, two) == [-1, 1]
    settle(workspace, runner)
    assert colors(committed, one, two) == [1, 1]

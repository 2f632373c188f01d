"""Jumping through the history: to any point, forth and back, over restarts, all or nothing."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_relay.errors import UsageError
from napari_relay.geometry import Box
from napari_relay.store import Project

SQUARE = np.ones((10, 10), bool)


def work(project: Project) -> list[tuple[int, dict]]:
    """Something of every kind; (action, what the project held after it), from the beginning."""
    seen = [(0, contents(project))]

    def note() -> None:
        seen.append((project.history(1)[0].id, contents(project)))

    for n in range(3):
        project.accept(Box(0, 20 * n, 10, 20 * n + 10), SQUARE, class_name="cell" if n else None)
        note()
    project.set_state([1, 2], "reviewed")
    note()
    project.revise(1, Box(5, 5, 15, 15), SQUARE)
    note()
    project.set_class([1, 3], "dust")
    note()
    project.delete([1, 2, 3])
    note()
    return seen


def contents(project: Project) -> dict:
    return {o.id: (o.class_name, o.state, o.box, o.mask.tobytes()) for o in project.objects()}


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 7), min_size=1, max_size=6))
def test_a_jump_leads_to_what_was_there_after_that_action(tmp_path_factory, points):
    with Project.open(tmp_path_factory.mktemp("jump") / "a.relay", fingerprint="a", shape=(100, 100)) as project:
        seen = work(project)
        now = len(seen) - 1
        for point in points:
            assert project.jump(seen[point][0]) == abs(point - now)
            assert contents(project) == seen[point][1]
            now = point


def test_a_jump_goes_on_after_a_restart(open_project):
    with open_project() as project:
        seen = work(project)
        project.jump(seen[2][0])
    with open_project() as project:
        assert contents(project) == seen[2][1]
        project.jump(project.history()[0])  # the newest: redo everything
        assert contents(project) == seen[-1][1]
        assert not project.can_redo
    with open_project() as project:
        project.jump(0)
        assert contents(project) == {}
        assert not project.can_undo


def test_an_action_after_a_jump_back_gives_up_the_way_forward(project):
    seen = work(project)
    project.jump(seen[3][0])
    new = project.accept(Box(50, 50, 60, 60), SQUARE)
    with pytest.raises(UsageError, match="is abandoned"):
        project.jump(seen[5][0])
    project.jump(seen[1][0])
    assert contents(project) == seen[1][1]
    project.jump(new.action_id)
    assert set(contents(project)) == {*seen[3][1], new.id}


@pytest.mark.parametrize("target", [99, -1])
def test_a_jump_to_nowhere_changes_nothing(project, target):
    seen = work(project)
    with pytest.raises(UsageError, match="does not exist"):
        project.jump(target)
    assert contents(project) == seen[-1][1]
    project.undo()
    with pytest.raises(UsageError, match="is undo"):
        project.jump(project.history(1, everything=True)[0].id)


def test_a_jump_that_fails_halfway_changes_nothing(project, monkeypatch):
    seen = work(project)
    steps = iter(range(3))

    def fails(*_: object) -> None:
        if next(steps) == 2:
            raise sqlite3.OperationalError("interrupted")

    monkeypatch.setattr("napari_relay.store.actions.swap_tiles", fails)
    monkeypatch.setattr("napari_relay.store.actions.mark_dirty", fails)
    with pytest.raises(sqlite3.OperationalError):
        project.jump(0)
    monkeypatch.undo()
    assert contents(project) == seen[-1][1]
    assert [a.state for a in project.history(None, everything=True)] == ["done"] * 7


def test_listeners_hear_of_a_jump_once(project):
    seen = work(project)
    heard = []
    project.changed.connect(heard.append)
    project.jump(seen[1][0])
    project.jump(seen[1][0])
    assert [(change.kind, change.ids) for change in heard] == [("jump", (1, 2, 3))]

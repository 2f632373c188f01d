"""Strokes: only the pixels under them change, each is taken back by itself, and box and area follow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_relay.errors import EmptyProposalError, UsageError
from napari_relay.geometry import Box, Click
from napari_relay.store import Actor, Project

SHAPE = (700, 1200)
WHOLE = Box(0, 0, *SHAPE)


@pytest.fixture
def project(open_project) -> Project:
    return open_project(overlap="keep", shape=SHAPE)


def full(box: Box) -> np.ndarray:
    return np.ones(box.shape, bool)


def test_painting_adds_pixels_and_keeps_everything_else(project):
    box = Box(100, 100, 200, 200)
    stored = project.accept(box, full(box), class_name="cell", clicks=[Click(150, 150)], score=0.9)
    stroke = Box(150, 150, 160, 600)
    painted = project.paint(stored.id, stroke, full(stroke))
    assert (painted.id, painted.box, painted.area) == (stored.id, Box(100, 100, 200, 600), 100 * 100 + 10 * 400)
    assert (painted.score, painted.n_clicks, painted.action_id) == (0.9, 1, stored.action_id)
    assert project.origin(stored.id)[0] == (Click(150, 150),)
    assert project.history(1)[0].kind == "brush"
    project.undo()
    assert project.object(stored.id) == stored


def test_erasing_takes_pixels_away_until_nothing_is_left(project):
    box = Box(500, 500, 600, 600)
    stored = project.accept(box, full(box))
    right = Box(400, 550, 650, 700)
    left = project.erase(stored.id, right, full(right))
    assert (left.box, left.area) == (Box(500, 500, 600, 550), 100 * 50)
    assert project.erase(stored.id, WHOLE, full(WHOLE)) is None
    assert project.count() == 0
    project.undo()
    project.undo()
    assert list(project.objects()) == [stored]
    assert project.object(stored.id).mask.all()


def test_a_stroke_that_does_nothing_is_refused_and_leaves_no_action(project):
    box = Box(100, 100, 200, 200)
    project.accept(box, full(box))
    inside, outside = Box(110, 110, 120, 120), Box(300, 300, 310, 310)
    with pytest.raises(EmptyProposalError, match="adds nothing"):
        project.paint(1, inside, full(inside))
    with pytest.raises(EmptyProposalError, match="does not meet"):
        project.erase(1, outside, full(outside))
    with pytest.raises(EmptyProposalError, match="no hole"):
        project.fill_holes(1)
    assert len(project.history(None, everything=True)) == 1


def test_painting_follows_the_overlap_rule(project):
    boxes = [Box(0, 0, 100, 100), Box(0, 150, 100, 250)]
    for box in boxes:
        project.accept(box, full(box))
    stroke = Box(0, 100, 100, 200)
    assert project.paint(1, stroke, full(stroke)).area == 100 * 150
    project.undo()
    assert project.paint(1, stroke, full(stroke), rule="replace").area == 100 * 200
    assert project.object(2).box == Box(0, 200, 100, 250)
    project.undo()
    assert project.object(2).box == boxes[1]


def test_a_hole_is_filled_but_not_over_somebody_in_it(project):
    ring = full(Box(0, 0, 600, 600))
    ring[100:500, 100:500] = False
    project.accept(Box(0, 0, 600, 600), ring)
    yolk = Box(200, 200, 300, 300)
    project.accept(yolk, full(yolk))
    action = project.fill_holes([1, 2])
    assert (action.kind, project.object(1).area) == ("fill", 600 * 600 - 100 * 100)
    assert (project.labels(yolk) == 2).all()
    project.undo()
    np.testing.assert_array_equal(project.object(1).mask, ring)


def test_only_tiles_under_a_stroke_are_written(project):
    project.accept(WHOLE, full(WHOLE))
    project.journal.forget(project.journal.tiles(100))
    dot = Box(600, 600, 601, 601)
    project.erase(1, dot, full(dot))
    assert project.journal.positions() == {(0, 0, 1, 1)}
    project.journal.forget(project.journal.tiles(100))
    project.paint(1, dot, full(dot))
    assert project.journal.positions() == {(0, 0, 1, 1)}
    assert project.object(1).area == SHAPE[0] * SHAPE[1]
    with project._database.read() as db:
        assert db.execute("SELECT count(*) FROM replaced_tiles").fetchone()[0] == 2


@pytest.mark.parametrize(("state", "actor"), [("locked", Actor.USER), ("reviewed", Actor.MODEL)])
def test_protected_objects_take_no_stroke(project, state, actor):
    box = Box(100, 100, 200, 200)
    project.accept(box, full(box))
    project.set_state(1, state)
    for stroke in (project.paint, project.erase):
        with pytest.raises(UsageError, match=state):
            stroke(1, Box(150, 150, 250, 250), full(box), actor=actor)
    with pytest.raises(UsageError, match=state):
        project.fill_holes(1, actor=actor)
    assert project.object(1).area == 100 * 100


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.sampled_from(["paint", "erase"])), min_size=1, max_size=6))
def test_any_strokes_end_where_the_same_strokes_on_an_array_do(tmp_path_factory, strokes):
    folder = tmp_path_factory.mktemp("strokes")
    with Project.open(folder / "a.relay", fingerprint="a", shape=SHAPE) as project:
        box = Box(200, 300, 600, 900)
        project.accept(box, full(box))
        truth = np.zeros(SHAPE, bool)
        truth[box.slices] = True
        states = [truth.copy()]
        for seed, kind in strokes:
            rng = np.random.default_rng(seed)
            height, width = (int(side) for side in rng.integers(1, 500, 2))
            y, x = int(rng.integers(0, SHAPE[0] - height)), int(rng.integers(0, SHAPE[1] - width))
            stroke = Box(y, x, y + height, x + width)
            mask = rng.random(stroke.shape) < rng.choice([0.5, 1.1])
            mask[0, 0] = True
            new = truth.copy()
            new[stroke.slices] = new[stroke.slices] | mask if kind == "paint" else new[stroke.slices] & ~mask
            if (new == truth).all():
                with pytest.raises(EmptyProposalError):
                    getattr(project, kind)(1, stroke, mask)
                continue
            getattr(project, kind)(1, stroke, mask)
            truth = new
            states.append(truth.copy())
            check(project, truth)
            if not truth.any():
                break
        for earlier in reversed(states[:-1]):
            project.undo()
            check(project, earlier)


def check(project: Project, truth: np.ndarray) -> None:
    np.testing.assert_array_equal(project.labels(WHOLE) == 1, truth)
    for stored in project.objects():
        rows, columns = np.flatnonzero(truth.any(axis=1)), np.flatnonzero(truth.any(axis=0))
        assert stored.box == Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
        assert stored.area == truth.sum()

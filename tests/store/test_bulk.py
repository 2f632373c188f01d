"""States, notes, classes and deletion of many objects: one action each; what is locked stays as it is."""

from __future__ import annotations

import numpy as np
import pytest

from napari_relay.errors import UsageError
from napari_relay.geometry import Box, Plane
from napari_relay.store import Actor, Change, ObjectState, Project

SQUARE = np.ones((10, 10), bool)
WHOLE = Box(0, 0, 1300, 1500)


@pytest.fixture
def ids(project: Project) -> list[int]:
    """Ten squares side by side, five of either class."""
    return [
        project.accept(Box(0, 20 * n, 10, 20 * n + 10), SQUARE, class_name="cell" if n % 2 else "dust").id
        for n in range(10)
    ]


def states(project: Project) -> dict[int, str]:
    return {stored.id: stored.state for stored in project.objects()}


def test_a_state_is_given_to_many_objects_in_one_action(project, ids):
    before = states(project)
    action = project.set_state(ids[:7], "reviewed")
    assert (action.kind, action.n_objects, action.summary) == ("state-change", 7, "7 objects reviewed")
    assert states(project) == {i: "reviewed" if i in ids[:7] else "accepted" for i in ids}
    project.undo()
    assert states(project) == before
    project.redo()
    assert list(states(project).values()).count("reviewed") == 7


def test_undo_gives_each_object_its_own_state_note_and_class_back(project, ids):
    project.set_state(ids[0], "reviewed")
    project.set_note(ids[:2], "edge")
    project.set_note(ids[1], "blurred")
    before = [(o.state, o.note, o.class_name) for o in project.objects()]
    project.set_state(ids, ObjectState.PROPOSED)
    project.set_note(ids, " same for all ")
    project.set_class(ids, "other")
    assert {(o.state, o.note, o.class_name) for o in project.objects()} == {("proposed", "same for all", "other")}
    for _ in range(3):
        project.undo()
    assert [(o.state, o.note, o.class_name) for o in project.objects()] == before


@pytest.mark.parametrize("state", ["proposed", "rejected"])
def test_proposed_and_rejected_objects_leave_the_labels_and_come_back(project, ids, state):
    stored = project.object(ids[3])
    project.set_state(stored.id, state)
    assert not (project.labels(WHOLE) == stored.id).any()
    assert project.object_at(*stored.box.centre) is None
    assert stored.id not in project.shown_ids()
    project.set_state(stored.id, "accepted")
    assert (project.labels(stored.box) == stored.id).all()


def test_only_changes_that_show_are_put_on_the_journal(project, ids):
    project.journal.forget(project.journal.tiles(100))
    project.set_state(ids, "reviewed")
    project.set_state(ids, "locked")
    project.set_note(ids, "note")
    assert len(project.journal) == 0
    project.set_state(ids, "rejected")
    assert len(project.journal) == 1
    project.journal.forget(project.journal.tiles(100))
    project.undo()
    assert len(project.journal) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda p, i, a: p.delete(i, actor=a),
        lambda p, i, a: p.set_class(i, "new", actor=a),
        lambda p, i, a: p.revise(i, Box(0, 0, 10, 10), SQUARE, actor=a),
        lambda p, i, a: p.set_state(i, "accepted", actor=a),
        lambda p, i, a: p.set_note(i, "new", actor=a),
    ],
    ids=["delete", "class", "mask", "state", "note"],
)
@pytest.mark.parametrize("state", ["reviewed", "locked"])
def test_a_model_changes_nothing_that_is_reviewed_or_locked(project, ids, change, state):
    project.set_state(ids[0], state)
    actions, before = len(project.history(None, everything=True)), list(project.objects())
    with pytest.raises(UsageError, match=f"Object {ids[0]} is {state}: a model"):
        change(project, ids[0], Actor.MODEL)
    assert list(project.objects()) == before
    assert len(project.history(None, everything=True)) == actions


@pytest.mark.parametrize("state", ["proposed", "accepted", "rejected"])
def test_a_model_changes_what_nobody_has_looked_at(project, ids, state):
    project.set_state(ids[0], state)
    project.set_class(ids[0], "new", actor=Actor.MODEL)
    assert project.object(ids[0]).class_name == "new"
    assert project.history(1)[0].actor == Actor.MODEL


@pytest.mark.parametrize("state", ["reviewed", "locked"])
def test_a_model_neither_reviews_nor_locks(project, ids, state):
    with pytest.raises(UsageError, match="A model cannot"):
        project.set_state(ids[0], state, actor=Actor.MODEL)


def test_a_person_unlocks_first(project, ids):
    project.set_state(ids[4], "locked")
    with pytest.raises(UsageError, match=r"Object 5 is locked\. Unlock it first"):
        project.delete(ids)  # one locked object refuses the whole action
    assert project.count() == 10
    with pytest.raises(UsageError, match="locked"):
        project.revise(ids[4], Box(0, 0, 10, 10), SQUARE)
    project.set_note(ids[4], "checked twice")
    project.set_state(ids[4], "accepted")
    project.delete(ids)
    assert project.count() == 0


def test_a_person_changes_what_is_reviewed(project, ids):
    project.set_state(ids, "reviewed")
    project.set_class(ids, "other")
    project.delete(ids)
    assert project.count() == 0


def test_bad_ids_and_states_change_nothing(project, ids):
    for ask in (
        lambda: project.set_state([*ids, 99], "reviewed"),
        lambda: project.set_state([], "reviewed"),
        lambda: project.set_state(ids, "finished"),
        lambda: project.set_note(99, "x"),
    ):
        with pytest.raises(UsageError):
            ask()
    assert len(project.history(None, everything=True)) == 10


def test_totals_follow_every_change(project, ids):
    assert project.totals() == {("dust", "accepted"): 5, ("cell", "accepted"): 5}
    project.set_state(ids[:4], "reviewed")
    project.set_class(ids[0], "cell")
    project.delete(ids[9])
    assert project.totals() == {
        ("dust", "accepted"): 3, ("dust", "reviewed"): 1, ("cell", "accepted"): 2, ("cell", "reviewed"): 3,
    }  # fmt: skip
    assert project.count() == 9
    for _ in range(3):
        project.undo()
    assert project.totals() == {("dust", "accepted"): 5, ("cell", "accepted"): 5}


def test_a_change_is_told_once_a_plane(open_project, rng):
    with open_project(sizes=(1, 2)) as project:
        made = [project.accept(Box(0, 0, 10, 10), SQUARE, plane=Plane(0, n % 2)).id for n in range(4)]
        heard: list[Change] = []
        project.changed.connect(heard.append)
        project.set_state(made, "locked")
        project.undo()
    assert [(c.kind, c.plane.z, c.ids) for c in heard] == [
        ("state-change", 0, (1, 3)), ("state-change", 1, (2, 4)), ("undo", 0, (1, 3)), ("undo", 1, (2, 4)),
    ]  # fmt: skip

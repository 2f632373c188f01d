"""Undo and redo without end, over restarts; what an action replaced stays in the table."""

from __future__ import annotations

import numpy as np

from napari_relay.geometry import Box, Click
from napari_relay.store import Project

SQUARE = np.ones((10, 10), bool)


def accept(project: Project, name: str | None = None) -> int:
    return project.accept(Box(0, 0, 10, 10), SQUARE, class_name=name).id


def seen(project: Project) -> dict[int, str]:
    return {stored.id: stored.class_name for stored in project.objects()}


def test_each_kind_of_action_is_undone_and_redone(project):
    states = [(seen(project), [c.name for c in project.classes()])]

    def note() -> None:
        states.append((seen(project), [c.name for c in project.classes()]))

    accept(project)
    note()
    accept(project, "cell")  # makes the class in the same action
    note()
    project.ensure_class("dust")
    note()
    project.set_class([1, 2], "dust")
    note()
    project.delete([1, 2])
    note()

    for state in reversed(states[:-1]):
        assert project.undo() is not None
        assert (seen(project), [c.name for c in project.classes()]) == state
    assert project.undo() is None
    for state in states[1:]:
        assert project.redo() is not None
        assert (seen(project), [c.name for c in project.classes()]) == state
    assert project.redo() is None


def test_undo_and_redo_go_on_after_a_restart(open_project):
    with open_project() as project:
        for _ in range(5):
            accept(project)
        project.undo()
        project.undo()
    with open_project() as project:
        assert list(seen(project)) == [1, 2, 3]
        assert (project.can_undo, project.can_redo) == (True, True)
        project.redo()
        for _ in range(4):
            project.undo()
        assert (project.can_undo, project.can_redo) == (False, True)
    with open_project() as project:
        while project.redo():
            pass
        assert list(seen(project)) == [1, 2, 3, 4, 5]


def test_a_new_action_gives_up_what_was_undone_but_the_table_keeps_it(project):
    accept(project, "cell")
    accept(project)
    project.undo()
    project.undo()
    new = accept(project, "cell")

    assert not project.can_redo
    assert project.redo() is None
    assert seen(project) == {new: "cell"}
    assert new == 3  # ids are never used twice
    states = {action.id: (action.kind, action.state) for action in project.history(everything=True)}
    assert states == {
        1: ("accept", "abandoned"), 2: ("accept", "abandoned"), 3: ("undo", "log"), 4: ("undo", "log"),
        5: ("accept", "done"),
    }  # fmt: skip
    assert [action.id for action in project.history()] == [5]


def test_the_history_says_who_did_what_to_how_many(project):
    accept(project)
    accept(project)
    project.delete([1, 2])
    project.undo()
    newest = project.history(1)[0]
    assert (newest.kind, newest.state, newest.n_objects, newest.summary) == ("delete", "undone", 2, "delete 2 objects")
    log = project.history(1, everything=True)[0]
    assert (log.kind, log.target_id, log.summary) == ("undo", newest.id, "undo: delete 2 objects")


def test_the_masks_of_undone_and_deleted_objects_come_back_bit_by_bit(project, rng):
    mask = rng.random((700, 700)) < 0.4
    mask[0, 0] = mask[-1, -1] = True
    stored = project.accept(Box(300, 300, 1000, 1000), mask)
    project.delete(stored.id)
    project.undo()
    project.undo()
    project.redo()
    np.testing.assert_array_equal(project.object(stored.id).mask, mask)


def test_undoing_the_delete_of_many_objects_brings_each_back(project):
    ids = [accept(project, "a" if n % 3 else "b") for n in range(30)]
    before = seen(project)
    project.set_class(ids[:20], "c")
    project.delete(ids)
    assert seen(project) == {}
    assert list(project.objects(Box(0, 0, 50, 50))) == []
    project.undo()
    assert len(list(project.objects(Box(0, 0, 50, 50)))) == 30
    project.undo()
    assert seen(project) == before


def test_a_revised_object_keeps_its_id_and_gets_its_old_mask_back(project, rng):
    old = rng.random((600, 900)) < 0.5
    old[0, 0] = old[-1, -1] = True
    stored = project.accept(Box(0, 0, 600, 900), old, class_name="cell", clicks=[Click(1, 1)], score=0.5)
    other = accept(project)
    new = np.ones((700, 200), bool)

    revised = project.revise(stored.id, Box(100, 400, 800, 600), new, clicks=[Click(2, 2), Click(3, 3)], score=0.9)

    assert (revised.id, revised.class_name, revised.n_clicks, revised.score) == (stored.id, "cell", 2, 0.9)
    assert revised.box == Box(100, 400, 800, 600)
    assert revised.mask.all()
    assert project.object_at(450, 450).id == stored.id  # lies on top now
    assert [o.id for o in project.objects(Box(0, 0, 50, 50))] == [other]
    for _ in range(2):
        project.undo()
        back = project.object(stored.id)
        assert (back.box, back.n_clicks, back.score, back.action_id) == (stored.box, 1, 0.5, stored.action_id)
        np.testing.assert_array_equal(back.mask, old)
        assert project.object_at(5, 5).id == other
        project.redo()
        np.testing.assert_array_equal(project.object(stored.id).mask, new)
    assert project.origin(stored.id)[0] == (Click(2, 2), Click(3, 3))


def test_only_tiles_that_differ_are_kept_by_a_revision(project):
    mask = np.ones((1024, 1024), bool)
    stored = project.accept(Box(0, 0, 1024, 1024), mask)
    mask = mask.copy()
    mask[0, 0] = False
    project.revise(stored.id, Box(0, 0, 1024, 1024), mask)
    with project._database.read() as db:
        rows = db.execute('SELECT object_id, "row", "column", "full", bits FROM replaced_tiles').fetchall()
    assert rows == [(stored.id, 0, 0, 1, None)]


def test_what_an_action_replaced_can_be_read_with_plain_sql(project):
    accept(project, "cell")
    project.set_class(1, "dust")
    with project._database.read() as db:
        rows = db.execute(
            """SELECT a.kind, json_extract(c."before", '$.class_id'), json_extract(c."after", '$.class_id')
            FROM changes AS c JOIN actions AS a ON a.id = c.action_id
            WHERE c.entity = 'object' AND c.entity_id = 1 ORDER BY a.id"""
        ).fetchall()
    assert rows == [("accept", None, None), ("class-change", 2, 3)]

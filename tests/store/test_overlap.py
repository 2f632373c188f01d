"""What becomes of pixels that two objects want, by each of the three rules; all of it comes back by undo."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_relay.errors import EmptyProposalError, UsageError
from napari_relay.geometry import Box, Plane
from napari_relay.store import Actor, Change, NewObject, Overlap, Project

WHOLE = Box(0, 0, 1300, 1500)


@pytest.fixture
def project(open_project) -> Project:
    return open_project(overlap="keep")


def square(y: int, x: int, side: int) -> tuple[Box, np.ndarray]:
    return Box(y, x, y + side, x + side), np.ones((side, side), bool)


def test_a_new_project_lets_existing_objects_keep_their_pixels(open_project, tmp_path):
    with Project.open(tmp_path / "new.relay", fingerprint="a", shape=(100, 100)) as project:
        assert project.overlap is Overlap.KEEP
        project.overlap = "replace"
    with Project.open(tmp_path / "new.relay") as project:
        assert project.overlap is Overlap.REPLACE
        with pytest.raises(UsageError, match="keep, replace, allow"):
            project.overlap = "sometimes"


def test_keep_gives_the_new_object_what_is_left(project):
    first = project.accept(*square(0, 0, 100))
    second = project.accept(*square(50, 50, 100))
    assert project.object(first.id) == first
    assert second.area == 100 * 100 - 50 * 50
    assert not second.mask[:50, :50].any()
    labels = project.labels(WHOLE)
    assert ((labels == first.id).sum(), (labels == second.id).sum()) == (first.area, second.area)


def test_keep_gives_a_new_object_a_tighter_box(project):
    project.accept(*square(0, 0, 100))
    box, mask = Box(0, 50, 100, 200), np.ones((100, 150), bool)
    assert project.accept(box, mask).box == Box(0, 100, 100, 200)


def test_a_mask_of_which_nothing_is_left_is_refused_and_changes_nothing(project):
    project.accept(*square(0, 0, 100))
    with pytest.raises(EmptyProposalError, match="belongs to other objects"):
        project.accept(*square(10, 10, 20), class_name="new")
    assert len(project.history(None, everything=True)) == 1
    assert [c.name for c in project.classes()] == ["object"]


def test_replace_takes_pixels_from_those_below_and_undo_gives_them_back(project, rng):
    mask = rng.random((900, 900)) < 0.5
    mask[0, 0] = mask[-1, -1] = True
    first = project.accept(Box(0, 0, 900, 900), mask)
    before = project.labels(WHOLE)

    second = project.accept(*square(600, 500, 400), overlap=Overlap.REPLACE)

    assert second.area == 400 * 400
    left = project.object(first.id)
    expected = mask.copy()
    expected[600:, 500:900] = False
    assert left.box == Box(0, 0, 900, 900)  # its first columns reach down to there
    np.testing.assert_array_equal(left.mask, expected)
    assert left.area == expected.sum()
    after = project.labels(WHOLE)
    assert project.history(1)[0].summary == "accept object, cutting object 1"
    for _ in range(2):
        project.undo()
        np.testing.assert_array_equal(project.labels(WHOLE), before)
        assert project.object(first.id) == first
        np.testing.assert_array_equal(project.object(first.id).mask, mask)
        project.redo()
        np.testing.assert_array_equal(project.labels(WHOLE), after)
        assert project.object(first.id) == left


@pytest.mark.parametrize(
    ("cut", "left"),
    [
        (Box(0, 0, 400, 700), Box(400, 0, 700, 700)),
        (Box(300, 0, 700, 700), Box(0, 0, 300, 700)),
        (Box(0, 0, 700, 600), Box(0, 600, 700, 700)),
        (Box(0, 10, 700, 700), Box(0, 0, 700, 10)),
        (Box(0, 0, 600, 600), Box(0, 0, 700, 700)),
        (Box(100, 100, 600, 600), Box(0, 0, 700, 700)),
    ],
)
def test_the_box_of_a_cut_object_is_tight_on_every_side(project, cut, left):
    first = project.accept(*square(0, 0, 700))
    project.accept(cut, np.ones(cut.shape, bool), overlap="replace")
    stored = project.object(first.id)
    assert (stored.box, stored.area) == (left, 700 * 700 - cut.area)
    assert next(o.id for o in project.objects(left)) == first.id


def test_replace_deletes_an_object_of_which_nothing_is_left(project):
    first = project.accept(*square(20, 20, 30))
    project.accept(*square(0, 0, 100), overlap="replace")
    assert [o.id for o in project.objects()] == [2]
    assert project.count() == 1
    project.undo()
    assert list(project.objects()) == [first]
    assert project.object(1).mask.all()


def test_what_is_locked_keeps_its_pixels_and_what_is_reviewed_from_a_model(project):
    states = ["locked", "reviewed", "accepted"]
    for n, state in enumerate(states):
        project.accept(*square(0, 100 * n, 50))
        project.set_state(n + 1, state)
    wide = Box(0, 0, 50, 300)
    new = project.accept(wide, np.ones(wide.shape, bool), overlap="replace", actor=Actor.MODEL)
    assert [project.object(n).area for n in (1, 2)] == [2500, 2500]
    assert new.area == 50 * 300 - 2 * 2500
    assert 3 not in [o.id for o in project.objects()]
    project.undo()
    new = project.accept(wide, np.ones(wide.shape, bool), overlap="replace")
    assert [o.id for o in project.objects()] == [1, new.id]
    assert new.area == 50 * 300 - 2500


def test_allow_leaves_both_and_the_later_one_on_top(project):
    first = project.accept(*square(0, 0, 100))
    second = project.accept(*square(50, 50, 100), overlap="allow")
    assert (first.area, second.area) == (100 * 100, 100 * 100)
    assert project.object_at(60, 60).id == second.id


@pytest.mark.parametrize("state", ["proposed", "rejected"])
def test_hidden_objects_own_no_pixels_and_want_none(project, state):
    hidden = project.accept(*square(0, 0, 100), state=state)
    shown = project.accept(*square(0, 0, 100))
    assert shown.area == 100 * 100
    again = project.accept(*square(50, 50, 100), state=state)
    assert (again.area, project.object(hidden.id).area) == (100 * 100, 100 * 100)


def test_objects_of_another_plane_do_not_matter(open_project):
    with open_project("z.relay", overlap="keep", sizes=(1, 2)) as project:
        project.accept(*square(0, 0, 100))
        assert project.accept(*square(0, 0, 100), plane=Plane(0, 1)).area == 100 * 100


def test_a_revision_follows_the_rule_but_not_against_itself(project):
    first = project.accept(*square(0, 0, 100))
    project.accept(*square(0, 100, 100))
    wide = Box(0, 0, 100, 150)
    assert project.revise(first.id, wide, np.ones(wide.shape, bool)).area == 100 * 100
    assert project.revise(first.id, wide, np.ones(wide.shape, bool), overlap="replace").area == 100 * 150
    assert project.object(2).box == Box(0, 150, 100, 200)
    project.undo()
    assert project.object(2).box == Box(0, 100, 100, 200)


def test_a_small_cut_in_a_large_object_dirties_only_its_tiles(project):
    project.accept(WHOLE, np.ones(WHOLE.shape, bool))
    project.journal.forget(project.journal.tiles(100))
    project.accept(*square(600, 600, 50), overlap="replace")
    assert project.journal.positions() == {(0, 0, 1, 1)}
    project.journal.forget(project.journal.tiles(100))
    project.undo()
    assert project.journal.positions() == {(0, 0, 1, 1)}


def test_what_would_happen_can_be_asked_before(project):
    project.accept(*square(0, 0, 100))
    project.accept(*square(0, 100, 100))
    project.set_state(2, "locked")
    wide = Box(0, 50, 100, 150)
    kept = project.settle(wide, np.ones(wide.shape, bool))
    assert (kept.lost, kept.taken, kept.box.empty) == (100 * 100, {}, True)
    replaced = project.settle(wide, np.ones(wide.shape, bool), overlap="replace")
    assert (replaced.lost, replaced.taken, replaced.box) == (100 * 50, {1: 100 * 50}, Box(0, 50, 100, 100))
    assert len(project.history(None, everything=True)) == 3


def test_an_import_may_follow_a_rule_too(project):
    project.accept(*square(0, 0, 100))
    masks = [square(20, 20, 10), square(50, 50, 100), square(60, 60, 100)]
    new = [NewObject(*one) for one in masks]

    imported = project.import_objects(new, overlap="keep")
    assert (imported.left_out, len(imported.ids)) == ((0,), 2)
    assert [project.object(i).area for i in imported.ids] == [7500, 100 * 100 - 90 * 90]
    project.undo()

    imported = project.import_objects(new, overlap="replace")
    assert imported.left_out == ()
    assert [project.object(i).area for i in (1, *imported.ids)] == [7500 - 100, 100, 100 * 100 - 90 * 90, 100 * 100]
    project.undo()
    assert project.object(1).area == 100 * 100

    with pytest.raises(UsageError, match="no object to import"):
        project.import_objects([NewObject(*masks[0])], overlap="keep")


def test_an_object_that_its_own_import_swallows_is_left_out(project):
    imported = project.import_objects(
        [NewObject(*square(20, 20, 10)), NewObject(*square(0, 0, 100))], overlap="replace"
    )
    assert imported.left_out == (0,)
    assert [o.id for o in project.objects()] == list(imported.ids)
    project.undo()
    assert project.count() == 0
    project.redo()
    assert [o.id for o in project.objects()] == list(imported.ids)


def test_listeners_hear_of_those_that_lost_pixels(project):
    project.accept(*square(0, 0, 100))
    heard: list[Change] = []
    project.changed.connect(heard.append)
    project.accept(*square(50, 50, 100), overlap="replace")
    assert [(change.kind, change.ids) for change in heard] == [("accept", (2,)), ("overlap", (1,))]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rule=st.sampled_from(["keep", "replace"]))
def test_with_keep_and_replace_no_pixel_has_two_owners(tmp_path_factory, seed, rule):
    rng = np.random.default_rng(seed)
    folder = tmp_path_factory.mktemp("overlap")
    with Project.open(folder / "a.relay", fingerprint="a", shape=(700, 700)) as project:
        project.overlap = rule
        owners = np.zeros((700, 700), np.uint32)
        for _ in range(5):
            y, x, height, width = (int(v) for v in rng.integers([0, 0, 1, 1], [400, 400, 300, 300]))
            box, mask = Box(y, x, y + height, x + width), rng.random((height, width)) < 0.6
            settled = project.settle(box, mask) if mask.any() else None
            if settled is None or settled.box.empty:
                continue
            stored = project.accept(box, mask)
            target = owners[box.slices]
            target[mask & ((target == 0) | (rule == "replace"))] = stored.id
            assert (stored.box, stored.area) == (settled.box, int(settled.mask.sum()))
        np.testing.assert_array_equal(project.labels(Box(0, 0, 700, 700)), owners)
        for stored in project.objects():
            assert stored.area == (owners == stored.id).sum()
            assert stored.mask.any(axis=1)[[0, -1]].all()
            assert stored.mask.any(axis=0)[[0, -1]].all()
        assert sum(stored.area for stored in project.objects()) == np.count_nonzero(owners)

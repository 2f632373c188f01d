"""Holes, islands and outlines are cleaned by settings, and every change of them can be taken back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_relay.errors import EmptyProposalError, UsageError
from napari_relay.geometry import Box
from napari_relay.store import CleaningRules, NewObject, ObjectState, Project
from napari_relay.store.mask_cleaning import cleaned

WHOLE = Box(400, 400, 640, 640)
"""Over the corner of four mask tiles."""


def ragged() -> np.ndarray:
    """A square with a small and a large hole and a small and a large island, bool [240, 240]."""
    mask = np.zeros(WHOLE.shape, bool)
    mask[40:200, 40:140] = True
    mask[60:63, 60:63] = False
    mask[100:140, 80:120] = False
    mask[10:13, 10:13] = True
    mask[40:100, 160:200] = True
    return mask


def seen(project: Project, object_id: int) -> np.ndarray:
    return project.object(object_id).mask_in(WHOLE)


def test_each_setting_does_its_own(project):
    project.set_cleaning(CleaningRules(holes_px=9, islands_px=9))
    stored = project.accept(WHOLE, ragged())
    expected = ragged()
    expected[60:63, 60:63] = True
    expected[10:13, 10:13] = False
    np.testing.assert_array_equal(seen(project, stored.id), expected)
    assert stored.area == expected.sum()
    project.set_cleaning(CleaningRules(holes_px=5000, islands_px=1e6))
    expected[100:140, 80:120] = True
    expected[:, 150:] = False
    np.testing.assert_array_equal(seen(project, stored.id), expected)  # the largest piece stays


def test_other_settings_go_from_the_mask_as_it_was_accepted(project):
    raw = project.accept(WHOLE, ragged())
    project.set_cleaning(CleaningRules(smooth_px=4))
    smooth = seen(project, raw.id)
    assert not np.array_equal(smooth, ragged())
    later = project.accept(WHOLE, ragged())
    np.testing.assert_array_equal(seen(project, later.id), smooth)
    project.set_cleaning(CleaningRules(holes_px=1e6))
    project.set_cleaning(CleaningRules())
    for stored in (raw, later):
        np.testing.assert_array_equal(seen(project, stored.id), ragged())
        assert project.object(stored.id).area == ragged().sum()


def test_undo_brings_masks_and_settings_back_and_redo_too(project):
    stored = project.accept(WHOLE, ragged())
    states = [(project.cleaning, seen(project, stored.id))]
    for rules in (CleaningRules(holes_px=9), CleaningRules(smooth_px=3, islands_px=20), CleaningRules()):
        project.set_cleaning(rules)
        states.append((project.cleaning, seen(project, stored.id)))
    for rules, mask in reversed(states[:-1]):
        project.undo()
        assert project.cleaning == rules
        np.testing.assert_array_equal(seen(project, stored.id), mask)
    for rules, mask in states[1:]:
        project.redo()
        assert project.cleaning == rules
        np.testing.assert_array_equal(seen(project, stored.id), mask)


def test_what_was_drawn_on_since_keeps_its_mask_until_that_is_undone(project):
    project.set_cleaning(CleaningRules(holes_px=1e6))
    stored = project.accept(WHOLE, ragged())
    project.paint(stored.id, Box(610, 610, 630, 630), np.ones((20, 20), bool))
    drawn = seen(project, stored.id)
    project.set_cleaning(CleaningRules())
    np.testing.assert_array_equal(seen(project, stored.id), drawn)
    project.undo()
    project.undo()
    project.set_cleaning(CleaningRules())
    np.testing.assert_array_equal(seen(project, stored.id), ragged())


def test_a_corrected_object_is_cleaned_and_its_older_mask_comes_back_with_undo(project):
    project.set_cleaning(CleaningRules(holes_px=9))
    stored = project.accept(WHOLE, ragged())
    first = seen(project, stored.id)
    other = np.roll(ragged(), 5, axis=1)
    project.revise(stored.id, WHOLE, other)
    assert seen(project, stored.id)[61, 66], "its small hole is filled, too"
    project.undo()
    np.testing.assert_array_equal(seen(project, stored.id), first)
    project.set_cleaning(CleaningRules())
    np.testing.assert_array_equal(seen(project, stored.id), ragged())


def test_pixels_of_others_and_locked_objects_stay(project):
    project.overlap = "keep"
    inner = project.accept(Box(505, 485, 525, 505), np.ones((20, 20), bool))
    outer = project.accept(WHOLE, ragged())
    locked = project.accept(Box(0, 0, 240, 240), ragged())
    project.set_state(locked.id, ObjectState.LOCKED)
    project.set_cleaning(CleaningRules(holes_px=1e6))
    assert not (seen(project, outer.id) & seen(project, inner.id)).any()
    assert project.object(inner.id).area == 400
    assert project.object(locked.id).area == ragged().sum()
    with pytest.raises(UsageError):
        project.clean(locked.id)


def test_chosen_objects_are_cleaned_by_other_settings_than_the_projects(project):
    one, two = project.accept(WHOLE, ragged()), project.accept(WHOLE, ragged())
    project.clean(one.id, CleaningRules(holes_px=9))
    assert project.object(one.id).area == project.object(two.id).area + 9
    assert project.cleaning == CleaningRules()
    with pytest.raises(EmptyProposalError):
        project.clean(two.id)
    project.clean(one.id)
    np.testing.assert_array_equal(seen(project, one.id), ragged())


def test_settings_and_raw_masks_outlast_a_restart(open_project):
    project = open_project()
    project.set_cleaning(CleaningRules(holes_px=9))
    stored = project.accept(WHOLE, ragged())
    project.close()
    project = open_project()
    assert project.cleaning == CleaningRules(holes_px=9)
    project.set_cleaning(CleaningRules())
    np.testing.assert_array_equal(seen(project, stored.id), ragged())


@pytest.mark.parametrize("wrong", [{"holes_px": -1}, {"smooth_px": float("nan")}, {"islands_px": "9"}])
def test_settings_that_are_none_are_refused(wrong):
    with pytest.raises(UsageError):
        CleaningRules(**wrong)


@given(seed=st.integers(0, 2**32 - 1), rules=st.builds(
    CleaningRules, st.integers(0, 40), st.integers(0, 40), st.floats(0, 5)))  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_cleaning_leaves_something_inside_the_masks_box(seed, rules):
    rng = np.random.default_rng(seed)
    mask = rng.random(rng.integers(1, 30, 2)) < rng.uniform(0.1, 1)
    mask[0, 0] = mask[-1, -1] = True
    box = Box(7, 9, 7 + mask.shape[0], 9 + mask.shape[1])
    new_box, new = cleaned(box, mask, rules)
    assert new.any()
    assert box.covers(new_box)
    assert new.shape == new_box.shape
    again = cleaned(box, mask, CleaningRules())
    assert again[1] is mask


def test_proposals_are_cleaned_on_the_way_in_and_their_masks_come_back(project):
    project.set_cleaning(CleaningRules(holes_px=9, islands_px=9))

    proposed = project.propose([NewObject(WHOLE, ragged())])

    expected = ragged()
    expected[60:63, 60:63] = True
    expected[10:13, 10:13] = False
    np.testing.assert_array_equal(seen(project, proposed.ids[0]), expected)
    project.accept_proposals(proposed.ids)
    np.testing.assert_array_equal(seen(project, proposed.ids[0]), expected)
    project.set_cleaning(CleaningRules())
    np.testing.assert_array_equal(seen(project, proposed.ids[0]), ragged())


@pytest.mark.parametrize("clean", [True, False])
def test_imports_come_in_as_they_are_unless_they_are_to_be_cleaned(project, clean):
    project.set_cleaning(CleaningRules(smooth_px=4))
    first = project.accept(WHOLE, ragged())
    smooth = seen(project, first.id)

    (imported,) = project.import_objects([NewObject(WHOLE, ragged())], clean=clean).ids

    np.testing.assert_array_equal(seen(project, imported), smooth if clean else ragged())
    project.set_cleaning(CleaningRules())
    np.testing.assert_array_equal(seen(project, imported), ragged())
    project.undo()
    np.testing.assert_array_equal(seen(project, imported), smooth if clean else ragged())
    project.set_cleaning(CleaningRules(smooth_px=4.5))
    assert not np.array_equal(seen(project, imported), ragged()), "later settings count for imports too"


def test_cleaning_very_many_tells_how_far_it_is_and_can_be_given_up(project):
    ring = np.ones((9, 9), bool)
    ring[4, 4] = False
    ids = project.import_objects([NewObject(Box(12 * k, 0, 12 * k + 9, 9), ring) for k in range(80)]).ids
    before = project.history()

    steps = project.cleaning_steps(CleaningRules(holes_px=3))
    assert next(steps) == (50, 80)
    steps.close()

    assert project.cleaning == CleaningRules()
    assert project.history() == before
    assert {stored.area for stored in project.rows(ids)} == {80}
    project.accept(Box(0, 500, 9, 509), ring)  # the project is free again

    assert list(project.cleaning_steps(CleaningRules(holes_px=3))) == [(50, 81), (81, 81)]
    assert {stored.area for stored in project.rows(ids)} == {81}
    project.undo()
    assert {stored.area for stored in project.rows(ids)} == {80}


def test_a_proposal_that_was_painted_on_before_it_was_accepted_keeps_the_stroke(project):
    project.set_cleaning(CleaningRules(holes_px=9))
    (found,) = project.propose([NewObject(WHOLE, ragged())]).ids
    project.paint(found, Box(400, 400, 440, 440), np.ones((40, 40), bool))
    painted = seen(project, found)

    project.accept_proposals(found)
    project.set_cleaning(CleaningRules())

    np.testing.assert_array_equal(seen(project, found), painted)

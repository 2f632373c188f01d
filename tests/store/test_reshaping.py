"""Merging and splitting: one action each, no pixel lost, ids and history go on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_relay.errors import UsageError
from napari_relay.geometry import Box, Click, Plane
from napari_relay.store import Actor, NewObject, parts_by_line

WHOLE = Box(0, 0, 1300, 1500)


def accept(project, y: int, x: int, height: int, width: int, **settings):
    return project.accept(Box(y, x, y + height, x + width), np.ones((height, width), bool), **settings)


def test_merged_objects_become_the_one_of_the_lowest_id(project):
    accept(project, 0, 0, 600, 600, class_name="cell", clicks=[Click(5, 5)], score=0.9)
    accept(project, 300, 300, 600, 600, class_name="dust", clicks=[Click(800, 800), Click(850, 850, False)])
    accept(project, 1200, 1200, 50, 50)
    shown = project.labels(WHOLE) > 0

    merged = project.merge([3, 1, 2])

    assert [o.id for o in project.objects()] == [1]
    assert (merged.id, merged.class_name, merged.box, merged.area) == (1, "cell", Box(0, 0, 1250, 1250), shown.sum())
    assert (merged.n_clicks, merged.score) == (3, None)
    assert project.origin(1)[0] == (Click(5, 5), Click(800, 800), Click(850, 850, False))
    np.testing.assert_array_equal(project.labels(WHOLE), np.where(shown, 1, 0))
    assert (merged.mask.sum(), project.history(1)[0].kind) == (merged.area, "merge")


def test_a_merge_is_taken_back_as_a_whole(project, rng):
    for n in range(4):
        mask = rng.random((700, 400)) < 0.5
        mask[0, 0] = mask[-1, -1] = True
        project.accept(Box(100 * n, 200 * n, 100 * n + 700, 200 * n + 400), mask)
    before, labels = list(project.objects()), project.labels(WHOLE)
    masks = [o.mask for o in before]
    project.merge([2, 4, 3])
    after = project.labels(WHOLE)
    for _ in range(2):
        project.undo()
        assert list(project.objects()) == before
        np.testing.assert_array_equal(project.labels(WHOLE), labels)
        for stored, mask in zip(project.objects(), masks, strict=True):
            np.testing.assert_array_equal(stored.mask, mask)
        project.redo()
        np.testing.assert_array_equal(project.labels(WHOLE), after)
    assert project.count() == 2


def test_what_cannot_be_merged_changes_nothing(open_project):
    with open_project("planes.relay", sizes=(1, 2)) as project:
        accept(project, 0, 0, 10, 10)
        accept(project, 0, 20, 10, 10, plane=Plane(0, 1))
        accept(project, 0, 40, 10, 10, state="reviewed")
        for ids, settings_, words in (
            ([1], {}, "alone"), ([1, 2], {}, "planes"), ([1, 9], {}, "no object 9"),
            ([1, 3], {"actor": Actor.MODEL}, "reviewed"),
        ):  # fmt: skip
            with pytest.raises(UsageError, match=words):
                project.merge(ids, **settings_)
        assert project.count() == 3
        assert len(project.history(None)) == 3


def test_a_split_object_keeps_its_id_in_the_largest_part(project):
    stored = accept(project, 100, 100, 100, 300, class_name="cell", clicks=[Click(150, 150)], score=0.8)
    project.set_note(stored.id, "two nuclei")
    parts = parts_by_line(stored.box, stored.mask, [(90.0, 200.0), (210.0, 200.0)])

    action, ids = project.split(stored.id, parts)

    assert (action.kind, action.n_objects, ids) == ("split", 2, (1, 2))
    first, second = project.rows(ids)
    assert first.area > second.area
    assert first.area + second.area == stored.area
    assert (second.class_name, second.note, second.state) == ("cell", "two nuclei", "accepted")
    assert project.origin(1)[0] == (Click(150, 150),)
    assert (first.box.width, second.box.width) in [(199, 101), (200, 100)]
    project.undo()
    assert [o.area for o in project.objects()] == [stored.area]
    np.testing.assert_array_equal(project.object(1).mask, stored.mask)
    project.redo()
    assert [o.id for o in project.objects()] == [1, 2]


def test_a_locked_object_is_neither_split_nor_merged(project):
    accept(project, 0, 0, 10, 10)
    accept(project, 0, 20, 10, 10)
    project.set_state(1, "locked")
    parts = [(Box(0, 0, 10, 5), np.ones((10, 5), bool)), (Box(0, 5, 10, 10), np.ones((10, 5), bool))]
    with pytest.raises(UsageError, match="locked"):
        project.split(1, parts)
    with pytest.raises(UsageError, match="locked"):
        project.merge([1, 2])
    with pytest.raises(UsageError, match="one part"):
        project.split(2, parts[:1])


def test_a_line_that_does_not_cut_through_divides_nothing():
    box, mask = Box(10, 10, 60, 60), np.ones((50, 50), bool)
    for line in ([(0.0, 30.0), (40.0, 30.0)], [(100.0, 100.0), (120.0, 90.0)], [(20.0, 20.0)]):
        ((same, pixels),) = parts_by_line(box, mask, line)
        assert same == box
        np.testing.assert_array_equal(pixels, mask)


def test_pieces_that_the_line_does_not_meet_stay_with_the_largest_part():
    mask = np.zeros((20, 60), bool)
    mask[:, :40] = True
    mask[5:8, 50:55] = True
    parts = parts_by_line(Box(0, 0, 20, 60), mask, [(-5.0, 10.0), (30.0, 10.0)])
    assert len(parts) == 2
    assert parts[0][0].x1 == 55
    assert sum(int(part.sum()) for _, part in parts) == mask.sum()


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_parts_by_a_line_cover_the_mask_once(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    height, width = int(rng.integers(1, 60)), int(rng.integers(1, 60))
    mask = rng.random((height, width)) < rng.choice([0.5, 0.9, 1.1])
    mask[0, 0] = True
    box = Box(100, 200, 100 + height, 200 + width)
    line = [(float(100 + y), float(200 + x)) for y, x in rng.integers(-10, 70, (int(rng.integers(2, 5)), 2))]
    total = np.zeros((height, width), int)
    parts = parts_by_line(box, mask, line)
    if len(parts) == 1:
        assert parts[0][0] == box
        np.testing.assert_array_equal(parts[0][1], mask)
        return
    for part_box, pixels in parts:
        assert pixels.any(axis=0)[[0, -1]].all()
        assert pixels.any(axis=1)[[0, -1]].all()
        total[part_box.relative_to(box).slices] += pixels
    np.testing.assert_array_equal(total, mask)


def test_a_slanted_line_leaks_nowhere():
    mask = np.ones((101, 101), bool)
    for end in (0, 13, 37, 50, 77, 100):
        parts = parts_by_line(Box(0, 0, 101, 101), mask, [(-1.0, float(end)), (101.0, float(100 - end))])
        assert len(parts) == 2
    assert len(parts_by_line(Box(0, 0, 101, 101), mask, [(-1.0, -1.0), (101.0, 101.0)])) == 2


def test_merging_all_parts_gives_the_object_back(project, rng):
    mask = rng.random((300, 300)) < 0.9
    mask[0, 0] = mask[-1, -1] = True
    imported = project.import_objects([NewObject(Box(500, 500, 800, 800), mask)])
    stored = project.object(imported.ids[0])
    _, ids = project.split(stored.id, parts_by_line(stored.box, stored.mask, [(490.0, 640.0), (810.0, 660.0)]))
    assert len(ids) >= 2
    merged = project.merge(ids)
    assert (merged.id, merged.box, merged.area) == (stored.id, stored.box, stored.area)
    np.testing.assert_array_equal(merged.mask, mask)

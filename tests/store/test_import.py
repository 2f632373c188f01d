"""Many objects taken in as one action."""

from __future__ import annotations

import numpy as np
import pytest

from napari_relay.errors import EmptyProposalError, UsageError
from napari_relay.geometry import Box, Plane
from napari_relay.store import Actor, Change, NewObject, ObjectState


def some(rng: np.random.Generator, shape: tuple[int, int], count: int) -> list[NewObject]:
    """Speckled objects of every size up to 300 pixels, anywhere."""
    made = []
    for _ in range(count):
        height, width = (int(side) for side in rng.integers(1, 300, 2))
        y, x = int(rng.integers(0, shape[0] - height)), int(rng.integers(0, shape[1] - width))
        mask = rng.random((height, width)) < 0.4
        mask[0, 0] = mask[-1, -1] = True
        made.append(NewObject(Box(y, x, y + height, x + width), mask, class_name=str(rng.choice(["a", "b"]))))
    return made


def test_imported_objects_come_in_order_with_all_that_is_known_of_them(open_project):
    with open_project(sizes=(1, 3)) as project:
        ring = np.ones((9, 9), bool)
        ring[3:6, 3:6] = False
        given = NewObject(
            Box(100, 100, 109, 109), ring, class_name="gland", plane=Plane(0, 2), state=ObjectState.PROPOSED,
            score=0.75, seconds=3.5, checkpoint="abc", author="QuPath", created="2020-01-01T00:00:00.000Z",
            note="from the file", n_clicks=2,
        )  # fmt: skip
        imported = project.import_objects([given, NewObject(Box(0, 0, 9, 9), ring)], summary="labels.tif")
        first, second = project.rows(imported.ids)
        assert [first.id, second.id] == list(imported.ids)
        np.testing.assert_array_equal(first.mask, ring)
        assert (first.class_name, first.plane, first.state, first.score) == ("gland", Plane(0, 2), "proposed", 0.75)
        assert (first.seconds, first.checkpoint, first.author, first.note) == (3.5, "abc", "QuPath", "from the file")
        assert (first.created, first.n_clicks) == ("2020-01-01T00:00:00.000Z", 2)
        assert (second.class_name, second.state) == ("object", "accepted")
        action = imported.action
        assert (action.kind, action.n_objects) == ("import", 2)
        assert action.summary == "import 2 objects from labels.tif"


def test_an_import_is_one_action_for_undo(project, rng):
    project.accept(Box(0, 0, 5, 5), np.ones((5, 5), bool))
    before = project.labels(Box(0, 0, *project.shape))
    imported = project.import_objects(some(rng, project.shape, 40))
    after = project.labels(Box(0, 0, *project.shape))
    assert project.count() == 41
    project.undo()
    assert [o.id for o in project.objects()] == [1]
    assert [c.name for c in project.classes()] == ["object"]
    np.testing.assert_array_equal(project.labels(Box(0, 0, *project.shape)), before)
    project.redo()
    assert [o.id for o in project.objects()] == [1, *imported.ids]
    np.testing.assert_array_equal(project.labels(Box(0, 0, *project.shape)), after)


def test_classes_that_an_import_makes_take_its_colours(project):
    project.ensure_class("known")
    mask = np.ones((3, 3), bool)
    project.import_objects(
        [NewObject(Box(0, 0, 3, 3), mask, class_name=name) for name in ("known", "new", "plain")],
        colors={"known": "#000000", "new": "#ABCDEF"},
    )
    colors = {c.name: c.color for c in project.classes()}
    assert colors["new"] == "#abcdef"
    assert colors["known"] != "#000000"
    with pytest.raises(UsageError, match="not a colour"):
        project.import_objects([NewObject(Box(0, 0, 3, 3), mask, class_name="bad")], colors={"bad": "red"})


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        (NewObject(Box(0, 0, 3, 3), np.zeros((3, 3), bool)), EmptyProposalError, "no pixel"),
        (NewObject(Box(1299, 0, 1302, 3), np.ones((3, 3), bool)), UsageError, "hangs over"),
        (NewObject(Box(0, 0, 3, 3), np.ones((3, 4), bool)), UsageError, "needs bool"),
        (NewObject(Box(0, 0, 3, 3), np.ones((3, 3), bool), plane=Plane(1, 0)), UsageError, "outside"),
        (NewObject(Box(0, 0, 3, 3), np.ones((3, 3), bool), class_name="\n"), UsageError, "class name"),
    ],
)
def test_one_bad_object_names_its_place_and_leaves_nothing_behind(project, rng, bad, error, words):
    with pytest.raises(error, match=f"Object 31 of the import: .*{words}"):
        project.import_objects([*some(rng, project.shape, 30), bad])
    assert project.count() == 0
    assert project.history(None, everything=True) == []
    assert [c.name for c in project.classes()] == ["object"]
    assert len(project.journal) == 0


def test_a_reader_that_fails_halfway_leaves_nothing_behind(project, rng):
    def read():
        yield from some(rng, project.shape, 5)
        raise RuntimeError("the file ends here")

    with pytest.raises(RuntimeError):
        project.import_objects(read())
    assert project.count() == 0
    assert not project.can_undo
    assert project.import_objects(some(rng, project.shape, 1)).ids == (1,)


def test_nothing_to_import_is_an_error(project):
    with pytest.raises(UsageError, match="no object to import"):
        project.import_objects([])


def test_what_is_imported_may_read_from_the_project(project, rng):
    first = project.accept(Box(0, 0, 40, 40), np.ones((40, 40), bool))

    def shifted():
        for stored in project.objects():
            yield NewObject(stored.box.shift(100, 0), stored.mask, class_name=stored.class_name)

    imported = project.import_objects(shifted(), actor=Actor.MODEL)
    assert imported.action.actor == Actor.MODEL
    assert [o.box for o in project.objects()] == [first.box, first.box.shift(100, 0)]


def test_a_large_import_is_told_with_one_box_and_every_id(project):
    heard: list[Change] = []
    project.changed.connect(heard.append)
    one = np.ones((1, 1), bool)
    imported = project.import_objects(NewObject(Box(y, 7, y + 1, 8), one) for y in range(1200))
    project.undo()
    assert [(c.kind, c.ids, c.boxes) for c in heard] == [
        ("import", imported.ids, (Box(0, 7, 1200, 8),)), ("undo", imported.ids, (Box(0, 7, 1200, 8),)),
    ]  # fmt: skip
    assert len(project.journal) == 3

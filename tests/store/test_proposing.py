"""What a model proposes waits in the project, and accepting it follows the overlap rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from napari_relay.errors import EmptyProposalError, UsageError
from napari_relay.geometry import Box
from napari_relay.store import Actor, Answers, NewObject, ObjectState, Project

Open = Callable[..., Project]


def square(y: int, x: int, side: int = 20, **rest: Any) -> NewObject:
    return NewObject(Box(y, x, y + side, x + side), np.ones((side, side), bool), **rest)


def test_proposals_are_one_action_of_the_model_and_in_no_label_image(project: Project) -> None:
    done = project.propose([square(0, 0, score=0.5), square(0, 5, score=0.4)], summary="instances of the whole image")

    assert done is not None
    assert (done.action.kind, done.action.actor, done.action.n_objects) == ("propose", "model", 2)
    assert done.action.summary == "propose 2 objects: instances of the whole image"
    assert [item.state for item in project.objects()] == ["proposed", "proposed"]
    assert [item.area for item in project.objects()] == [400, 400]  # they overlap, and own no pixels yet
    assert not project.labels(Box(0, 0, 100, 100)).any()
    project.undo()
    assert project.count() == 0


def test_nothing_found_is_no_action(project: Project) -> None:
    assert project.propose(iter(())) is None
    assert project.history() == []


def test_proposals_come_the_most_doubtful_first(project: Project) -> None:
    scores = [0.9, 0.2, None, 0.5]
    done = project.propose([square(0, 50 * n, score=score) for n, score in enumerate(scores)])
    assert done is not None
    project.accept(*_as_mask(square(300, 300)), score=0.1)

    ids = [int(i) for i in project.proposals()]

    assert [project.object(i).score for i in ids] == [None, 0.2, 0.5, 0.9]
    assert project.proposals(box=Box(0, 50, 10, 60)).tolist() == [done.ids[1]]
    project.set_state(project.proposals()[0], "rejected")  # ids as they come, numpy's own
    project.accept_proposals(project.proposals()[1:])
    assert project.proposals().size == 1


@pytest.mark.parametrize(("rule", "areas"), [("keep", (400, 300)), ("replace", (300, 400)), ("allow", (400, 400))])
def test_an_accepted_proposal_follows_the_overlap_rule(project: Project, rule: str, areas: tuple[int, int]) -> None:
    there = project.accept(*_as_mask(square(0, 0)))
    done = project.propose([square(0, 15, score=0.5)])
    assert done is not None
    (proposed,) = done.ids

    taken = project.accept_proposals(proposed, overlap=rule)

    assert (taken.ids, taken.left_out) == ((proposed,), ())
    assert (project.object(there.id).area, project.object(proposed).area) == areas
    assert project.object(proposed).state == "accepted"
    labels = project.labels(Box(0, 0, 20, 35))
    assert int((labels == there.id).sum()) == (400 if rule == "keep" else 300)
    project.undo()
    assert (project.object(proposed).state, project.object(proposed).area) == ("proposed", 400)
    assert project.object(there.id).area == 400
    project.redo()
    assert (project.object(there.id).area, project.object(proposed).area) == areas


def test_of_two_proposals_at_one_place_the_first_keeps_it(project: Project) -> None:
    done = project.propose([square(0, 0), square(5, 5, side=10), square(0, 10)])
    assert done is not None
    first, inside, beside = done.ids

    taken = project.accept_proposals(done.ids, overlap="keep")

    assert (taken.ids, taken.left_out) == ((first, beside), (inside,))
    assert [project.object(i).state for i in done.ids] == ["accepted", "proposed", "accepted"]
    assert (project.object(first).area, project.object(beside).area) == (400, 200)
    assert taken.action.summary == "accept proposed 2 objects"


def test_where_nothing_is_left_nothing_changes(project: Project) -> None:
    project.accept(*_as_mask(square(0, 0)))
    done = project.propose([square(2, 2, side=5)])
    assert done is not None
    before = len(project.history(None, everything=True))

    with pytest.raises(EmptyProposalError, match="Every pixel"):
        project.accept_proposals(done.ids, overlap="keep")

    assert len(project.history(None, everything=True)) == before
    assert project.object(done.ids[0]).state == "proposed"


def test_rejected_ones_can_be_accepted_and_accepted_ones_not_again(project: Project) -> None:
    done = project.propose([square(0, 0)])
    assert done is not None
    project.set_state(done.ids, ObjectState.REJECTED)
    assert project.proposals().size == 0

    project.accept_proposals(done.ids)

    with pytest.raises(UsageError, match="not a proposal"):
        project.accept_proposals(done.ids)


def test_accepted_proposals_are_rendered(open_project: Open, tmp_path: Any) -> None:
    from napari_relay.store import PyramidWriter, open_pyramid

    project = open_project(overlap="keep")
    pyramid = open_pyramid(tmp_path / "a.labels.ome.zarr", project, [project.shape])
    with PyramidWriter(project, pyramid) as writer:
        project.changed.connect(writer.schedule)
        there = project.accept(*_as_mask(square(0, 0)))
        done = project.propose([square(0, 15)])
        assert done is not None
        project.accept_proposals(done.ids)
        writer.flush()
        level = np.asarray(pyramid.arrays[0][:20, :40])

    assert {int(i): int((level == i).sum()) for i in np.unique(level)} == {0: 100, there.id: 400, done.ids[0]: 300}


def test_a_proposal_that_a_person_corrects_is_accepted_and_one_that_a_model_corrects_is_not(open_project: Open) -> None:
    project = open_project(overlap="allow")
    done = project.propose([square(0, 0), square(50, 50)])
    assert done is not None
    one, other = done.ids
    better = np.ones((10, 10), bool)

    project.revise(one, Box(0, 0, 10, 10), better)
    project.revise(other, Box(50, 50, 60, 60), better, actor=Actor.MODEL)

    assert [project.object(i).state for i in done.ids] == ["accepted", "proposed"]
    assert np.count_nonzero(project.labels(Box(0, 0, 100, 100)) == one) == 100
    project.undo()
    project.undo()
    assert [(project.object(i).state, project.object(i).area) for i in done.ids] == [("proposed", 400)] * 2


def test_the_latest_answers_are_counted(project: Project) -> None:
    done = project.propose(square(30 * row, 30 * column) for row in range(3) for column in range(3))
    assert done is not None
    ids = done.ids
    assert project.answers() == Answers(0, 0, 0)

    project.accept_proposals(ids[:3])
    project.set_state(ids[3:5], ObjectState.REJECTED)
    project.revise(ids[5], Box(200, 200, 220, 220), np.ones((20, 20), bool))
    project.set_class(ids[6], "other")
    project.set_state(ids[0], ObjectState.REVIEWED)

    assert project.answers() == Answers(decided=6, rejected=2, corrected=1)
    assert project.answers(last=3) == Answers(decided=3, rejected=2, corrected=1)
    project.undo()
    project.undo()
    project.undo()
    assert project.answers() == Answers(decided=5, rejected=2, corrected=0)


def _as_mask(new: NewObject) -> tuple[Box, Any]:
    return new.box, new.mask


def test_any_state_that_shows_a_proposal_goes_by_the_overlap_rule(project):
    project.overlap = "keep"
    there = project.accept(Box(0, 0, 20, 20), np.ones((20, 20), bool))
    half = project.accept(Box(0, 10, 20, 30), np.ones((20, 20), bool), state="proposed")
    hidden = project.accept(Box(5, 5, 10, 10), np.ones((5, 5), bool), state="proposed")

    action = project.set_state([there.id, half.id, hidden.id], "reviewed")

    assert (action.kind, action.n_objects) == ("state-change", 2)
    assert [(o.id, o.state, o.area) for o in project.objects()] == [
        (there.id, "reviewed", 400), (half.id, "reviewed", 200), (hidden.id, "proposed", 25),
    ]  # fmt: skip
    project.undo()
    assert [(o.state, o.area) for o in project.objects()] == [("accepted", 400), ("proposed", 400), ("proposed", 25)]
    project.overlap = "replace"
    project.set_state(half.id, "accepted")
    assert (project.object(half.id).area, project.object(there.id).area) == (400, 200)
    project.undo()
    project.overlap = "keep"
    with pytest.raises(EmptyProposalError):
        project.set_state(hidden.id, "accepted")
    assert project.object(there.id).area == 400

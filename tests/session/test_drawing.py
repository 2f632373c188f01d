"""Strokes, boxes and scribbles on a proposal: what is drawn holds, and is taken back as one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_relay.errors import ClickError
from napari_relay.geometry import Box, Click
from napari_relay.session.edits import Edit, EditKind, edited
from napari_relay.session.region import Region

SHAPE = (300, 300)


def full(proposal) -> np.ndarray:
    whole = np.zeros(SHAPE, bool)
    whole[proposal.box.slices] = proposal.mask
    return whole


def stroke(box: Box) -> tuple[Box, np.ndarray]:
    return box, np.ones(box.shape, bool)


@pytest.fixture
def session(session_on, discs):
    return session_on(discs(SHAPE, (100, 100, 40), (210, 210, 50)))


def test_a_mask_is_drawn_without_asking_the_model(session):
    proposal = session.draw(*stroke(Box(10, 20, 30, 50)))
    assert (proposal.box, int(proposal.mask.sum()), session.fake.requests) == (Box(10, 20, 30, 50), 600, [])
    session.draw(*stroke(Box(25, 40, 40, 60)))
    assert session.proposal.box == Box(10, 20, 40, 60)
    session.draw(*stroke(Box(0, 0, 20, 300)), add=False)
    assert not full(session.proposal)[:20].any()
    session.undo()
    session.undo()
    assert session.proposal.box == Box(10, 20, 30, 50)
    session.redo()
    assert session.proposal.box == Box(10, 20, 40, 60)

    session.accept("cell")

    (kept,) = session.shelf.objects
    assert (kept.score, kept.checkpoint, len(kept.clicks)) == (None, None, 1)


def test_what_was_drawn_on_a_predicted_mask_holds_over_later_clicks(session):
    session.click(100, 100)
    session.draw(*stroke(Box(95, 140, 105, 170)))
    session.draw(*stroke(Box(60, 60, 100, 100)), add=False)

    proposal = session.click(210, 210)

    seen = full(proposal)
    assert seen[95:105, 140:170].all()
    assert not seen[60:100, 60:100].any()
    assert seen[210, 210]
    assert session.shelf.objects == []
    session.accept()
    assert session.shelf.objects[0].checkpoint == "fake-1", "the model had a part in it"


def test_a_click_on_a_drawing_that_says_the_opposite_takes_it_out(session):
    session.click(100, 100)
    session.draw(*stroke(Box(90, 90, 110, 110)), add=False)
    assert not full(session.proposal)[100, 100]
    session.click(98, 98)
    assert full(session.proposal)[90:110, 90:110].all()


def test_a_click_corrects_what_was_drawn_by_hand(session, discs, iou):
    session.draw(*stroke(Box(72, 72, 128, 128)))
    proposal = session.click(100, 70)
    assert session.fake.requests[-1].previous is not None
    assert iou(proposal, discs(SHAPE, (100, 100, 40)) > 0.5) > 0.95


def test_a_box_takes_what_fills_it_and_nothing_outside(session, discs, iou):
    generation = session.add_box(Box(55, 55, 146, 146))
    proposal = session.compute(generation)
    assert iou(proposal, discs(SHAPE, (100, 100, 40)) > 0.5) > 0.95
    session.undo()
    assert session.clicks == ()

    session.compute(session.add_clicks([Click(90.0, 100.0)], within=Box(60, 60, 100, 146)))  # cuts the disc
    assert Box(60, 60, 100, 146).covers(session.proposal.box)
    session.click(130, 100)  # outside: the box no longer holds
    assert full(session.proposal)[130, 100]


def test_a_box_is_a_click_in_the_middle_of_its_part_in_the_image(session):
    session.compute(session.add_box(Box(-40, 100, 60, 200)))
    (click,) = session.clicks
    assert (click.y, click.x, click.positive) == (*Box(0, 100, 60, 200).centre, True)
    assert Box(0, 100, 60, 200).covers(session.proposal.box)


def test_a_scribble_is_taken_back_as_one(session):
    clicks = [Click(100.0, 80.0), Click(100.0, 100.0), Click(100.0, 120.0)]
    session.compute(session.add_clicks(clicks))
    first = session.proposal
    session.compute(session.add_clicks([Click(210.0, 200.0), Click(210.0, 220.0)]))
    assert len(session.clicks) == 5
    session.undo()
    assert session.proposal is first
    assert session.clicks == tuple(clicks)
    session.redo()
    assert len(session.clicks) == 5
    assert not session.pending
    session.undo()
    session.undo()
    assert session.proposal is None


def test_an_object_taken_up_is_drawn_on_and_keeps_its_id(session):
    session.click(100, 100)
    kept = session.accept()
    session.resume(7, kept.box, kept.mask, clicks=kept.clicks, views=kept.views)
    session.draw(*stroke(Box(0, 0, 100, 300)), add=False)
    assert session.object_id == 7
    assert session.proposal.box.y0 == 100


def test_what_cannot_be_drawn_changes_nothing(session):
    for wrong in (
        lambda: session.draw(*stroke(Box(0, 0, 5, 5)), add=False),
        lambda: session.draw(*stroke(Box(400, 0, 405, 5))),
        lambda: session.draw(Box(0, 0, 5, 5), np.zeros((5, 5), bool)),
        lambda: session.add_box(Box(0, 0, 1, 50)),
        lambda: session.add_box(Box(400, 400, 500, 500)),
        lambda: session.add_clicks([Click(5.0, 5.0, False)]),
        lambda: session.add_clicks([Click(5.0, 5.0), Click(-5.0, 5.0)]),
    ):
        with pytest.raises(ClickError):
            wrong()
    assert (session.clicks, session.proposal) == ((), None)
    session.draw(*stroke(Box(10, 10, 20, 20)))
    with pytest.raises(ClickError):
        session.draw(*stroke(Box(12, 12, 18, 18)))
    assert len(session.clicks) == 1
    session.undo()
    assert session.proposal is None


BOXES = st.tuples(st.integers(0, 15), st.integers(0, 15), st.integers(1, 8), st.integers(1, 8)).map(
    lambda b: Box(b[0], b[1], b[0] + b[2], b[1] + b[3])
)
EDITS = st.lists(st.tuples(st.sampled_from(EditKind), BOXES), max_size=8)


@given(EDITS)
@settings(max_examples=200, deadline=None)
def test_edits_are_those_of_a_whole_picture(edits):
    expected = np.zeros((24, 24), bool)
    for kind, box in edits:
        area = np.zeros_like(expected)
        area[box.slices] = True
        expected = {"add": expected | area, "remove": expected & ~area, "within": expected & area}[kind]
    found = edited(Region.nothing(), [Edit(kind, Region(box, np.ones(box.shape, bool))) for kind, box in edits])
    np.testing.assert_array_equal(found.within(Box(0, 0, 24, 24)), expected)

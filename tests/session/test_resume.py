"""An object that was accepted is taken up again: its mask, its clicks, further ones, and the same id."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from napari_relay.geometry import Box, Click
from napari_relay.session import ClickSession
from napari_relay.session.resuming import middle


@pytest.fixture
def two(session_on, discs):
    """A session on two discs, one of them accepted, and that object."""
    session = session_on(discs((300, 300), (100, 100, 40), (210, 210, 50)))
    session.click(100, 100)
    session.shelf.revised = []

    def revise(object_id, box, mask, /, **facts):
        session.shelf.revised.append(SimpleNamespace(id=object_id, box=box, mask=mask, **facts))
        return session.shelf.revised[-1]

    session.shelf.revise = revise
    return session, session.accept("cell")


def take_up(session: ClickSession, kept, **other):
    facts = {"clicks": kept.clicks, "views": kept.views, "score": kept.score, "seconds": 12.0, **other}
    return session.resume(7, kept.box, kept.mask, **facts)


def test_mask_and_clicks_come_back_as_they_were(two):
    session, kept = two
    proposal = take_up(session, kept)
    assert session.clicks == (Click(100, 100),)
    assert session.proposal is proposal
    assert proposal.box == kept.box
    np.testing.assert_array_equal(proposal.mask, kept.mask)
    assert (proposal.score, session.pending, session.object_id) == (kept.score, False, 7)
    assert session.compute() is proposal  # nothing is predicted for it


def test_a_further_click_goes_on_from_the_old_mask(two, discs, iou):
    session, kept = two
    take_up(session, kept)
    proposal = session.click(210, 210)
    truth = discs((300, 300), (100, 100, 40), (210, 210, 50)) > 0.5
    assert iou(proposal, truth) > 0.95
    assert session.fake.requests[-1].previous is not None


def test_accepting_gives_the_same_object_another_mask(two):
    session, kept = two
    take_up(session, kept)
    session.click(210, 210)
    session.accept("another class")
    (revised,) = session.shelf.revised
    assert (revised.id, len(revised.clicks)) == (7, 2)
    assert revised.mask.sum() > kept.mask.sum()
    assert revised.seconds >= 12.0
    assert len(session.shelf.objects) == 1
    assert (session.object_id, session.clicks) == (None, ())
    session.click(100, 100)
    session.accept()  # the next one is a new object again
    assert len(session.shelf.objects) == 2


def test_dropping_leaves_the_object_alone(two):
    session, kept = two
    take_up(session, kept)
    session.click(210, 210)
    session.reset()
    assert session.object_id is None
    assert session.shelf.revised == []


def test_taking_a_click_back_brings_the_old_mask_back(two):
    session, kept = two
    first = take_up(session, kept)
    session.click(210, 210)
    assert session.undo() is not None
    np.testing.assert_array_equal(session.proposal.mask, first.mask)
    session.undo()  # the object's own click
    assert (session.clicks, session.object_id) == ((), None)
    session.redo()
    assert session.object_id == 7
    np.testing.assert_array_equal(session.proposal.mask, first.mask)


def test_a_new_object_after_all_clicks_were_taken_back_is_a_new_one(two):
    session, kept = two
    take_up(session, kept)
    session.undo()
    session.click(210, 210)
    assert session.object_id is None
    session.accept()
    assert (len(session.shelf.objects), session.shelf.revised) == (2, [])


def test_an_object_that_nobody_clicked_gets_a_click_inside(two):
    session, kept = two
    take_up(session, kept, clicks=(), views=None, score=None)
    (click,) = session.clicks
    assert kept.mask[int(click.y) - kept.box.y0, int(click.x) - kept.box.x0]
    assert np.hypot(click.y - 100, click.x - 100) < 4
    assert session.proposal.score == 1.0
    proposal = session.click(150, 150)
    assert (proposal.box.y0, proposal.box.x0) == (kept.box.y0, kept.box.x0)  # the old mask is where it was


@pytest.mark.parametrize("shape", [(1, 1), (3, 900), (2500, 40), (64, 64)])
def test_the_middle_of_any_mask_lies_on_it(shape):
    rng = np.random.default_rng(1)
    mask = rng.random(shape) < 0.3
    mask[-1, -1] = True
    box = Box(10, 20, 10 + shape[0], 20 + shape[1])
    click = middle(box, mask)
    assert mask[int(click.y) - 10, int(click.x) - 20]

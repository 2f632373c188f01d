"""Clicks in, masks out: what a person sees of a session, with a small real segmenter behind it."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_relay.errors import (
    EmptyProposalError,
)
from napari_relay.geometry import Box
from napari_relay.views import View, ViewPair, holds_click, whole_view

SHARED = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


# Masks -------------------------------------------------------------------------------------------------------


@SHARED
@given(
    st.integers(201, 900),
    st.integers(201, 900),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(6, 250),
    st.one_of(st.none(), st.floats(0.2, 4)),
)
def test_discs_of_any_size_and_place_are_found_at_any_zoom(session_on, discs, iou, height, width, fy, fx, radius, zoom):
    cy, cx = fy * (height - 1), fx * (width - 1)
    image = discs((height, width), (cy, cx, radius))
    session = session_on(image)

    proposal = session.click(cy, cx, zoom=zoom)
    for turn in range(4):
        y = np.clip(cy + 0.5 * radius * math.sin(2.4 * turn), 0, height - 1)
        x = np.clip(cx + 0.5 * radius * math.cos(2.4 * turn), 0, width - 1)
        proposal = session.click(float(y), float(x))

    assert iou(proposal, image > 0.5) >= 0.95
    assert all(holds_click(image.shape, session.views.local, click) for click in session.clicks)


def test_object_larger_than_the_first_view_is_followed_until_it_is_whole(session_on, discs, iou):
    image = discs((2501, 2303), (1200, 1100, 700))
    session = session_on(image)

    shares = [iou(session.click(1200, 1100, zoom=0.5), image > 0.5)]
    while len(shares) < 6:
        shares.append(iou(session.click(1200 + len(shares), 1100), image > 0.5))

    assert shares[0] < 0.05
    assert shares == sorted(shares)
    assert shares[-1] > 0.995


def test_mask_outside_the_view_is_kept(session_on, discs, iou, monkeypatch):
    image = discs((1200, 3000), (600, 300, 150), (600, 2600, 20))
    session = session_on(image)
    before = session.click(600, 300, zoom=1)
    # A view round the far disc alone, as no policy of ours would choose it.
    far = ViewPair(View(Box(520, 2520, 680, 2680)))
    monkeypatch.setattr("napari_relay.session.session.next_pair", lambda *_: far)

    later = session.click(600, 2600)

    assert (session.fake.requests[-1].previous < 0).all()
    assert iou(later, image > 0.5) > 0.98
    assert later.mask.sum() > before.mask.sum() > 0.98 * math.pi * 150**2
    assert later.probability[100, 100] == 1


def test_first_click_shows_the_clicked_component_only(session_on, discs, iou):
    image = discs((500, 600), (120, 120, 60), (380, 450, 90))
    both = image > 0.5
    session = session_on(image)

    session.click(120, 120)
    everything = session.next_mask()  # the fake's second mask holds both discs

    assert everything.index == 1
    only = discs((500, 600), (120, 120, 60)) > 0.5
    assert iou(everything, only) > 0.97
    later = session.click(380, 450)
    assert iou(later, both) > 0.97


def test_dropped_component_does_not_come_back_with_the_next_click(session_on, discs, iou):
    image = discs((500, 600), (120, 120, 60), (380, 450, 90))
    session = session_on(image)
    session.click(120, 120)
    session.next_mask()

    session.click(130, 130)

    assert iou(session.proposal, discs((500, 600), (120, 120, 60)) > 0.5) > 0.97


def test_negative_click_takes_a_thing_away(session_on, discs, iou):
    image = discs((500, 600), (120, 120, 60), (380, 450, 90))
    session = session_on(image)
    session.click(120, 120)
    session.click(380, 450)

    session.click(390, 440, positive=False)

    assert iou(session.proposal, discs((500, 600), (120, 120, 60)) > 0.5) > 0.97


def test_probability_agrees_with_the_mask(session_on, discs):
    session = session_on(discs((500, 600), (120, 120, 60)))
    for proposal in (session.click(120, 120), session.click(130, 120)):
        assert proposal.probability.shape == proposal.mask.shape == proposal.box.shape
        assert proposal.probability.dtype == np.float32
        assert ((proposal.probability > 0.5) == proposal.mask).all()
        assert proposal.probability[proposal.mask].mean() > 0.9


def test_proposal_is_as_small_as_it_can_be_and_cannot_be_written_to(session_on, discs):
    proposal = session_on(discs((500, 600), (120, 120, 60))).click(120, 120)

    assert proposal.mask.any(axis=0)[[0, -1]].all()
    assert proposal.mask.any(axis=1)[[0, -1]].all()
    with pytest.raises(ValueError, match="read-only"):
        proposal.mask[0, 0] = True


def test_click_on_nothing_gives_an_empty_proposal_that_cannot_be_accepted(session_on, discs):
    session = session_on(discs((500, 600), (120, 120, 60)))

    proposal = session.click(400, 500)

    assert proposal.empty
    assert proposal.box.empty
    assert proposal.mask.shape == proposal.probability.shape == (0, 0)
    with pytest.raises(EmptyProposalError, match="no mask"):
        session.accept()
    assert session.views.local == whole_view((500, 600))


def test_thing_too_small_for_the_view_is_found_by_clicking_again(session_on, discs, iou):
    image = discs((1700, 1700), (900, 300, 5))
    session = session_on(image)

    empty = session.click(900, 300)
    again = [session.click(900, 300 + turn) for turn in (1, 2, 3)]

    assert empty.empty
    assert iou(again[-1], image > 0.5) > 0.95


def test_500_clicks_are_fine(session_on, discs, iou):
    image = discs((300, 300), (150, 150, 80))
    session = session_on(image)
    for _ in range(498):
        session.add_click(150, 150)
    session.click(150, 160)
    session.click(40, 40, positive=False)

    assert len(session.clicks) == 500
    assert iou(session.proposal, image > 0.5) > 0.97
    assert len(session.fake.requests) == 2

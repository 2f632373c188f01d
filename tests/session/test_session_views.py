"""Which views a session asks for: planned, encoded ahead, widened, and what of a request reaches the model."""

import math

import numpy as np
import pytest

from napari_relay.geometry import Plane
from napari_relay.sources import open_image
from napari_relay.views import channel_mix, holds_click, step_side
from napari_relay.views.crops import crop_key


def test_shown_proposal_has_its_next_view_encoded_and_the_next_click_uses_it(session_on, discs):
    session = session_on(discs((1500, 1500), (400, 400, 90)))

    session.click(400, 400)
    ahead, encoded = list(session.fake.ahead), list(session.fake.encoded)
    session.click(420, 420)

    assert len(ahead) == 1
    assert session.fake.requests[-1].key == ahead[0]
    assert session.fake.encoded == encoded
    assert session.views.local.box.height == step_side(-1)


def test_framed_object_is_not_encoded_again(session_on, discs):
    session = session_on(discs((1500, 1500), (400, 400, 90)))
    for turn in range(10):
        session.click(400 + 5 * turn, 400)

    assert len(session.fake.encoded) == 1
    assert len(session.fake.ahead) == 1


def test_next_mask_plans_the_view_of_the_mask_shown(session_on, discs):
    session = session_on(discs((1500, 1500), (400, 400, 200)))
    session.click(400, 400)
    session.next_mask()
    third = session.next_mask()

    session.click(400, 400)

    assert third.index == 2
    assert session.fake.requests[-1].key == session.fake.ahead[-1]
    fed_back = session.fake.requests[-1].previous > 0
    view = session.views.local
    assert fed_back.sum() * (view.box.height / 112) ** 2 == pytest.approx(third.mask.sum(), rel=0.05)


def test_next_mask_cycles_and_is_one_for_later_clicks(session_on, discs, same):
    session = session_on(discs((700, 700), (300, 300, 120)))
    assert session.next_mask() is None

    first = session.click(300, 300)
    again = [session.next_mask() for _ in range(3)]

    assert [p.index for p in again] == [1, 2, 0]
    assert [p.score for p in again] == [0.6, 0.3, 0.9]
    assert same(again[-1], first)
    later = session.click(310, 310)
    assert (later.index, later.count) == (0, 1)
    assert session.next_mask() is later


def test_positive_click_outside_the_view_widens_it(session_on, discs, iou):
    image = discs((3000, 3000), (1000, 1000, 60), (1000, 1900, 60))
    session = session_on(image)
    session.click(1000, 1000, zoom=0.5)

    session.click(1000, 1900)

    assert all(holds_click(image.shape, session.views.local, click) for click in session.clicks)
    assert iou(session.click(1001, 1900), image > 0.5) > 0.95


def test_two_clicks_at_once_are_computed_together_in_one_view(session_on, discs, iou):
    image = discs((3000, 3000), (1000, 1000, 60), (1000, 1300, 60))
    session = session_on(image)
    session.add_click(1000, 1000, zoom=0.25)
    session.add_click(1000, 1300)

    proposal = session.compute()

    assert len(session.fake.requests) == 1
    assert len(session.fake.requests[0].clicks) == 2
    assert iou(proposal, image > 0.5) > 0.95


def test_clicks_outside_the_view_are_left_out_of_the_request(session_on, discs):
    session = session_on(discs((3000, 3000), (1000, 1000, 60)))
    session.click(1000, 1000, zoom=1)
    session.click(2900, 2900, positive=False)

    assert [c.positive for c in session.fake.requests[-1].clicks] == [True]
    assert len(session.clicks) == 2


def test_hovering_encodes_the_view_of_the_first_click(session_on, discs):
    session = session_on(discs((3000, 3000), (1000, 1000, 60)))
    session.prepare()

    session.prefetch_at(1000, 1000, zoom=1)
    session.prefetch_at(-5, 1000)
    session.prefetch_at(math.nan, 0)
    session.click(1000, 1000, zoom=1)

    assert session.fake.requests[0].key == session.fake.ahead[0]
    assert session.fake.encoded == []


def test_hovering_with_open_clicks_encodes_the_view_of_the_next_click(session_on, discs):
    session = session_on(discs((3000, 3000), (1000, 1000, 60)))
    session.click(1000, 1000, zoom=1)

    session.prefetch_at(1000, 1700)
    session.click(1000, 1700)

    assert session.fake.requests[-1].key == session.fake.ahead[1]


def test_previous_logits_are_passed_as_they_are_in_the_same_view(session_on, discs):
    session = session_on(discs((700, 700), (350, 350, 300)))
    session.click(350, 350)
    first = session.proposal
    session.click(360, 350)

    assert session.views == first.views
    np.testing.assert_array_equal(session.fake.requests[1].previous, first.field.logits)


def test_plane_mix_and_stretch_reach_the_crops(session_on):
    stack = np.zeros((3, 2, 1, 200, 200), np.float32)  # t, c, z, y, x
    stack[2, 1, 0, 50:150, 60:140] = 7
    mix = channel_mix(open_image(stack), [1])
    session = session_on(stack, stretch=None, plane=Plane(t=2), mix=mix)

    proposal = session.click(100, 100)

    assert proposal.mask.sum() == pytest.approx(100 * 80, rel=0.03)
    key = crop_key(session.source, session.views, Plane(t=2), mix, session._sight.stretch)
    assert session.fake.requests[0].key == key

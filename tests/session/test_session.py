"""Clicks in, masks out: what a person sees of a session, with a small real segmenter behind it."""

import math
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_relay.errors import (
    ClickError,
    EmptyProposalError,
    EngineError,
    StorageError,
    SupersededError,
    UsageError,
)
from napari_relay.geometry import Box, Plane
from napari_relay.sources import open_image
from napari_relay.views import View, ViewPair, channel_mix, holds_click, step_side, whole_view
from napari_relay.views.crops import crop_key

SHARED = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def same(a, b):
    """Whether two proposals are the same to the last bit."""
    return (
        a.box == b.box
        and np.array_equal(a.mask, b.mask)
        and np.array_equal(a.field.logits, b.field.logits)
        and (a.score, a.index, a.count, a.views) == (b.score, b.index, b.count, b.views)
    )


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


# Views -------------------------------------------------------------------------------------------------------


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


def test_next_mask_cycles_and_is_one_for_later_clicks(session_on, discs):
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


# Bad clicks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("y", "x"), [(-0.6, 5), (5, 99.6), (100, 5), (math.nan, 5), (5, math.inf), (1e300, 5)])
def test_click_outside_or_nowhere_is_refused_and_changes_nothing(session_on, y, x):
    session = session_on(np.ones((100, 100), np.float32))
    generation = session.generation

    with pytest.raises(ClickError, match=r"outside|no place"):
        session.click(y, x)

    assert session.clicks == ()
    assert session.generation == generation


@pytest.mark.parametrize(("y", "x"), [(-0.5, -0.5), (99.4, 99.4), (0, 99), (49.5, 49.5)])
def test_click_on_the_outermost_pixels_is_taken(session_on, y, x):
    session = session_on(np.ones((100, 100), np.float32))

    assert session.click(y, x).box == Box(0, 0, 100, 100)


def test_first_click_must_be_positive(session_on):
    session = session_on(np.ones((100, 100), np.float32))

    with pytest.raises(ClickError, match="Place a positive click first"):
        session.click(5, 5, positive=False)
    with pytest.raises(ClickError, match="Place a positive click first"):
        session.compute()
    with pytest.raises(UsageError, match="zoom"):
        session.click(5, 5, zoom=0)
    assert session.clicks == ()


# Undo and redo -----------------------------------------------------------------------------------------------


def test_undo_and_redo_return_exactly_the_earlier_proposals_without_computing(session_on, discs):
    session = session_on(discs((900, 900), (300, 300, 100), (600, 600, 80)))
    seen = [session.click(300, 300), session.click(600, 600), session.click(590, 600, positive=False)]
    asked = len(session.fake.requests)

    assert session.undo() is seen[1]
    assert session.undo() is seen[0]
    assert session.undo() is None
    assert session.proposal is None
    assert session.clicks == ()
    assert [session.redo(), session.redo(), session.redo()] == seen
    assert session.redo() is None
    assert len(session.fake.requests) == asked
    assert session.shelf.walked == []


def test_undo_of_large_masks_is_exact_too(session_on, discs, monkeypatch):
    monkeypatch.setattr("napari_relay.session.steps.PACK_PIXELS", 100)
    session = session_on(discs((900, 900), (300, 300, 100), (600, 600, 80)))
    seen = [session.click(300, 300), session.click(600, 600), session.click(590, 600, positive=False)]

    for earlier in (seen[1], seen[0]):
        assert same(session.undo(), earlier)
    for later in seen[1:]:
        assert same(session.redo(), later)


def test_clicking_again_after_undo_gives_what_it_gave_before(session_on, discs):
    session = session_on(discs((900, 900), (300, 300, 100), (600, 600, 80)))
    session.click(300, 300)
    second = session.click(600, 600)
    session.undo()

    assert same(session.click(600, 600), second)


def test_click_after_undo_ends_redo(session_on, discs):
    session = session_on(discs((900, 900), (300, 300, 100)))
    session.click(300, 300)
    session.click(310, 300)
    session.undo()
    session.click(320, 300)

    assert session.redo() is None
    assert [c.y for c in session.clicks] == [300, 320]
    assert session.shelf.walked == []


def test_chosen_mask_survives_undo_and_redo(session_on, discs):
    session = session_on(discs((900, 900), (300, 300, 100)))
    session.click(300, 300)
    chosen = session.next_mask()
    session.click(310, 300)

    assert session.undo() is chosen
    session.undo()
    assert session.redo() is chosen


def test_without_clicks_undo_and_redo_are_the_projects(session_on, discs):
    session = session_on(discs((900, 900), (300, 300, 100)))
    assert session.undo() == "undone"
    assert session.redo() == "redone"

    session.click(300, 300)
    session.undo()
    assert session.undo() == "undone"
    # What was undone in the project comes back first; the click is gone.
    assert session.redo() == "redone"
    assert session.clicks == ()


def test_undo_of_a_click_that_was_never_computed(session_on, discs):
    session = session_on(discs((900, 900), (300, 300, 100)))
    first = session.click(300, 300)
    session.add_click(310, 300)
    assert session.pending
    assert session.proposal is first

    assert session.undo() is first
    assert not session.pending
    assert session.redo() is first
    assert session.pending
    assert session.compute() is not first


# Accepting ---------------------------------------------------------------------------------------------------


def test_accept_keeps_once_with_all_that_is_known_and_starts_anew(session_on, discs):
    session = session_on(discs((900, 900), (300, 300, 100)), plane=Plane(0, 0))
    session.click(300, 300)
    proposal = session.click(310, 300)

    kept = session.accept("cell")

    assert session.shelf.objects == [kept]
    assert kept.box == proposal.box
    assert kept.mask is proposal.mask
    assert (kept.class_name, kept.plane, kept.checkpoint) == ("cell", Plane(), "fake-1")
    assert [(c.y, c.x, c.positive) for c in kept.clicks] == [(300, 300, True), (310, 300, True)]
    assert kept.views == proposal.views
    assert kept.score == 0.9
    assert kept.seconds >= 0
    assert session.clicks == ()
    assert session.proposal is None
    with pytest.raises(EmptyProposalError):
        session.accept()
    assert len(session.shelf.objects) == 1
    assert session.redo() == "redone"


def test_failed_accept_loses_nothing(session_on, discs):
    session = session_on(discs((900, 900), (300, 300, 100)))
    proposal = session.click(300, 300)
    session.shelf.error = StorageError("The disk is full.", "Make room.")

    with pytest.raises(StorageError):
        session.accept()

    assert session.proposal is proposal
    session.shelf.error = None
    assert session.accept().class_name is None


def test_reset_drops_everything(session_on, discs):
    session = session_on(discs((900, 900), (300, 300, 100)))
    session.click(300, 300)

    session.reset()

    assert (session.clicks, session.proposal, session.views) == ((), None, None)
    assert not session.pending


# Threads and generations ---------------------------------------------------------------------------------------


def test_answer_of_an_older_generation_is_dropped(session_on, discs):
    session = session_on(discs((900, 900), (300, 300, 100)))
    started, go_on = threading.Event(), threading.Event()
    plain, outcome = session.fake.predict, []

    def slow(*args):
        started.set()
        assert go_on.wait(10)
        return plain(*args)

    def work(generation):
        try:
            outcome.append(session.compute(generation))
        except SupersededError as error:
            outcome.append(error)

    session.fake.predict = slow
    thread = threading.Thread(target=work, args=(session.add_click(300, 300),))
    thread.start()
    assert started.wait(10)
    session.fake.predict = plain
    newest = session.add_click(320, 300)  # at once, while the other thread computes
    proposal = session.compute(newest)
    go_on.set()
    thread.join(10)

    assert isinstance(outcome[0], SupersededError)
    assert session.proposal is proposal
    assert len(session.clicks) == 2


def test_compute_of_an_old_generation_does_nothing(session_on, discs):
    session = session_on(discs((900, 900), (300, 300, 100)))
    old = session.add_click(300, 300)
    session.undo()

    with pytest.raises(SupersededError):
        session.compute(old)

    assert session.fake.requests == []


def test_failed_computation_keeps_the_click_and_can_be_tried_again(session_on, discs):
    session = session_on(discs((900, 900), (300, 300, 100)))
    plain = session.fake.predict

    def dead(*args):
        raise EngineError("The worker died.", "It is started again.")

    session.fake.predict = dead
    with pytest.raises(EngineError):
        session.click(300, 300)
    session.fake.predict = plain

    assert session.pending
    assert len(session.clicks) == 1
    assert not session.compute().empty


def test_listeners_hear_of_every_change(session_on, discs):
    session = session_on(discs((900, 900), (300, 300, 100)))
    heard = []
    session.changed.connect(lambda: heard.append((len(session.clicks), session.pending)))

    session.click(300, 300)
    session.next_mask()
    session.undo()
    session.redo()
    session.accept()

    assert heard == [(1, True), (1, False), (1, False), (0, False), (1, False), (0, False)]


def test_random_clicks_from_many_threads_leave_a_consistent_session(session_on, discs):
    session = session_on(discs((400, 400), (200, 200, 90)))
    session.click(200, 200)
    errors = []

    def work(seed):
        rng = np.random.default_rng(seed)
        for _ in range(12):
            try:
                y, x = rng.uniform(150, 250, 2)
                generation = session.add_click(y, x)
                if rng.random() < 0.3:
                    session.undo()
                session.compute(generation)
            except SupersededError:
                pass
            except Exception as error:
                errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert errors == []
    if session.clicks:
        session.compute()
        assert not session.pending
        assert not session.proposal.empty

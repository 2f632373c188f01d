"""Clicks that are refused, undo and redo, accept and reset, and clicks from several threads at once."""

import math
import threading

import numpy as np
import pytest

from napari_relay.errors import (
    ClickError,
    EmptyProposalError,
    EngineError,
    StorageError,
    SupersededError,
    UsageError,
)
from napari_relay.geometry import Box, Plane

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


def test_undo_of_large_masks_is_exact_too(session_on, discs, monkeypatch, same):
    monkeypatch.setattr("napari_relay.session.steps.PACK_PIXELS", 100)
    session = session_on(discs((900, 900), (300, 300, 100), (600, 600, 80)))
    seen = [session.click(300, 300), session.click(600, 600), session.click(590, 600, positive=False)]

    for earlier in (seen[1], seen[0]):
        assert same(session.undo(), earlier)
    for later in seen[1:]:
        assert same(session.redo(), later)


def test_clicking_again_after_undo_gives_what_it_gave_before(session_on, discs, same):
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

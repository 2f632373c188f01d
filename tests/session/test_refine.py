"""Native-resolution finishing of coarse proposals."""

import numpy as np
import pytest

from napari_relay.errors import SupersededError
from napari_relay.geometry import Box
from napari_relay.session.refine import refined_region
from napari_relay.session.region import Region
from napari_relay.views import Prediction


def run(generator):
    """All progress values and the return value."""
    progress = []
    while True:
        try:
            progress.append(next(generator))
        except StopIteration as stop:
            return progress, stop.value


def star(shape, cy, cx, radius):
    """A soft-edged star with thin rays, whose outline a coarse view cannot follow."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    angle = np.arctan2(y - cy, x - cx)
    edge = radius * (1 + 0.2 * np.sin(23 * angle))
    return np.clip(edge - np.hypot(y - cy, x - cx) + 0.5, 0, 1).astype(np.float32)


@pytest.mark.parametrize(("side", "last_stage"), [(1500, 31), pytest.param(2400, 51, marks=pytest.mark.slow)])
def test_refined_border_is_exact_at_native_resolution(session_on, iou, side, last_stage):
    image = star((side, side + 100), side // 2, side // 2, side // 3)
    session = session_on(image)
    session.click(side // 2, side // 2, zoom=side / 448)
    session.click(side // 2, side // 2 + 9)
    coarse = session.proposal
    before = iou(coarse, image > 0.5)

    progress, proposal = run(session.refine())

    assert not coarse.native
    assert proposal.native
    assert session.proposal is proposal
    assert before < 0.992
    assert iou(proposal, image > 0.5) > 0.997
    assert proposal.mask.any(axis=0)[[0, -1]].all()
    assert progress[-1].done == progress[-1].total
    assert abs(progress[-1].total - last_stage) < 6
    assert progress[-1].scale == pytest.approx(1, abs=0.01)
    assert ((proposal.probability > 0.5) == proposal.mask).all()


def test_tiles_get_the_coarse_mask_and_clicks_far_from_its_border(session_on):
    image = star((1500, 1600), 750, 800, 480)
    session = session_on(image)
    session.click(750, 800, zoom=4)
    session.click(750, 810)
    asked = len(session.fake.requests)

    run(session.refine())

    tiles = session.fake.requests[asked:]
    assert 15 < len(tiles) < 60
    for tile in tiles:
        assert tile.pair.local.scale == 1
        assert tile.pair.global_ is not None
        assert tile.previous.max() > 5
        assert tile.previous.min() < -5
        assert any(click.positive for click in tile.clicks)
        for click in tile.clicks:
            y, x = tile.pair.local.to_image(click.y, click.x)
            assert (image[round(y), round(x)] > 0.5) == click.positive


def test_native_and_missing_proposals_are_left_alone(session_on, discs):
    session = session_on(discs((300, 300), (150, 150, 40)))
    assert run(session.refine()) == ([], None)

    proposal = session.click(150, 150)

    assert proposal.native
    assert run(session.refine()) == ([], proposal)


def test_stopping_early_changes_nothing(session_on):
    session = session_on(star((1500, 1600), 750, 800, 480))
    session.click(750, 800, zoom=4)
    coarse = session.click(750, 810)
    work = session.refine()
    next(work)
    next(work)

    work.close()

    assert session.proposal is coarse


def test_click_during_refinement_ends_it(session_on):
    session = session_on(star((1500, 1600), 750, 800, 480))
    session.click(750, 800, zoom=4)
    work = session.refine()
    next(work)
    session.add_click(750, 810)

    with pytest.raises(SupersededError):
        run(work)


def test_undo_and_redo_keep_the_refined_mask(session_on):
    session = session_on(star((1500, 1600), 750, 800, 480))
    first = session.click(750, 800, zoom=4)
    session.click(750, 810)
    _, fine = run(session.refine())

    assert np.array_equal(session.undo().mask, first.mask)
    assert np.array_equal(session.redo().mask, fine.mask)


def test_a_model_that_is_lost_in_the_tiles_spoils_nothing():
    """Answers that are nonsense keep the coarse mask; nothing ever changes far from the coarse border."""
    y, x = np.mgrid[:2000, :2000]
    mask = np.hypot(y - 1000, x - 1000) < 700
    region = Region(Box(0, 0, 2000, 2000), mask).cropped()
    rng = np.random.default_rng(0)

    def nothing(view, clicks, previous):
        return Prediction(np.full((1, 112, 112), -9, np.float32), (0.1,))

    def noise(view, clicks, previous):
        return Prediction(rng.normal(size=(1, 112, 112)).astype(np.float32), (0.1,))

    _, empty = run(refined_region((2000, 2000), 4.0, region, (), nothing))
    _, noisy = run(refined_region((2000, 2000), 4.0, region, (), noise))

    whole = Box(0, 0, 2000, 2000)
    depth = np.abs(np.hypot(y - 1000, x - 1000) - 700)
    for found in (empty, noisy):
        changed = found.within(whole) != mask
        assert depth[changed].max(initial=0) <= 8 * 4 + 4

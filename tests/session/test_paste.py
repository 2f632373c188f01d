"""From logits to level-0 masks: positions, rim, components, kept masks, memory."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_relay.geometry import Box, Click
from napari_relay.session.fields import Field
from napari_relay.session.paste import (
    DROPPED,
    UNKNOWN,
    blended,
    carried_logits,
    clicks_in_view,
    enlarged,
    keep_components,
    paste,
)
from napari_relay.session.region import PackedMask, Region
from napari_relay.views import View

views = st.builds(
    lambda y0, x0, quarter: View(Box(y0, x0, y0 + 4 * quarter, x0 + 4 * quarter)),
    st.integers(-200, 400),
    st.integers(-200, 400),
    st.integers(14, 448),
)
SHAPE = (1000, 1000)


def ramp(view):
    """Logits that rise linearly over level-0 pixels: 0 at y = 300.3, one a pixel."""
    rows, _ = Field(view, np.zeros((112, 112), np.float32)).centres()
    return Field(view, np.repeat((rows - 300.3)[:, None], 112, axis=1).astype(np.float32))


def spots(view, *places):
    """-8 with squares of +8: (row, column, side) in cells."""
    logits = np.full((112, 112), -8, np.float32)
    for row, column, side in places:
        logits[row : row + side, column : column + side] = 8
    return Field(view, logits)


@settings(max_examples=40, deadline=None)
@given(views)
def test_samples_lie_where_geometry_says(view):
    field = ramp(view)
    inner = view.box.grow(-int(np.ceil(field.cell)))
    if inner.empty:
        return

    got = field.at(inner)

    np.testing.assert_allclose(got[:, 0], np.arange(inner.y0, inner.y1) - 300.3, atol=2e-3)
    np.testing.assert_array_equal(got[:, 0], got[:, -1])


@settings(max_examples=40, deadline=None)
@given(views, views)
def test_logits_carried_to_another_view_stay_at_their_place(old, new):
    field = ramp(old)

    carried = carried_logits(field, Region.nothing(), new)

    rows, columns = Field(new, carried).centres()
    edge = field.cell / 2
    deep_y = (rows > old.box.y0 + edge) & (rows < old.box.y1 - 1 - edge)
    deep_x = (columns > old.box.x0 - 0.5) & (columns < old.box.x1 - 0.5)
    want = np.repeat((rows - 300.3)[:, None], 112, axis=1)
    np.testing.assert_allclose(carried[np.ix_(deep_y, deep_x)], want[np.ix_(deep_y, deep_x)], atol=5e-3)
    outside = ~((rows >= old.box.y0 - 0.5) & (rows < old.box.y1 - 0.5))
    assert (carried[outside] == UNKNOWN).all()


def test_kept_mask_outside_the_old_view_is_carried_as_certain():
    field = spots(View(Box(0, 0, 448, 448)))
    region = Region(Box(500, 500, 600, 600), np.ones((100, 100), bool))

    carried = carried_logits(field, region, View(Box(224, 224, 672, 672)))

    assert carried[80, 80] == -UNKNOWN
    assert carried[110, 110] == UNKNOWN
    assert carried[10, 10] == -8


@settings(max_examples=30, deadline=None)
@given(views, st.integers(1, 1200), st.integers(1, 1200), st.integers(0, 99))
def test_mask_is_where_the_enlarged_logits_are_positive(view, height, width, seed):
    rng = np.random.default_rng(seed)
    coarse = rng.normal(-0.3, 1, (14, 14)).astype(np.float32)
    fine = enlarged(Field(view, np.kron(coarse, np.ones((8, 8), np.float32))))

    region = paste((height, width), fine, Region.nothing())

    inside = view.box.clip((height, width))
    assert inside.covers(region.box)
    np.testing.assert_array_equal(region.within(inside), fine.at(inside) > 0)
    if not region.box.empty:
        assert region.mask[[0, -1]].any(axis=1).all()
        assert region.mask[:, [0, -1]].any(axis=0).all()


def test_mask_outside_the_view_is_kept_and_inside_replaced():
    view = View(Box(0, 0, 448, 448))
    before = Region(Box(400, 400, 600, 600), np.ones((200, 200), bool))

    region = paste(SHAPE, enlarged(spots(view, (10, 10, 5))), before)

    whole = region.within(Box(0, 0, *SHAPE))
    assert whole[448:600, 400:600].all()
    assert not whole[400:448, 400:448].any()
    assert whole[41:58, 41:58].all()
    assert whole.sum() == pytest.approx(200 * 200 - 48 * 48 + 20 * 20, abs=50)


def test_rim_fades_into_what_was_known_before():
    view = View(Box(112, 112, 560, 560))
    old, new = Field(view, np.full((112, 112), -4, np.float32)), np.full((112, 112), 4, np.float32)

    mixed = blended(SHAPE, view, new, old, Region.nothing()).logits

    assert mixed[:5, 50].tolist() == [-3, -1, 1, 3, 4]
    assert mixed[-5:, 50].tolist() == [4, 3, 1, -1, -3]
    assert (mixed[4:-4, 4:-4] == 4).all()


def test_rim_is_not_faded_at_the_images_border_nor_where_nothing_was_known():
    view = View(Box(0, 112, 448, 560))
    new = np.full((112, 112), 4, np.float32)
    old = Field(View(Box(0, 448, 448, 896)), np.full((112, 112), -4, np.float32))

    mixed = blended(SHAPE, view, new, old, Region.nothing()).logits

    assert (mixed[:, :84] == np.where(np.arange(112) < 112, 4, 0)[:, None]).all()
    assert mixed[0, 90] == 4
    assert mixed[50, 111] == -3
    assert (blended(SHAPE, view, new, None, Region.nothing()).logits == 4).all()


def test_nan_logits_are_no_object():
    view = View(Box(0, 0, 448, 448))
    field = blended(SHAPE, view, np.full((112, 112), np.nan, np.float32), None, Region.nothing())

    assert (field.logits == UNKNOWN).all()


VIEW = View(Box(0, 0, 448, 448))
BIG, MIDDLE, SPECK = (10, 10, 30), (60, 60, 10), (100, 20, 1)


def kept(field, fine):
    """Which of the three squares are there, in the mask and in what is fed back."""
    region = paste(SHAPE, fine, Region.nothing())
    where = [(row * 4 + side * 2, column * 4 + side * 2) for row, column, side in (BIG, MIDDLE, SPECK)]
    in_mask = [bool(region.within(Box(y, x, y + 1, x + 1))[0, 0]) for y, x in where]
    fed_back = [bool(field.logits[y // 4, x // 4] > 0) for y, x in where]
    assert in_mask == fed_back
    return in_mask


@pytest.mark.parametrize(
    ("clicks", "before", "expected"),
    [
        ([(260, 260)], None, [False, True, False]),
        ([(401, 81)], None, [False, False, True]),
        ([(300, 20)], None, [True, True, False]),
        ([(260, 260)], Box(0, 0, 0, 0), [True, True, False]),
        ([(260, 260), (401, 81)], Box(0, 0, 0, 0), [True, True, True]),
        ([(260, 260)], Box(398, 78, 410, 90), [True, True, True]),
        ([(260, 260), (100, 100), (401, 81)], None, [True, True, True]),
    ],
    ids=["first", "first on speck", "first beside", "later", "later on speck", "speck before", "several at first"],
)
def test_components_that_are_kept(clicks, before, expected):
    region = None if before is None else Region(before, np.ones(before.shape, bool))

    found = keep_components(SHAPE, spots(VIEW, BIG, MIDDLE, SPECK), [Click(y, x) for y, x in clicks], region)

    assert kept(*found) == expected


def test_dropping_a_component_moves_no_other_border():
    both = spots(VIEW, BIG, (10, 42, 20))  # two cells apart
    alone = enlarged(spots(VIEW, BIG))

    field, fine = keep_components(SHAPE, both, [Click(100, 100)], None)

    assert (fine.logits[:, 168:] <= 0).all()
    left = paste(SHAPE, fine, Region.nothing())
    want = paste(SHAPE, alone, Region.nothing())
    assert left.box == want.box
    np.testing.assert_array_equal(left.mask, want.mask)
    assert (field.logits[10:30, 42:62] == DROPPED).all()
    assert (field.logits[10:40, 10:40] == 8).all()


def test_padding_outside_the_image_joins_no_components():
    view = View(Box(0, 0, 448, 448))
    field = spots(view, (10, 10, 20), (10, 60, 20))
    field.logits[20:, 25:][:, :40] = np.where(np.arange(20, 112)[:, None] >= 28, 8, -8)

    _, fine = keep_components((110, 448), field, [Click(60, 60)], None)

    assert paste((110, 448), fine, Region.nothing()).box.x1 < 300


def test_negative_clicks_keep_no_component():
    found = keep_components(SHAPE, spots(VIEW, BIG, SPECK), [Click(401, 81, False)], None)

    assert kept(*found)[2] is False


def test_clicks_outside_the_view_are_left_out():
    view = View(Box(100, 100, 324, 324))
    inside = [(99.75, 100), (323.4, 323.4), (200, 200)]
    outside = [(99.4, 200), (200, 323.6), (0, 0)]

    placed = clicks_in_view(view, [Click(y, x) for y, x in inside + outside])

    assert len(placed) == 3
    assert all(-0.5 <= c.y < 447.5 and -0.5 <= c.x < 447.5 for c in placed)
    assert (placed[2].y, placed[2].x) == view.to_view(200, 200)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 9))
def test_packed_masks_come_back(height, width, seed):
    mask = np.random.default_rng(seed).random((height, width)) > 0.5

    np.testing.assert_array_equal(PackedMask.pack(mask).unpack(), mask)


@given(st.integers(-5, 15), st.integers(-5, 15), st.integers(0, 12), st.integers(0, 12))
def test_region_in_any_box(y0, x0, height, width):
    mask = np.random.default_rng(0).random((10, 10)) > 0.5
    canvas = np.zeros((40, 40), bool)
    canvas[12:22, 12:22] = mask
    region, box = Region(Box(2, 2, 12, 12), mask), Box(y0, x0, y0 + height, x0 + width)

    want = canvas[box.shift(10, 10).slices]
    np.testing.assert_array_equal(region.within(box), want)
    rows, columns = np.arange(box.y0, box.y1) + 0.3, np.arange(box.x0, box.x1) - 0.3
    np.testing.assert_array_equal(region.at(rows, columns), want)
    own = region.cropped()
    np.testing.assert_array_equal(own.within(Box(0, 0, 15, 15)), region.within(Box(0, 0, 15, 15)))


def test_small_object_in_a_huge_image_costs_no_large_array():
    view = View(Box(0, 0, 100_352, 100_352))  # 896 level-0 pixels a cell
    field = spots(view, (50, 50, 2))
    tracemalloc.start()

    field, fine = keep_components((100_000, 100_000), field, [Click(45_700, 45_700)], None)
    region = paste((100_000, 100_000), fine, Region.nothing())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert 0.8 < region.mask.sum() / (2 * 896) ** 2 < 1.3
    assert peak < 5 * region.mask.nbytes + 30e6

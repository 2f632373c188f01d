"""The tile plan: every pixel is answered for once, and neighbouring weights sum to 1."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_relay.errors import UsageError
from napari_relay.fullimage.plan import Grid, checked_region, ramp, step_for
from napari_relay.geometry import Box

SHAPES = st.tuples(st.integers(1, 2500), st.integers(1, 2500))
STEPS = st.integers(-6, 4)


def whole(shape: tuple[int, int], step: int) -> Grid:
    return Grid(shape, step, Box(0, 0, *shape))


@given(SHAPES, STEPS)
def test_cores_cover_the_image_once_and_lie_in_their_views(shape: tuple[int, int], step: int) -> None:
    grid = whole(shape, step)

    rows = [(grid.core(p), grid.view(p).box) for p in grid.places() if p.column == 0]
    columns = [(grid.core(p), grid.view(p).box) for p in grid.places() if p.row == 0]

    assert len(list(grid.places())) == len(grid) == len(rows) * len(columns)
    for (core, view), after in zip(rows, [*rows[1:], None], strict=True):
        assert view.y0 <= core.y0 < core.y1 <= view.y1
        assert core.y1 == (shape[0] if after is None else after[0].y0)
    for (core, view), after in zip(columns, [*columns[1:], None], strict=True):
        assert view.x0 <= core.x0 < core.x1 <= view.x1
        assert core.x1 == (shape[1] if after is None else after[0].x0)


@given(SHAPES, STEPS, st.data())
def test_a_region_is_seen_by_the_same_views_as_the_whole(
    shape: tuple[int, int], step: int, data: st.DataObject
) -> None:
    y0, x0 = data.draw(st.integers(0, shape[0] - 1)), data.draw(st.integers(0, shape[1] - 1))
    region = Box(y0, x0, data.draw(st.integers(y0 + 1, shape[0])), data.draw(st.integers(x0 + 1, shape[1])))

    grid = Grid(shape, step, region)
    wanted = {p for p in whole(shape, step).places() if not grid.core(p).intersect(region).empty}

    assert set(grid.places()) == wanted


@given(SHAPES, STEPS)
def test_the_views_of_a_cell_are_those_that_reach_into_it(shape: tuple[int, int], step: int) -> None:
    grid = whole(shape, step)
    cells = list(grid.cells())

    for row, column in (cells[0], cells[-1], cells[len(cells) // 2]):
        cell = Box(row * grid.stride, column * grid.stride, (row + 1) * grid.stride, (column + 1) * grid.stride)
        reaching = {p for p in grid.places() if not grid.view(p).box.intersect(cell).empty}
        assert set(grid.contributors(row, column)) == reaching


@given(st.sampled_from([112, 448, 336, 632]), st.integers(2, 5))
def test_weights_of_neighbours_sum_to_one(side: int, count: int) -> None:
    stride = side * 3 // 4
    total = np.zeros(stride * (count - 1) + side)
    for i in range(count):
        total[i * stride : i * stride + side] += ramp(side, rising=i > 0, falling=i < count - 1)

    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_a_region_outside_the_image_is_refused() -> None:
    assert checked_region((10, 20), Box(5, 5, 50, 50)) == Box(5, 5, 10, 20)
    with pytest.raises(UsageError, match="no pixel"):
        checked_region((10, 20), Box(10, 0, 20, 5))


def test_the_scale_follows_the_size_of_the_objects() -> None:
    assert step_for([], (5000, 5000)) == 0
    assert step_for([56, 56, 900], (5000, 5000)) == 0
    assert step_for([112], (5000, 5000)) == 2
    assert step_for([20], (5000, 5000)) == -3
    assert step_for([5000], (500, 400)) == 1  # no coarser than the whole image in one view

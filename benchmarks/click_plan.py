"""Where to click: places of a large image whose views are cold or shared, and corrections of a proposal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_relay.errors import UsageError
from napari_relay.geometry import Box, Click
from napari_relay.session import ClickSession
from napari_relay.views import ViewPair, first_view, view_pair
from napari_relay.views.values import VIEW_SIDE

CELL = 4 * VIEW_SIDE
"""Places this far apart share no global view."""


@dataclass(frozen=True, slots=True)
class Place:
    """Three first clicks: with nothing encoded, then two that see other local views under the same global one."""

    cold: Click
    near: Click
    hovered: Click


def places(shape: tuple[int, int], count: int) -> Iterator[Place]:
    """Up to `count` places of an image of `shape`, none of which shares a view with another.

    Raises
    ------
    UsageError
        The image is too small for one.
    """
    rows, columns = (size // CELL for size in shape)
    if not rows or not columns:
        raise UsageError(f"An image of {shape} pixels has no room for two views.", f"Give one of {CELL} px or more.")
    cells = np.random.default_rng(0).permutation(rows * columns)[:count]
    for cell in cells:
        row, column = divmod(int(cell), columns)
        y, x = row * CELL + CELL // 2, column * CELL + CELL // 2
        near, hovered = (Click(y + dy, x + dx) for dy, dx in _offsets(shape, y, x))
        yield Place(Click(y, x), near, hovered)


def _offsets(shape: tuple[int, int], y: float, x: float) -> list[tuple[int, int]]:
    """Two steps aside to other local views under the same global view."""
    start = _pair(shape, y, x)
    locals_, found = {start.local}, []
    for dy, dx in ((0, 350), (350, 0), (0, -350), (-350, 0), (300, 300), (-300, -300), (200, 0), (0, 200)):
        pair = _pair(shape, y + dy, x + dx)
        if pair.global_ == start.global_ and pair.local not in locals_:
            locals_.add(pair.local)
            found.append((dy, dx))
    assert len(found) >= 2, "the grid of views has changed: choose other offsets"
    return found[:2]


def _pair(shape: tuple[int, int], y: float, x: float) -> ViewPair:
    return view_pair(shape, first_view(shape, (y, x)))


def further_click(session: ClickSession, clicks: Sequence[Click]) -> Click:
    """A click as a user might correct with: deep in the mask and far from other clicks, then the same beside it.

    It depends on the proposal alone, so that a second session with the same clicks gets the same ones.
    """
    proposal = session.proposal
    assert proposal is not None
    positive = len(clicks) % 2 == 1
    box = proposal.box.grow(16).clip(session.source.shape)
    if proposal.empty:
        y, x = clicks[0].y, clicks[0].x
        return Click(min(y + 8.0 * len(clicks), session.source.shape[0] - 1.0), x)
    inside = np.zeros(box.shape, bool)
    inside[proposal.box.relative_to(box).slices] = proposal.mask
    y, x = _farthest(inside if positive else ~inside, box, clicks)
    return Click(float(y), float(x), positive)


def _farthest(region: np.ndarray, box: Box, clicks: Sequence[Click]) -> tuple[int, int]:
    """The pixel of `region` farthest from its edge and from the clicks."""
    free = np.pad(region, 1)
    for click in clicks:
        y, x = round(click.y) - box.y0 + 1, round(click.x) - box.x0 + 1
        if 0 <= y < free.shape[0] and 0 <= x < free.shape[1]:
            free[y, x] = False
    depth = ndimage.distance_transform_edt(free)
    row, column = divmod(int(np.argmax(depth)), depth.shape[1])
    return box.y0 + row - 1, box.x0 + column - 1

"""Which view pair the model looks at: pure functions of image shape, clicks, mask box and the present view.

Local views stand on a grid so that neighbouring clicks share encodings: sides are 448 * 2**(j / 2) for
whole j >= -6, positions are multiples of a quarter of the side. Two rules keep views useful at the image's
border: a view never hangs over it by more than one grid step (except where the image is smaller than the
view), and a view that would be about as wide as the image becomes the whole-image view, the square of the
longer side at (0, 0).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from napari_relay.errors import UsageError
from napari_relay.geometry import Box, Click
from napari_relay.views.values import VIEW_SIDE, View, ViewPair

WHOLE_IMAGE_LIMIT = 1792
"""Longer side up to which a first click without a zoom sees the whole image (4 px a view pixel)."""
MIN_STEP = -6
"""Finest step j: a side of 56 px."""
EXPANSION = 1.4
"""A following view is this much wider than the object (the expansion of zoom-in evaluation, RITM)."""
LEARNED_VIEW = 2.5
"""A first view is so much wider than the objects, where their size was learned (`benchmarks/learn.py`)."""
CENTRAL = 0.8
"""The view stays while everything lies in this central part of it."""
GLOBAL_FACTOR = 4
RIM = 16
"""View pixels at the inner border of a view that are blended with what was known before (feathered rim)."""

Shape = tuple[int, int]


def step_side(step: int) -> int:
    """Side in level-0 pixels of local views at half-octave `step`; a multiple of 4: a quarter is whole."""
    return 4 * round(VIEW_SIDE / 4 * 2 ** (step / 2))


def whole_view(shape: Shape) -> View:
    """The exact square of the longer side, anchored at (0, 0); pads at the right or at the bottom."""
    side = max(*shape, step_side(MIN_STEP))
    return View(Box(0, 0, side, side))


def first_view(
    shape: Shape, point: tuple[float, float], zoom: float | None = None, object_px: float | None = None
) -> View:
    """Local view of an object's first click.

    Parameters
    ----------
    shape : (height, width) of level 0.
    point : the click, (y, x) in level-0 pixels.
    zoom : level-0 pixels per view pixel. None: the whole image up to 1792 px on its longer side, else 1.
    object_px : longest side of the larger ones of the objects that are clicked here, where that was learned: the
        view is no wider than `LEARNED_VIEW` times it.

    Raises
    ------
    UsageError
        `zoom` is not a positive finite number.
    """
    if object_px is not None:
        learned = LEARNED_VIEW * object_px / VIEW_SIDE
        zoom = learned if zoom is None or zoom > learned else zoom
    if zoom is None:
        if max(shape) <= WHOLE_IMAGE_LIMIT:
            return whole_view(shape)
        zoom = 1.0
    if not (math.isfinite(zoom) and zoom > 0):
        raise UsageError(f"zoom = {zoom} is not a positive number.", "Give level-0 pixels per view pixel.")
    y, x = point
    return _view_at(shape, _step_covering(zoom * VIEW_SIDE), (y + 0.5, x + 0.5))


def follow_view(shape: Shape, current: View, mask_box: Box, touches_border: bool, clicks: Sequence[Click] = ()) -> View:
    """Local view that follows a proposal: its box x 1.4, coarser when the mask is cut by the view's border.

    The view stays where it is while the mask and the positive clicks lie in its central 80 % (or the grid
    has no better place), the mask is not cut and the wanted side is within half an octave of the present one:
    changing views at every click costs encodings and helps nothing once the object is framed. Where clicks found
    nothing, the view halves round them.

    Parameters
    ----------
    shape : (height, width) of level 0.
    current : view of the proposal.
    mask_box : box of the proposal's mask; may be empty.
    touches_border : what `touches_border` says about the proposal.
    clicks : the object's clicks; positive ones are kept inside the view.
    """
    wanted = _hull(mask_box, clicks).clip(shape)
    if wanted.empty:
        return current
    longest = max(wanted.shape)
    step = _step_covering(EXPANSION * longest)
    if mask_box.empty:
        # Something was clicked and nothing seen: most likely it is too small for this view.
        step = max(step, math.floor(_step_of(current.box.height)) - 2, MIN_STEP)
    elif touches_border:
        # The true extent is unknown: look half an octave wider, or twice as wide if it fills the view.
        wider = 2 if longest >= 0.7 * current.box.height else 1
        step = max(step, round(_step_of(current.box.height)) + wider)
    elif _fits(shape, current, step, wanted):
        return current
    return _view_around(shape, step, wanted)


def widened_view(shape: Shape, current: View, clicks: Sequence[Click]) -> View:
    """The view itself if it shows the positive clicks, else one of at least its scale that does."""
    if all(holds_click(shape, current, click) for click in clicks if click.positive):
        return current
    wanted = _hull(Box(0, 0, 0, 0), clicks)
    step = max(_step_covering(EXPANSION * max(wanted.shape)), math.floor(_step_of(current.box.height)))
    return _view_around(shape, step, wanted)


def touches_border(shape: Shape, view: View, mask_box: Box) -> bool:
    """Whether a mask reaches the view's border where the image goes on behind it.

    The rim's width counts as the border: there the blending with what was known before can hold a mask back.
    """
    if mask_box.empty:
        return False
    inner = _shrunk(shape, view, RIM * view.scale)
    return not _inside(inner, mask_box)


def global_view(shape: Shape, local: View, k: int = GLOBAL_FACTOR) -> View | None:
    """The wider view around `local`.

    Centres are multiples of k * side / 2, so that one global view serves many local ones and the local
    centre is never farther than half the global half side from the global centre. Where k * side reaches the
    image's longer side it is the whole-image view; where `local` covers the image there is none.
    """
    if local.box.covers(Box(0, 0, *shape)):
        return None
    side = k * local.box.height
    if side >= max(shape):
        return whole_view(shape)
    grid = side / 2
    local_y, local_x = local.box.y0 + local.box.height / 2, local.box.x0 + local.box.width / 2
    y0 = round(grid * math.floor(local_y / grid + 0.5) - grid)
    x0 = round(grid * math.floor(local_x / grid + 0.5) - grid)
    return View(Box(y0, x0, y0 + side, x0 + side))


def view_pair(shape: Shape, local: View) -> ViewPair:
    """`local` together with its global view."""
    return ViewPair(local, global_view(shape, local))


def holds_click(shape: Shape, view: View, click: Click) -> bool:
    """Whether the click lies in the view and off the rim of its inner borders."""
    return _inside(_shrunk(shape, view, RIM * view.scale), _pixel_box(click))


def _step_of(side: float) -> float:
    return 2 * math.log2(side / VIEW_SIDE)


def _step_covering(side: float) -> int:
    """Smallest step whose side is at least `side` (up to the rounding of sides to multiples of 4)."""
    step = max(MIN_STEP, math.ceil(_step_of(side)))
    return step - 1 if step > MIN_STEP and step_side(step - 1) >= side else step


def _view_at(shape: Shape, step: int, centre: tuple[float, float]) -> View:
    """View of `step` around `centre` (pixel i covers [i, i + 1) here), on the grid and inside the image."""
    side = step_side(step)
    if side * 2**0.25 >= max(shape):
        return whole_view(shape)
    quarter = side // 4
    y0, x0 = (_snap(middle, extent, quarter) for middle, extent in zip(centre, shape, strict=True))
    return View(Box(y0, x0, y0 + side, x0 + side))


def _view_around(shape: Shape, step: int, wanted: Box) -> View:
    """Finest view from `step` on whose rim `wanted` does not reach: the grid moves it by up to an eighth."""
    centre = ((wanted.y0 + wanted.y1) / 2, (wanted.x0 + wanted.x1) / 2)
    view = _view_at(shape, step, centre)
    while touches_border(shape, view, wanted):
        step += 1
        view = _view_at(shape, step, centre)
    return view


def _snap(middle: float, extent: int, quarter: int) -> int:
    index = math.floor(middle / quarter - 2 + 0.5)
    last = max(0, math.ceil(extent / quarter) - 4)
    return quarter * min(max(index, 0), last)


def _hull(box: Box, clicks: Sequence[Click]) -> Box:
    """Box round `box` and the positive clicks."""
    for click in clicks:
        if click.positive:
            box = box.hull(_pixel_box(click))
    return box


def _pixel_box(click: Click) -> Box:
    y, x = math.floor(click.y + 0.5), math.floor(click.x + 0.5)
    return Box(y, x, y + 1, x + 1)


def _fits(shape: Shape, current: View, step: int, wanted: Box) -> bool:
    """Whether the present view will do for `wanted`, whose own step is `step`."""
    side = current.box.height
    if abs(_step_of(step_side(step)) - _step_of(side)) > 1.1:
        return False
    if _inside(_shrunk(shape, current, (1 - CENTRAL) / 2 * side), wanted):
        return True
    return _view_around(shape, round(_step_of(side)), wanted) == current


def _shrunk(shape: Shape, view: View, margin: float) -> tuple[float, float, float, float]:
    """(y0, x0, y1, x1) of the view without `margin` at its inner borders; open where the image ends."""
    box = view.box
    return (
        box.y0 + margin if box.y0 > 0 else -math.inf,
        box.x0 + margin if box.x0 > 0 else -math.inf,
        box.y1 - margin if box.y1 < shape[0] else math.inf,
        box.x1 - margin if box.x1 < shape[1] else math.inf,
    )


def _inside(limits: tuple[float, float, float, float], box: Box) -> bool:
    y0, x0, y1, x1 = limits
    return y0 <= box.y0 and x0 <= box.x0 and box.y1 <= y1 and box.x1 <= x1

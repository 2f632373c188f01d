"""One task of a whole-image job: a pure function of the task, the image's pixels and the model.

A `Work` holds what all tasks of a job have in common. It can be pickled, so that a worker of a cluster can do the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from napari_relay.fullimage import similar
from napari_relay.fullimage.candidates import Candidate, Filters, candidates_of, good_masks
from napari_relay.fullimage.joining import LONGEST_EDGE, agreement, straight_edge
from napari_relay.fullimage.plan import Grid, Place
from napari_relay.fullimage.sees import Masks, Sees
from napari_relay.fullimage.self_clicks import self_clicks
from napari_relay.geometry import Click, Plane
from napari_relay.sources import Source
from napari_relay.views import ChannelMix, Stretch, read_crops, read_view, view_pair
from napari_relay.views.policy import follow_view, touches_border
from napari_relay.views.values import VIEW_SIDE, Crops, Float32, View

THUMB = 56
"""Side of the small picture of a view that tells whether it is empty."""
EMPTY_RANGE = 0.04
"""Range of values (0..1) in that picture below which nothing is there."""
ROUND = 32
"""Self-clicks decoded at a time; those that fall into what was found are left out of the next round."""


@dataclass(frozen=True, slots=True)
class Task:
    """`tile`: look at a view. `seam`: see a joined object in its own window; `click` is inside it."""

    kind: str
    place: Place
    number: int = 0
    joined: Candidate | None = field(default=None, compare=False)
    click: Click | None = None

    @property
    def name(self) -> str:
        return f"{self.kind} {self.place.step} {self.place.row} {self.place.column} {self.number}"


@dataclass(frozen=True, eq=False, slots=True)
class Work:
    """What the tasks of a job have in common.

    grids : by step. clicks : most self-clicks in a view. examples : what to look for; None looks for everything.
    known : in a search for everything, accepted objects: what looks like them is clicked too. skip_empty : leave out
    views in which nothing is to be seen.
    """

    grids: dict[int, Grid]
    plane: Plane
    mix: ChannelMix
    stretch: Stretch
    filters: Filters = field(default_factory=Filters)
    clicks: int = 64
    skip_empty: bool = True
    examples: similar.Examples | None = None
    known: similar.Examples | None = None

    def do(self, task: Task, source: Source, sees: Sees) -> list[Candidate]:
        """What the task finds.

        Raises
        ------
        ImageError, EngineError
        """
        if task.kind == "seam":
            return self._seam(task, source, sees)
        view = self.grids[task.place.step].view(task.place)
        if self.skip_empty and self.is_empty(source, view):
            return []
        crops = self.crops(source, view)
        if self.examples is not None:
            return similar.in_view(self.examples, source.shape, task.place, crops, sees, self.filters)
        return self._everything(source.shape, task.place, crops, sees)

    def crops(self, source: Source, view: View) -> Crops:
        """The pixels of a view with its global view."""
        return read_crops(source, view_pair(source.shape, view), self.plane, self.mix, self.stretch)

    def is_empty(self, source: Source, view: View) -> bool:
        """Whether the view shows an even ground: its small picture, each pixel a mean of 8 x 8 view pixels, has
        nearly one value."""
        small = read_view(source, View(view.box, THUMB), self.plane, self.mix, self.stretch)
        inside = tokens_inside(source.shape, view, THUMB)
        if not inside.any():
            return True
        values = small[:, inside]  # [3, n]
        # Normalised values are about 4.4 times as large as those in 0..1.
        return bool((values.max(axis=1) - values.min(axis=1)).max() < EMPTY_RANGE / 0.226)

    def _everything(self, shape: tuple[int, int], place: Place, crops: Crops, sees: Sees) -> list[Candidate]:
        view = crops.pair.local
        space = sees.look(crops)
        points = self_clicks(space, tokens_inside(shape, view, space.shape[0]), self.clicks)
        if self.known is not None and place.step == self.known.step:
            # First, so that what the others cover already is not what these find.
            points = apart(similar.places(self.known, shape, view, space), points, VIEW_SIDE / space.shape[0])
        logits, scores = _asked(sees, crops, points, self.filters)
        return candidates_of(shape, place, view, logits, scores, self.filters)

    def _seam(self, task: Task, source: Source, sees: Sees) -> list[Candidate]:
        """A joined object seen whole: its new mask where that agrees, else the union where no seam shows in it."""
        assert task.joined is not None
        assert task.click is not None
        joined, grid = task.joined, self.grids[task.place.step]
        view = follow_view(source.shape, grid.view(task.place), joined.box, True, [task.click])
        crops = self.crops(source, view)
        sees.look(crops)
        point = np.array([view.to_view(task.click.y, task.click.x)], np.float32)
        masks = sees.ask(crops, _as_clicks(point))
        loose = Filters(0.0, 0.0, self.filters.min_area, 0.95, self.filters.nested)
        logits, scores = good_masks(masks, point, loose)
        best: Candidate | None = None
        for number in range(len(logits)):
            part = slice(number, number + 1)
            for one in candidates_of(source.shape, task.place, view, logits[part], scores[part], loose):
                good = not touches_border(source.shape, view, one.box) and agreement(one, joined) > 0.5
                if good and (best is None or agreement(one, joined) > agreement(best, joined)):
                    best = one
        if best is not None:
            score = min(best.score, joined.score)
            return [Candidate(task.place, task.number, best.box, best.mask, score, vector=joined.vector)]
        return [joined] if straight_edge(joined, grid) <= LONGEST_EDGE else []


def tokens_inside(shape: tuple[int, int], view: View, side: int) -> npt.NDArray[np.bool_]:
    """Which of side x side cells of a view have their middle in the image: bool [side, side]."""
    cell = view.box.height / side
    middle = (np.arange(side) + 0.5) * cell
    rows, columns = (middle + view.box.y0 < shape[0], middle + view.box.x0 < shape[1])
    inside: npt.NDArray[np.bool_] = rows[:, None] & columns[None]
    return inside


def apart(first: Float32, then: Float32, least: float) -> Float32:
    """The `first` points and those of `then` that are at least so far from all of them: [n, 2]."""
    if not (len(first) and len(then)):
        return first if len(first) else then
    distance = np.hypot(*(then[:, None] - first[None]).transpose(2, 0, 1))
    return np.concatenate([first, then[distance.min(axis=1) >= least]])


def _as_clicks(points: Float32) -> Float32:
    """[n, 2] -> [n, 1, 3] positive clicks."""
    return np.concatenate([points, np.ones((len(points), 1), np.float32)], axis=1)[:, None]


def _asked(sees: Sees, crops: Crops, points: Float32, filters: Filters) -> tuple[Float32, Float32]:
    """Good masks of self-clicks, asked in rounds: logits [m, 112, 112], scores [m]."""
    found: list[tuple[Float32, Float32]] = []
    waiting = points
    while len(waiting):
        now, waiting = waiting[:ROUND], waiting[ROUND:]
        masks = sees.ask(crops, _as_clicks(now))
        found.append(good_masks(masks, now, filters))
        waiting = _outside(waiting, masks)
    if not found:
        return np.zeros((0, 1, 1), np.float32), np.zeros(0, np.float32)
    return np.concatenate([logits for logits, _ in found]), np.concatenate([scores for _, scores in found])


def _outside(points: Float32, masks: Masks) -> Float32:
    """The points that no sure mask covers yet, the ground's neither."""
    best = masks.scores.argmax(axis=1)
    each = np.arange(len(best))
    sure = masks.scores[each, best] > 0.8
    covered = (masks.logits[each, best][sure] > 0).any(axis=0) if sure.any() else None
    if covered is None or not len(points):
        return points
    side = covered.shape[0]
    at = np.clip(((points + 0.5) * side / VIEW_SIDE).astype(int), 0, side - 1)
    outside: Float32 = points[~covered[at[:, 0], at[:, 1]]]
    return outside


def tiles(grids: Sequence[Grid]) -> list[Task]:
    """A task for each view of each grid, the finest first."""
    return [Task("tile", place) for grid in sorted(grids, key=lambda g: g.step) for place in grid.places()]

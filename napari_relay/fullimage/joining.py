"""One object is one object: what the borders of views cut is joined over the seams, and of several masks of one thing
the best stays.

Evidence decides, not position: two cut masks belong together where they agree on the pixels that both views show.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from scipy import ndimage

from napari_relay.fullimage.candidates import Candidate, shared_area, shared_share
from napari_relay.fullimage.jobfile import JOINED, SEAMS, TILES, JobFile
from napari_relay.fullimage.plan import Grid
from napari_relay.fullimage.sees import Mask
from napari_relay.geometry import Box, Click
from napari_relay.session.region import Region

AGREEMENT = 0.5
"""IoU in the overlap of two views above which two masks are one object."""
LONGEST_EDGE = 8
"""Pixels of straight border along a seam that a joined mask may have."""
MOST_VIEWS = 2.0
"""A joined object is at most this many views long; longer ones are for a coarser scale."""


def join(job: JobFile, grids: Mapping[int, Grid]) -> list[Candidate]:
    """Unions of the masks that views cut and that agree in their overlaps, one for each object; by place.

    Parameters
    ----------
    grids : by step, those that the candidates come from.
    """
    parent: dict[int, int] = {}
    for own_id, own in job.candidates(TILES, "AND cut = 1"):
        parent.setdefault(own_id, own_id)
        for other_id, other in job.near((TILES,), own.box, "AND c.cut = 1"):
            if other.place <= own.place or other.place.step != own.place.step:
                continue
            if _agree(grids[own.place.step], own, other):
                parent.setdefault(other_id, other_id)
                _unite(parent, own_id, other_id)
    groups: dict[int, list[int]] = {}
    for member in parent:
        groups.setdefault(_root(parent, member), []).append(member)
    joined = [_union(job, grids, members) for members in groups.values() if len(members) > 1]
    return sorted((one for one in joined if one is not None), key=lambda one: (one.place, one.number))


def seam_click(one: Candidate) -> Click:
    """The deepest place of a mask, in level-0 pixels."""
    depth = ndimage.distance_transform_edt(np.pad(one.mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return Click(float(one.box.y0 + y), float(one.box.x0 + x))


def straight_edge(one: Candidate, grid: Grid) -> int:
    """The longest straight run of a mask's border, in pixels, along a border of any view of the grid."""
    longest = 0
    for axis, (start, stop) in enumerate(((one.box.y0, one.box.y1), (one.box.x0, one.box.x1))):
        mask = one.mask if axis == 0 else one.mask.T
        for line in _lines(grid, axis, start, stop):
            before = mask[line - start - 1] if line > start else np.zeros(mask.shape[1], bool)
            after = mask[line - start] if line < stop else np.zeros(mask.shape[1], bool)
            longest = max(longest, _longest_run(before != after))
    return longest


def keep_best(job: JobFile, grids: Mapping[int, Grid], nested: float, region: Box) -> Iterator[tuple[int, int]]:
    """Mark the candidates that stay: whole ones and joined ones, each object once, the better ones first.

    Parameters
    ----------
    nested : share of the smaller mask above which two are one object.
    region : the middle of an object's box lies in it.

    Yields
    ------
    How many of how many are settled.
    """
    steps = sorted(grids)
    job.keep_none()
    kinds = (TILES, SEAMS)
    ranked = job.ranked(kinds, f"AND (kind = '{SEAMS}' OR cut = 0)")
    for number, candidate_id in enumerate(ranked, 1):
        one = job.candidate(candidate_id)
        if _fits_scale(one, grids, steps) and region.contains(*one.box.centre):
            rivals = job.near(kinds, one.box, "AND c.kept = 1")
            if all(shared_share(one.box, one.mask, other.box, other.mask) <= nested for _, other in rivals):
                job.keep(candidate_id)
        yield number, len(ranked)


def kept(job: JobFile) -> Iterator[Candidate]:
    """The candidates that stay, the highest score first."""
    for candidate_id in job.ranked((TILES, SEAMS), "AND kept = 1"):
        yield job.candidate(candidate_id)


def joined_candidates(job: JobFile) -> list[Candidate]:
    """What `join` gave, as the job keeps it."""
    return [one for _, one in job.candidates(JOINED)]


def _fits_scale(one: Candidate, grids: Mapping[int, Grid], steps: list[int]) -> bool:
    """Coarse views answer only for what the finer ones may have cut."""
    place = steps.index(one.place.step)
    return place == 0 or max(one.box.shape) >= 0.2 * grids[steps[place - 1]].side


def _agree(grid: Grid, one: Candidate, other: Candidate) -> bool:
    common = grid.view(one.place).box.intersect(grid.view(other.place).box)
    if common.empty:
        return False
    first, second = (Region(c.box, c.mask).within(common) for c in (one, other))
    union = np.count_nonzero(first | second)
    return bool(union and np.count_nonzero(first & second) > AGREEMENT * union)


def _union(job: JobFile, grids: Mapping[int, Grid], ids: list[int]) -> Candidate | None:
    """The union of a group; None where it is too long for its scale."""
    hull = Box(0, 0, 0, 0)
    members = sorted((job.candidate(i) for i in ids), key=lambda one: (one.place, one.number))
    for one in members:
        hull = hull.hull(one.box)
    if max(hull.shape) > MOST_VIEWS * grids[members[0].place.step].side:
        return None
    mask = np.zeros(hull.shape, bool)
    for one in members:
        mask[one.box.relative_to(hull).slices] |= one.mask
    labels, count = ndimage.label(mask)
    if count > 1:  # specks that only one of the views saw
        areas = np.bincount(labels.ravel())
        areas[0] = 0
        mask = labels == areas.argmax()
    region = Region(hull, mask).cropped()
    weights = [one.area for one in members]
    score = float(np.average([one.score for one in members], weights=weights))
    first = members[0]
    return Candidate(first.place, first.number, region.box, region.mask, score, vector=first.vector)


def agreement(one: Candidate, other: Candidate) -> float:
    """IoU of two masks."""
    shared = shared_area(one.box, one.mask, other.box, other.mask)
    return shared / max(1, one.area + other.area - shared)


def _lines(grid: Grid, axis: int, start: int, stop: int) -> Iterator[int]:
    """Borders of views within [start, stop]: lines between pixel line - 1 and line."""
    for index in range(grid.counts[axis]):
        for line in (index * grid.stride, index * grid.stride + grid.side):
            if start <= line <= stop and 0 < line < grid.shape[axis]:
                yield line


def _longest_run(flags: Mask) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.view(np.int8), [0]])))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def _root(parent: dict[int, int], member: int) -> int:
    while parent[member] != member:
        parent[member] = parent[parent[member]]
        member = parent[member]
    return member


def _unite(parent: dict[int, int], one: int, other: int) -> None:
    roots = sorted((_root(parent, one), _root(parent, other)))
    parent[roots[1]] = roots[0]

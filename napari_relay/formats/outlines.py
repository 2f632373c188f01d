"""Outlines along pixel edges: from runs to polygons and back, without a pixel gained or lost.

Corners are (y, x) on the lattice of pixel corners: (0, 0) is the outer corner of the first pixel, (1, 1) its opposite
one. A polygon is a part whose pixels hang together by their sides; its outline runs with the pixels on its right hand
(anticlockwise where y points up, as GeoJSON wants it), its holes the other way. No ring meets itself and rings touch
in single corners only, so the polygons are valid after OGC (JTS, GEOS, QuPath, QGIS).

Both directions work on many objects at once: what costs is the number of numpy calls, not the number of pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_relay.formats.runs import EMPTY, Runs, merge_groups
from napari_relay.geometry import Box

Ring = npt.NDArray[np.float64] | npt.NDArray[np.int64]
"""Corners [n, 2] of (y, x); the first is not repeated at the end."""

MAX_CROSSINGS = 200_000_000
"""So many crossings of outline and pixel rows are filled for one batch; more is no object but an attack."""
_BAND = 400_000


@dataclass(frozen=True, slots=True, eq=False)
class Polygon:
    """One part: its outline and the outlines of its holes."""

    shell: Ring
    holes: tuple[Ring, ...] = ()


class TooComplexError(ValueError):
    """An outline crosses more pixel rows than `MAX_CROSSINGS`."""


def trace(runs: Runs) -> list[Polygon]:
    """The parts of one object."""
    return trace_all([runs])[0]


def trace_all(objects: Sequence[Runs]) -> list[list[Polygon]]:
    """The parts of each object.

    Every run has two upright edges: its left side, walked upwards, and its right side, walked downwards. On each
    line between two rows the ends of edges, sorted by x, are joined in pairs: with their like above or below where
    the outline goes straight on, else with their neighbour, along the line.
    """
    lengths = np.array([len(runs) for runs in objects])
    if not lengths.sum():
        return [[] for _ in objects]
    owner = np.repeat(np.arange(len(objects)), lengths)
    runs = np.concatenate(objects)
    tops = np.array([runs[0, 0] if len(runs) else 0 for runs in objects])
    heights = np.array([runs[-1, 0] - runs[0, 0] + 2 if len(runs) else 0 for runs in objects])  # lines, not rows
    lift = np.cumsum(heights) - heights - tops
    line = runs[:, 0] + lift[owner]
    x = runs[:, 1:].ravel()  # of edges: 2 k is the left side of run k, 2 k + 1 the right
    following, corner, meets = _join(line, x)
    rings, ring_of = _walk(following, corner)
    is_left = np.arange(len(x)) % 2 == 0
    arrives = np.repeat(line, 2) + ~is_left  # an edge upwards ends at the top of its row, one downwards at the bottom
    ends_y = arrives - np.repeat(lift[owner], 2)
    flat = np.concatenate([np.array(ring) for ring, _ in rings])
    corners = np.empty((len(flat), 2, 2), np.int64)
    corners[:, :, 0] = ends_y[flat, None]
    corners[:, 0, 1], corners[:, 1, 1] = x[flat], x[following[flat]]
    pieces = np.split(corners.reshape(-1, 2), 2 * np.cumsum([len(ring) for ring, _ in rings])[:-1])
    touching = np.zeros(len(objects), bool)
    touching[owner[meets // 2]] = True
    return _assemble(pieces, [first for _, first in rings], owner, ring_of, touching)


def _join(line: Runs, x: Runs) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """The edge that follows each edge, whether a corner lies between, and edges at corners where two parts meet."""
    n = len(x)
    edge = np.concatenate([np.arange(n), np.arange(n)])  # upper ends, then lower ends
    is_left = edge % 2 == 0
    upper = np.arange(2 * n) < n
    lines = np.repeat(line, 2)[edge] + ~upper
    low = int(x.min())
    key = (lines * (int(x.max()) - low + 1) + x[edge] - low) * 2 + is_left
    # Right sides before left sides: where pixels meet by a corner only, each keeps to itself.
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    same = ordered[1:] == ordered[:-1]
    straight = np.concatenate([same, [False]]) | np.concatenate([[False], same])
    following, corner = np.empty(n, np.int64), np.zeros(n, bool)
    arriving = upper == is_left
    for chosen, turns in ((order[straight], False), (order[~straight], True)):
        pairs = chosen.reshape(-1, 2)
        comes = np.where(arriving[pairs[:, 0]], pairs[:, 0], pairs[:, 1])
        goes = np.where(arriving[pairs[:, 0]], pairs[:, 1], pairs[:, 0])
        following[edge[comes]] = edge[goes]
        corner[edge[comes]] = turns
    meets = edge[order[1:][(ordered[1:] >> 1 == ordered[:-1] >> 1) & ~same]]
    return following, corner, meets


def _walk(
    following: npt.NDArray[np.int64], corner: npt.NDArray[np.bool_]
) -> tuple[list[tuple[list[int], int]], list[int]]:
    """(edges before a corner, first edge) of each ring, and the ring of each edge."""
    after, turns = following.tolist(), corner.tolist()
    ring_of = [-1] * len(after)
    rings: list[tuple[list[int], int]] = []
    for first in range(len(after)):
        if ring_of[first] >= 0:
            continue
        number, ring, edge = len(rings), [], first
        while ring_of[edge] < 0:
            ring_of[edge] = number
            if turns[edge]:
                ring.append(edge)
            edge = after[edge]
        rings.append((ring, first))
    return rings, ring_of


def _assemble(
    pieces: Sequence[Ring],
    firsts: Sequence[int],
    owner: npt.NDArray[np.int64],
    ring_of: list[int],
    touching: npt.NDArray[np.bool_],
) -> list[list[Polygon]]:
    """Sort rings into outlines and holes, and holes to their outlines."""
    shells: list[list[tuple[int, Ring]]] = [[] for _ in touching]
    holes: list[list[tuple[int, Ring]]] = [[] for _ in touching]
    owners = owner[np.array(firsts) // 2].tolist()
    for number, (piece, first, mine) in enumerate(zip(pieces, firsts, owners, strict=True)):
        # The first edge of a ring in reading order is a left side outside, and a right side round a hole.
        if not touching[mine]:
            (holes if first % 2 else shells)[mine].append((number, piece))
            continue
        for part in _split_at_touches(piece):
            (shells if _signed_area(part) > 0 else holes)[mine].append((number, part))
    runs_of = np.searchsorted(owner, np.arange(len(touching) + 1))
    return [
        _polygons(shells[mine], holes[mine], ring_of, range(runs_of[mine], runs_of[mine + 1]))
        for mine in range(len(touching))
    ]


def _polygons(
    shells: list[tuple[int, Ring]], holes: list[tuple[int, Ring]], ring_of: list[int], runs: range
) -> list[Polygon]:
    if not holes:
        return [Polygon(shell) for _, shell in shells]
    if len(shells) == 1:
        return [Polygon(shells[0][1], tuple(hole for _, hole in holes))]
    # The two sides of a run belong to the same part, so the rings of a part hang together by its runs.
    part_of = {ring: ring for k in runs for ring in (ring_of[2 * k], ring_of[2 * k + 1])}

    def find(ring: int) -> int:
        while part_of[ring] != ring:
            part_of[ring] = ring = part_of[part_of[ring]]
        return ring

    for k in runs:
        part_of[find(ring_of[2 * k])] = find(ring_of[2 * k + 1])
    inside: dict[int, list[Ring]] = {}
    for ring, hole in holes:
        inside.setdefault(find(ring), []).append(hole)
    return [Polygon(shell, tuple(inside.get(find(ring), ()))) for ring, shell in shells]


def _split_at_touches(ring: Ring) -> list[Ring]:
    """Cut a ring that comes back to a corner into rings that do not."""
    done: list[Ring] = []
    path: list[tuple[int, int]] = []
    at: dict[tuple[int, int], int] = {}
    for y, x in ring.tolist():
        place = (y, x)
        if place in at:
            start = at[place]
            done.append(np.array(path[start:], np.int64))
            for gone in path[start:]:
                del at[gone]
            del path[start:]
        at[place] = len(path)
        path.append(place)
    done.append(np.array(path, np.int64))
    return done


def _signed_area(ring: Ring) -> float:
    following = np.roll(ring, -1, axis=0)
    return float((ring[:, 1] * following[:, 0] - following[:, 1] * ring[:, 0]).sum()) / 2


def measure(polygons: Sequence[Polygon]) -> tuple[int, float]:
    """Length of all rings along the axes, and how far a corner lies from a corner of pixels, both in pixels.

    The length tells a spike of no width, which fills no pixel, and the distance a shift of less than a pixel.
    """
    length, beside = 0.0, 0.0
    for part in polygons:
        for ring in (part.shell, *part.holes):
            whole = np.rint(ring)
            length += float(np.abs(whole[1:] - whole[:-1]).sum() + np.abs(whole[0] - whole[-1]).sum())
            if ring.dtype.kind == "f":
                beside = max(beside, float(np.abs(ring - whole).max()))
    return round(length), beside


def fill(polygons: Sequence[Polygon], clip: Box) -> Runs:
    """The pixels whose centre lies in one of the polygons, inside a box."""
    return fill_all([polygons], clip)[0]


def fill_all(objects: Sequence[Sequence[Polygon]], clip: Box) -> list[Runs]:
    """Of each object the pixels whose centre lies in one of its polygons (by the even-odd rule), inside a box.

    Raises
    ------
    TooComplexError
        The outlines cross too many rows of pixels.
    """
    rings: list[Ring] = []
    part_of_ring: list[int] = []
    owner_of_part: list[int] = []
    for mine, polygons in enumerate(objects):
        for polygon in polygons:
            own = [ring for ring in (polygon.shell, *polygon.holes) if len(ring) > 2]
            rings += own
            part_of_ring += [len(owner_of_part)] * len(own)
            owner_of_part.append(mine)
    if not rings or clip.empty:
        return [EMPTY] * len(objects)
    start = np.concatenate(rings).astype(np.float64)
    end = np.concatenate([part for ring in rings for part in (ring[1:], ring[:1])]).astype(np.float64)
    part = np.repeat(part_of_ring, [len(ring) for ring in rings])
    first = np.ceil(np.minimum(start[:, 0], end[:, 0]) - 0.5).clip(clip.y0, clip.y1).astype(np.int64)
    stop = np.ceil(np.maximum(start[:, 0], end[:, 0]) - 0.5).clip(clip.y0, clip.y1).astype(np.int64)
    crossings = int((stop - first).sum())
    if crossings > MAX_CROSSINGS:
        raise TooComplexError(f"{crossings} crossings of outlines and rows of pixels")
    found = [
        _fill_band(start, end, part, np.maximum(first, top), np.minimum(stop, bottom), clip)
        for top, bottom in _bands(first, stop, crossings)
    ]
    runs = np.concatenate([band for band, _ in found])
    owner = np.array(owner_of_part)[np.concatenate([parts for _, parts in found])]
    return merge_groups(runs, owner, len(objects))


def _bands(first: Runs, stop: Runs, crossings: int) -> list[tuple[int, int]]:
    """Rows to fill at a time, so that memory stays small."""
    if not crossings:
        return []
    top, bottom = int(first.min()), int(stop.max())
    step = max(1, (bottom - top) * _BAND // crossings)
    return [(row, row + step) for row in range(top, bottom, step)] if crossings > _BAND else [(top, bottom)]


def _fill_band(
    start: npt.NDArray[np.float64],
    end: npt.NDArray[np.float64],
    part: npt.NDArray[np.int64],
    first: npt.NDArray[np.int64],
    stop: npt.NDArray[np.int64],
    clip: Box,
) -> tuple[Runs, npt.NDArray[np.int64]]:
    """Runs, and the part each belongs to, of the edges' rows `first` to `stop`."""
    count = np.maximum(stop - first, 0)
    edge = np.repeat(np.arange(len(count)), count)
    row = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
    (y0, x0), (y1, x1) = start[edge].T, end[edge].T
    crossing = x0 + (row + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
    column = np.ceil(crossing - 0.5).clip(clip.x0, clip.x1).astype(np.int64)
    order = np.lexsort((column, row, part[edge]))
    row, column, mine = row[order], column[order], part[edge][order]
    runs = np.column_stack([row[0::2], column[0::2], column[1::2]])
    keep = runs[:, 1] < runs[:, 2]
    return runs[keep], mine[0::2][keep]

"""What becomes of pixels that two objects want: the rule of a project, applied when a mask is accepted.

Only objects that the label pyramid shows count; proposed and rejected ones own no pixels. Every function runs in a
transaction that the caller opened.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field

import numpy as np

from napari_relay.errors import EmptyProposalError
from napari_relay.geometry import Box, Plane
from napari_relay.store import actions, objects, tiles
from napari_relay.store.bulk import PROTECTED
from napari_relay.store.schema import TILE
from napari_relay.store.values import Actor, Mask, Overlap, checked

KEY = "overlap"
"""Key of the rule in the table `project`."""

_SIDES = (("y0", "row", "min"), ("x0", "column", "min"), ("y1", "row", "max"), ("x1", "column", "max"))


@dataclass(frozen=True, slots=True, eq=False)
class Settled:
    """What a rule makes of a mask and of the objects under it.

    Attributes
    ----------
    box, mask
        What is left of the mask, bool [y, x], in its smallest box; both empty where nothing is.
    lost : int
        Pixels of the mask that belong to others.
    taken : dict of int to int
        Pixels that each object loses to the mask, by its id.
    """

    box: Box
    mask: Mask
    lost: int = 0
    taken: dict[int, int] = field(default_factory=dict)


def get_rule(db: sqlite3.Connection, wanted: Overlap | str | None = None) -> Overlap:
    """The rule of that name; the project's where none is wanted. Raises UsageError for an unknown name."""
    if wanted is not None:
        return checked(Overlap, wanted, "overlap rule")
    row = db.execute("SELECT value FROM project WHERE key = ?", (KEY,)).fetchone()
    return Overlap(row[0]) if row else Overlap.KEEP


def settle(
    db: sqlite3.Connection,
    box: Box,
    mask: Mask,
    plane: Plane,
    rule: Overlap,
    *,
    actor: Actor = Actor.USER,
    own_id: int = 0,
) -> Settled:
    """Apply a rule to a mask that is about to be accepted; changes nothing.

    Parameters
    ----------
    box, mask, plane
        The mask, bool [y, x] over its box.
    rule : Overlap
        What is protected from `actor` keeps its pixels by `Overlap.REPLACE` too.
    own_id : int
        The object that the mask is for, where it exists already.
    """
    if rule is Overlap.ALLOW:
        return Settled(box, mask)
    left, taken = mask, {}
    for object_id, state, other in _under(db, box, plane):
        if object_id == own_id:
            continue
        common = other.intersect(box)
        part = common.relative_to(box).slices
        shared = mask[part] & tiles.assemble(objects.get_tiles(db, object_id, common), common, f"object {object_id},")
        if not shared.any():
            continue
        if rule is Overlap.REPLACE and state not in PROTECTED[Actor(actor)]:
            taken[object_id] = shared
            continue
        left = left.copy() if left is mask else left
        left[part] &= ~shared
    lost = int(mask.sum() - left.sum()) if left is not mask else 0
    if lost:  # what the mask lost to a protected object it takes from nobody
        taken = {i: pixels & left[_part(db, i, box)] for i, pixels in taken.items()}
    tight = tiles.tight_box(box, left)
    return Settled(
        tight,
        left[tight.relative_to(box).slices] if not tight.empty else np.zeros((0, 0), bool),
        lost,
        {i: int(pixels.sum()) for i, pixels in taken.items() if pixels.any()},
    )


def require_left(settled: Settled) -> Settled:
    """Refuse a mask of which nothing is left.

    Raises
    ------
    EmptyProposalError
    """
    if settled.box.empty:
        raise EmptyProposalError(
            "Every pixel of the mask belongs to other objects already.",
            "Take up the object that is there, or choose another overlap rule.",
        )
    return settled


def cut_away(db: sqlite3.Connection, action: int, object_id: int, box: Box, mask: Mask) -> None:
    """Take a mask's pixels (bool [y, x] over `box`) away from an object; one of which nothing is left is deleted.
    Written and recorded at once; `actions.apply` puts it on the journal."""
    names = ("y0", "x0", "y1", "x1", "area")
    old = objects.get_columns(db, object_id, names)
    fresh: dict[tuple[int, int], tiles.MaskTile | None] = {}
    removed = 0
    for tile in objects.get_tiles(db, object_id, box):
        common = tile.box.intersect(box)
        pixels = tiles.unpack(tile.bits, f"object {object_id}, tile ({tile.row}, {tile.column})")
        target = pixels[common.relative_to(tile.box).slices]
        shared = target & mask[common.relative_to(box).slices]
        if not shared.any():
            continue
        removed += int(shared.sum())
        target &= ~shared
        fresh[tile.row, tile.column] = (
            tiles.MaskTile(tile.row, tile.column, tiles.pack(pixels)) if pixels.any() else None
        )
    if removed == old["area"]:
        actions.add_change(db, action, object_id, {"live": 1}, {"live": 0})
        return
    actions.put_tiles(db, action, object_id, fresh)
    new = {**old, **_tight_sides(db, object_id, old, box), "area": old["area"] - removed}
    actions.add_change(db, action, object_id, old, new)


def _under(db: sqlite3.Connection, box: Box, plane: Plane) -> list[tuple[int, str, Box]]:
    """(id, state, box) of the shown objects whose box meets `box`."""
    rows = db.execute(
        f"""SELECT o.id, o.state, o.y0, o.x0, o.y1, o.x1
        FROM object_boxes AS b JOIN objects AS o ON o.id = b.id
        WHERE b.y0 < ? AND b.y1 > ? AND b.x0 < ? AND b.x1 > ? AND b.t0 = ? AND b.z0 = ? AND {objects.RENDERED}
        ORDER BY o.id""",
        (box.y1, box.y0, box.x1, box.x0, plane.t, plane.z),
    )
    return [(row[0], row[1], Box(*row[2:])) for row in rows]


def _part(db: sqlite3.Connection, object_id: int, box: Box) -> tuple[slice, slice]:
    """The part of an array over `box` that an object's box covers."""
    columns = objects.get_columns(db, object_id, ("y0", "x0", "y1", "x1"))
    return Box(**columns).intersect(box).relative_to(box).slices


def _tight_sides(db: sqlite3.Connection, object_id: int, old: dict[str, int], cut: Box) -> dict[str, int]:
    """The sides of an object's box after a cut, from its tiles as they are now; only sides that the cut met move."""
    box = Box(old["y0"], old["x0"], old["y1"], old["x1"])
    met = {"y0": cut.y0 <= box.y0, "x0": cut.x0 <= box.x0, "y1": cut.y1 >= box.y1, "x1": cut.x1 >= box.x1}
    return {name: _edge(db, object_id, axis, end) for name, axis, end in _SIDES if met[name]}


def _edge(db: sqlite3.Connection, object_id: int, axis: str, end: str) -> int:
    """The first (`min`) pixel row or column of an object, or that after the last (`max`). Tiles without a pixel do
    not exist, so the outermost ones hold it."""
    rows = db.execute(
        f"""SELECT "row", "column", bits FROM tiles WHERE object_id = ?1
            AND "{axis}" = (SELECT {end}("{axis}") FROM tiles WHERE object_id = ?1)""",
        (object_id,),
    ).fetchall()
    used = np.zeros(TILE, bool)
    for row, column, bits in rows:
        used |= tiles.unpack(bits, f"object {object_id}, tile ({row}, {column})").any(axis=1 if axis == "row" else 0)
    first: int = TILE * (rows[0][0] if axis == "row" else rows[0][1])
    places = np.flatnonzero(used)
    return first + (int(places[0]) if end == "min" else int(places[-1]) + 1)

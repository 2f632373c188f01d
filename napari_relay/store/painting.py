"""Strokes on objects: pixels added and taken away, holes filled; each stroke is one action.

Only tiles under a stroke are read and written, so a stroke on an object of a hundred thousand pixels costs what a
stroke on a small one does.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

import numpy as np

from napari_relay.errors import EmptyProposalError
from napari_relay.geometry import Box
from napari_relay.store import actions, objects, overlap, tiles
from napari_relay.store.bulk import check_unprotected
from napari_relay.store.changing import as_ids, count_words
from napari_relay.store.reshaping import Reshaping
from napari_relay.store.values import Action, Actor, Change, Mask, Overlap, StoredObject


class Painting(Reshaping):
    """The part of a `Project` that edits masks pixel by pixel. Id, clicks, class and place in the order stay."""

    def paint(
        self, object_id: int, box: Box, mask: Mask, *, rule: Overlap | str | None = None, actor: Actor = Actor.USER
    ) -> StoredObject:
        """Add a stroke's pixels (bool [y, x] over `box`) to an object, as one action.

        Parameters
        ----------
        rule : Overlap, optional
            What becomes of pixels that belong to other objects; None takes the project's rule.

        Raises
        ------
        EmptyProposalError
            The stroke adds no pixel.
        UsageError, StorageError
            As `revise`.
        """
        box, mask = tiles.checked_mask(box, mask, self.shape)
        with self._database.write() as db:
            objects.require_live(db, [object_id])
            check_unprotected(db, [object_id], actor)
            (change,) = objects.changes_of(db, [object_id], "brush")
            chosen = overlap.get_rule(db, rule)
            settled = overlap.settle(db, box, mask, change.plane, chosen, actor=actor, own_id=object_id)
            action = actions.begin_action(db, "brush", f"paint object {object_id}", actor=actor)
            losers = list(overlap.require_left(settled).taken)
            for loser in losers:
                overlap.cut_away(db, action, loser, settled.box, settled.mask)
            if not _add_pixels(db, action, object_id, settled.box, settled.mask):
                raise EmptyProposalError("The stroke adds nothing to the object.", "Paint beside it.")
            actions.apply(db, action, "after", action)
            painted = objects.get_objects(db, [object_id], self._read_mask)[0]
            others = objects.changes_of(db, losers, "overlap") if losers else []
        self._tell([_grown(change, settled.box), *others])
        return painted

    def erase(self, object_id: int, box: Box, mask: Mask, *, actor: Actor = Actor.USER) -> StoredObject | None:
        """Take a stroke's pixels (bool [y, x] over `box`) away from an object, as one action.

        Returns
        -------
        The object; None where nothing is left of it: it is deleted then.

        Raises
        ------
        EmptyProposalError
            The stroke does not meet the object.
        UsageError, StorageError
            As `revise`.
        """
        box, mask = tiles.checked_mask(box, mask, self.shape)
        with self._database.write() as db:
            objects.require_live(db, [object_id])
            check_unprotected(db, [object_id], actor)
            (change,) = objects.changes_of(db, [object_id], "eraser")
            met = tiles.assemble(objects.get_tiles(db, object_id, box), box, f"object {object_id},") & mask
            if not met.any():
                raise EmptyProposalError("The stroke does not meet the object.", "Rub over its pixels.")
            action = actions.begin_action(db, "eraser", f"erase from object {object_id}", actor=actor)
            overlap.cut_away(db, action, object_id, box, mask)
            actions.apply(db, action, "after", action)
            left = objects.get_objects(db, [object_id], self._read_mask)
        self._tell([change])
        return left[0] if left else None

    def fill_holes(self, ids: int | Iterable[int], *, actor: Actor = Actor.USER) -> Action:
        """Fill the holes of objects, as one action; what others own inside a hole stays theirs by the project's rule.

        Raises
        ------
        EmptyProposalError
            None of them has a hole.
        UsageError, StorageError
            As `set_class`.
        """
        from scipy import ndimage  # half a second that only this needs

        with self._database.write() as db:
            wanted = objects.require_live(db, as_ids(ids))
            check_unprotected(db, wanted, actor)
            rule = overlap.get_rule(db)
            rule = Overlap.KEEP if rule is Overlap.REPLACE else rule  # a hole may be there for somebody
            action = actions.begin_action(db, "fill", f"fill holes of {count_words(wanted)}", actor=actor)
            filled = 0
            for stored in objects.get_objects(db, wanted, self._read_mask):
                found = objects.get_tiles(db, stored.id, stored.box)
                mask = tiles.assemble(found, stored.box, f"object {stored.id},")
                holes = ndimage.binary_fill_holes(mask) & ~mask
                if not holes.any():
                    continue
                settled = overlap.settle(db, stored.box, holes, stored.plane, rule, actor=actor, own_id=stored.id)
                filled += _add_pixels(db, action, stored.id, settled.box, settled.mask)
            if not filled:
                raise EmptyProposalError("There is no hole to fill.", "Choose objects that have one.")
            actions.apply(db, action, "after", action)
            done, changes = actions.get_action(db, action), objects.changes_of(db, wanted, "fill")
        self._tell(changes)
        return done


def _add_pixels(db: sqlite3.Connection, action: int, object_id: int, box: Box, mask: Mask) -> int:
    """Add pixels to an object's tiles and record it; returns how many were new."""
    if box.empty:
        return 0
    old_tiles = {(tile.row, tile.column): tile for tile in objects.get_tiles(db, object_id, box)}
    fresh: dict[tuple[int, int], tiles.MaskTile | None] = {}
    added = 0
    for tile in tiles.split(box, mask):
        stroke = tiles.unpack(tile.bits)
        old = old_tiles.get((tile.row, tile.column))
        pixels = tiles.unpack(old.bits, f"object {object_id}") if old is not None else np.zeros_like(stroke)
        new = int((stroke & ~pixels).sum())
        if not new:
            continue
        added += new
        pixels = pixels | stroke
        fresh[tile.row, tile.column] = tiles.MaskTile(
            tile.row, tile.column, None if pixels.all() else tiles.pack(pixels)
        )
    if not added:
        return 0
    actions.put_tiles(db, action, object_id, fresh)
    before: dict[str, Any] = objects.get_columns(db, object_id, ("y0", "x0", "y1", "x1", "area"))
    hull = Box(before["y0"], before["x0"], before["y1"], before["x1"]).hull(box)
    after = {"y0": hull.y0, "x0": hull.x0, "y1": hull.y1, "x1": hull.x1, "area": before["area"] + added}
    actions.add_change(db, action, object_id, before, after)
    return added


def _grown(change: Change, box: Box) -> Change:
    return Change((change.boxes[0].hull(box),), change.plane, change.ids, change.kind)

"""Merging and splitting objects: each is one action; an id and its history go on."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from napari_relay.errors import UsageError
from napari_relay.geometry import Box
from napari_relay.store import actions, objects, tiles
from napari_relay.store.bulk import BulkChanges, check_unprotected
from napari_relay.store.changing import count_words
from napari_relay.store.schema import TILE
from napari_relay.store.values import Action, Actor, Mask, StoredObject

Part = tuple[Box, Mask]

_COPIED = ("class_id", "state", "t", "z", "author", "created", "note", "checkpoint")
"""What the parts of an object have in common with it."""


class Reshaping(BulkChanges):
    """The part of a `Project` that makes one object of several, and several of one."""

    def merge(self, ids: Iterable[int], *, actor: Actor = Actor.USER) -> StoredObject:
        """Make one object of several of one plane: the one of the lowest id gets all their pixels and clicks and
        lies on top, the others are deleted.

        Raises
        ------
        UsageError
            One of the ids is no object or protected, they lie on several planes, or there are fewer than two.
        StorageError
        """
        with self._database.write() as db:
            wanted = objects.require_live(db, ids)
            check_unprotected(db, wanted, actor)
            changes = objects.changes_of(db, wanted, "merge")
            if len(wanted) < 2:
                raise UsageError("One object alone cannot be merged.", "Choose two or more.")
            if len(changes) > 1:
                raise UsageError("Objects of several planes cannot be merged.", "Choose objects of one plane.")
            clicks = [click for i in wanted for click in actions.get_origin(db, i)[0]]
            action = actions.begin_action(db, "merge", f"merge {count_words(wanted)}", clicks=clicks, actor=actor)
            kept, *others = wanted
            union, area = _union(db, wanted)
            hull = Box(0, 0, 0, 0)
            for stored in objects.get_objects(db, wanted, self._read_mask):
                hull = hull.hull(stored.box)
            new: dict[str, Any] = {
                "y0": hull.y0, "x0": hull.x0, "y1": hull.y1, "x1": hull.x1, "area": area, "action_id": action,
                "n_clicks": len(clicks), "score": None,
            }  # fmt: skip
            old = objects.get_columns(db, kept, list(new))
            actions.replace_tiles(db, action, kept, union)
            actions.record_change(db, action, "object", [kept], old, new)
            actions.record_change(db, action, "object", others, {"live": 1}, {"live": 0})
            actions.apply(db, action, "after", action)
            merged = objects.get_objects(db, [kept], self._read_mask)[0]
        self._tell(changes)
        return merged

    def split(
        self, object_id: int, parts: Sequence[Part], *, actor: Actor = Actor.USER
    ) -> tuple[Action, tuple[int, ...]]:
        """Make several objects of one. The first part keeps the id, the clicks and the history, the others get new
        ids and have class, state and note in common with it.

        Parameters
        ----------
        object_id : int
        parts : sequence of (Box, bool [y, x])
            Two or more; `parts_by_line` makes them. They need not cover the object.

        Returns
        -------
        Action, ids of all parts

        Raises
        ------
        UsageError, EmptyProposalError, StorageError
            As `accept` and `revise`; or there are fewer than two parts.
        """
        if len(parts) < 2:
            raise UsageError("The object would not be split: there is one part only.", "Draw the line across it.")
        cut = [tiles.checked_mask(box, mask, self.shape) for box, mask in parts]
        with self._database.write() as db:
            objects.require_live(db, [object_id])
            check_unprotected(db, [object_id], actor)
            before = objects.changes_of(db, [object_id], "split")
            clicks, views = actions.get_origin(db, object_id)
            summary = f"split object {object_id} into {len(cut)}"
            action = actions.begin_action(db, "split", summary, clicks=clicks, views=views, actor=actor)
            common = objects.get_columns(db, object_id, _COPIED)
            ids = [object_id]
            for box, mask in cut[1:]:
                columns = {**common, **objects.mask_columns(box, mask), "action_id": action}
                ids.append(objects.insert_object(db, columns, tiles.split(box, mask)))
            actions.record_change(db, action, "object", ids[1:], {"live": 0}, {"live": 1})
            new = {**objects.mask_columns(*cut[0]), "action_id": action}
            old = objects.get_columns(db, object_id, list(new))
            actions.replace_tiles(db, action, object_id, tiles.split(*cut[0]))
            actions.record_change(db, action, "object", [object_id], old, new)
            actions.apply(db, action, "after", action)
            done, changes = actions.get_action(db, action), objects.changes_of(db, ids, "split")
        self._tell([*before[:1], *changes] if before[0].boxes != changes[0].boxes else changes)
        return done, tuple(ids)


def _union(db: sqlite3.Connection, ids: Sequence[int]) -> tuple[list[tiles.MaskTile], int]:
    """Tiles of all the objects together, and how many pixels they have; one tile at a time."""
    places: dict[tuple[int, int], list[bytes | None]] = {}
    for object_id in ids:
        for tile in objects.get_all_tiles(db, object_id):
            places.setdefault((tile.row, tile.column), []).append(tile.bits)
    union, area = [], 0
    for (row, column), several in places.items():
        pixels = np.zeros((TILE, TILE), bool)
        for bits in several:
            pixels |= tiles.unpack(bits, f"tile ({row}, {column})")
        area += int(pixels.sum())
        union.append(tiles.MaskTile(row, column, None if pixels.all() else tiles.pack(pixels)))
    return union, area

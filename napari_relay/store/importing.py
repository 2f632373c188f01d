"""New objects on their way into a project: checked, cut into tiles, written."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from napari_relay.errors import EmptyProposalError, UsageError
from napari_relay.geometry import Box, Plane
from napari_relay.store import actions, classes, objects, overlap, raw_masks, tiles
from napari_relay.store.provenance import now, user_name
from napari_relay.store.values import Actor, Mask, NewObject, ObjectState, Overlap

HIDDEN = (ObjectState.PROPOSED, ObjectState.REJECTED)


@dataclass(frozen=True, slots=True, eq=False)
class CutObject:
    """A new object ready to be written: its mask (bool [y, x] over its smallest box) and plane, its columns but for
    class and action, and its tiles."""

    box: Box
    mask: Mask
    plane: Plane
    columns: dict[str, Any]
    tiles: list[tiles.MaskTile]

    def reduced(self, box: Box, mask: Mask) -> CutObject:
        """The same with less mask."""
        columns = self.columns | objects.mask_columns(box, mask)
        return replace(self, box=box, mask=mask, columns=columns, tiles=list(tiles.split(box, mask)))


def cut(new: NewObject, shape: tuple[int, int], sizes: tuple[int, int]) -> CutObject:
    """Check an object against an image of `shape` pixels and `sizes` planes, and cut its mask.

    Raises
    ------
    EmptyProposalError, UsageError
    """
    check_plane(new.plane, sizes)
    box, mask = tiles.checked_mask(new.box, new.mask, shape)
    columns = {
        **objects.mask_columns(box, mask), "t": new.plane.t, "z": new.plane.z,
        "state": ObjectState(new.state).value, "score": new.score, "seconds": new.seconds,
        "checkpoint": new.checkpoint, "author": user_name() if new.author is None else new.author,
        "created": new.created or now(), "note": new.note, "n_clicks": new.n_clicks,
    }  # fmt: skip
    return CutObject(box, mask, new.plane, columns, list(tiles.split(box, mask)))


def insert_all(
    db: sqlite3.Connection,
    action: int,
    new: Iterable[NewObject],
    shape: tuple[int, int],
    sizes: tuple[int, int],
    colors: Mapping[str, str],
    rule: Overlap,
    actor: Actor,
    clean: Callable[[CutObject], CutObject] | None = None,
) -> tuple[list[int], list[int], set[int]]:
    """Write many objects as parts of one action, making the classes that they name. What `clean` changes of a mask
    is kept as it was, too.

    Returns
    -------
    ids, left_out, cut
        Ids of the new objects, places in the input of those of which the rule left nothing, and ids of the objects
        that lost pixels to them.

    Raises
    ------
    EmptyProposalError, UsageError
        One of them cannot be taken (its place in the input is named), or there is none.
    """
    known: dict[str | None, int] = {}
    places: dict[int, int] = {}
    left_out: list[int] = []
    losers: set[int] = set()
    for place, item in enumerate(new):
        try:
            ready = cut(item, shape, sizes)
            if item.class_name not in known:
                known[item.class_name] = _class_id(db, action, item.class_name, colors)
        except (EmptyProposalError, UsageError) as error:
            raise type(error)(f"Object {place + 1} of the import: {error.what}", error.fix) from error
        raw, ready = ready, clean(ready) if clean is not None else ready
        settled = settle(db, ready, rule, actor)
        if settled.box.empty:
            left_out.append(place)
            continue
        object_id = add(db, action, ready, settled, known[item.class_name])
        if ready is not raw:
            raw_masks.keep(db, action, object_id, raw.tiles, ready.tiles)
        places[object_id] = place
        losers.update(settled.taken)
    gone = _swallowed(db, losers & places.keys())
    left_out += [places.pop(object_id) for object_id in gone]
    if not places:
        raise UsageError("There is no object to import.", "Check that the file has any outside those that are here.")
    actions.apply(db, action, "after", action)
    return list(places), sorted(left_out), losers - places.keys() - gone


def settle(db: sqlite3.Connection, new: CutObject, rule: Overlap, actor: Actor) -> overlap.Settled:
    """Apply an overlap rule to a new object; proposed and rejected ones are left as they are."""
    if new.columns["state"] in HIDDEN:
        rule = Overlap.ALLOW
    return overlap.settle(db, new.box, new.mask, new.plane, rule, actor=actor)


def add(db: sqlite3.Connection, action: int, new: CutObject, settled: overlap.Settled, class_id: int) -> int:
    """Write a new object as the rule left it, take from others what it takes, and record all that; returns its id.
    `actions.apply` puts it on the journal."""
    if settled.lost:
        new = new.reduced(settled.box, settled.mask)
    for loser in settled.taken:
        overlap.cut_away(db, action, loser, new.box, new.mask)
    columns = {**new.columns, "class_id": class_id, "action_id": action}
    object_id = objects.insert_object(db, columns, new.tiles)
    actions.record_change(db, action, "object", [object_id], {"live": 0}, {"live": 1})
    return object_id


def _swallowed(db: sqlite3.Connection, ids: Iterable[int]) -> set[int]:
    """Those of the objects that a later one of the same import has taken every pixel from."""
    rows = db.execute(
        "SELECT id FROM objects WHERE live = 0 AND id IN (SELECT value FROM json_each(?))", (json.dumps(list(ids)),)
    )
    return {row[0] for row in rows}


def check_plane(plane: Plane, sizes: tuple[int, int]) -> None:
    """Refuse a plane that the image does not have.

    Raises
    ------
    UsageError
    """
    if not (0 <= plane.t < sizes[0] and 0 <= plane.z < sizes[1]):
        raise UsageError(f"{plane} is outside the image's {sizes} planes (t, z).", "Choose a plane inside.")


def _class_id(db: sqlite3.Connection, action: int, name: str | None, colors: Mapping[str, str]) -> int:
    checked = classes.checked_name(name) if name else classes.current_class(db)
    return (classes.find_class(db, checked) or classes.add_class(db, action, checked, colors.get(checked))).id

"""New objects on their way into a project: checked, cut into tiles, written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from napari_relay.errors import EmptyProposalError, UsageError
from napari_relay.geometry import Plane
from napari_relay.store import actions, classes, objects, tiles
from napari_relay.store.provenance import now, user_name
from napari_relay.store.values import NewObject, ObjectState


@dataclass(frozen=True, slots=True, eq=False)
class CutObject:
    """A new object ready to be written: its columns but for class and action, and its tiles."""

    columns: dict[str, Any]
    tiles: list[tiles.MaskTile]


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
    return CutObject(columns, list(tiles.split(box, mask)))


def insert(db: sqlite3.Connection, action: int, new: CutObject, class_id: int) -> int:
    """Write one object, which the action makes; returns its id. The change itself is for the caller to record."""
    return objects.insert_object(db, {**new.columns, "class_id": class_id, "action_id": action}, new.tiles)


def insert_all(
    db: sqlite3.Connection,
    action: int,
    new: Iterable[NewObject],
    shape: tuple[int, int],
    sizes: tuple[int, int],
    colors: Mapping[str, str],
) -> list[int]:
    """Write many objects as parts of one action, making the classes that they name; returns their ids.

    Raises
    ------
    EmptyProposalError, UsageError
        One of them cannot be taken (its place in the input is named), or there is none.
    """
    known: dict[str | None, int] = {}
    ids: list[int] = []
    for item in new:
        try:
            ready = cut(item, shape, sizes)
            if item.class_name not in known:
                known[item.class_name] = _class_id(db, action, item.class_name, colors)
        except (EmptyProposalError, UsageError) as error:
            raise type(error)(f"Object {len(ids) + 1} of the import: {error.what}", error.fix) from error
        ids.append(insert(db, action, ready, known[item.class_name]))
    if not ids:
        raise UsageError("There is no object to import.", "Check that the file has any.")
    actions.record_change(db, action, "object", ids, {"live": 0}, {"live": 1})
    objects.mark_dirty(db, ids, action)
    return ids


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

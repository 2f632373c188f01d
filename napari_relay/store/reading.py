"""Pixels read back out of a project: one object's mask, the label image of a box, the object under a point.

Every function runs in a read transaction that the caller opened, so that it sees one state of the project.
"""

from __future__ import annotations

import math
import sqlite3

import numpy as np

from napari_relay.errors import ProjectDamagedError
from napari_relay.geometry import Box, Plane
from napari_relay.store import objects, tiles
from napari_relay.store.values import Labels, Mask


def read_mask(db: sqlite3.Connection, object_id: int, box: Box) -> Mask:
    """One object's pixels, bool [y, x] over `box`."""
    return tiles.assemble(objects.get_tiles(db, object_id, box), box, f"object {object_id},")


def read_labels(
    db: sqlite3.Connection, box: Box, plane: Plane, damage: list[ProjectDamagedError] | None = None
) -> Labels:
    """Object ids, uint32 [y, x] over `box`, 0 where there is none; the object accepted later lies on top.

    Read one tile at a time, so that no more than the result is held. A mask tile that cannot be read raises, or,
    where a list for the `damage` is given, is reported there and left out.
    """
    labels = np.zeros(box.shape, np.uint32)
    for object_id, object_box in objects.find_rendered(db, box, plane):
        common = object_box.intersect(box)
        for tile in objects.get_tiles(db, object_id, common):
            part = tile.box.intersect(common)
            target = labels[part.relative_to(box).slices]
            try:
                name = f"object {object_id}, tile ({tile.row}, {tile.column})"
                pixels = tiles.unpack(tile.bits, name, part.relative_to(tile.box))
            except ProjectDamagedError as error:
                if damage is None:
                    raise
                damage.append(error)
                continue
            target[pixels] = object_id
    return labels


def find_at(db: sqlite3.Connection, y: float, x: float, plane: Plane) -> int | None:
    """Id of the topmost object whose mask covers the pixel under (y, x)."""
    row, column = math.floor(y + 0.5), math.floor(x + 0.5)
    pixel = Box(row, column, row + 1, column + 1)
    for object_id, _ in reversed(objects.find_rendered(db, pixel, plane)):
        if read_mask(db, object_id, pixel)[0, 0]:
            return object_id
    return None

"""Looking for damage in a project, and mending what can be mended."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import dataclass

from napari_relay.errors import ProjectDamagedError
from napari_relay.geometry import Box
from napari_relay.store import objects, tiles
from napari_relay.store.database import Connections, Database

_PAGE = 200


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is wrong; `object_id` is None where it is not one object's."""

    what: str
    object_id: int | None = None
    mended: bool = False


def quick_check(database: Connections) -> list[str]:
    """What SQLite finds wrong with the file's pages; empty when all is well. Reads the whole file."""
    return _pragma(database, "quick_check")


def repair(database: Database) -> Generator[int, None, list[Damage]]:
    """Check the file, its rectangles and the mask of every object; mend the rectangles and
    the numbers of objects.

    Masks cannot be mended: the report names their objects, so that these can be drawn again.

    Yields
    ------
    int
        Objects checked so far.

    Returns
    -------
    list of Damage
    """
    damage = _check_pages(database)
    try:
        with database.read() as db:
            orphans = db.execute("PRAGMA foreign_key_check").fetchall()
    except ProjectDamagedError as error:  # the objects can be looked at all the same
        damage.append(Damage(error.what))
        orphans = []
    damage += [
        Damage(f"A row of {table} refers to a row of {parent} that is missing.") for table, _, parent, _ in orphans
    ]
    damage += _mend_boxes(database)
    damage += _mend_totals(database)
    done = after = 0
    while page := _page(database, after):
        for object_id, box, area in page:
            damage += _check_mask(database, object_id, box, area)
            done += 1
        after = page[-1][0]
        yield done
    return damage


def _check_pages(database: Database) -> list[Damage]:
    """What is wrong with the pages; an index that does not fit its table is made anew."""
    found = _pragma(database, "integrity_check")
    if not found:
        return []
    try:
        with database.write() as db:
            db.execute("REINDEX")
    except ProjectDamagedError:
        return [Damage(line) for line in found]
    left = _pragma(database, "integrity_check")
    return [Damage(line, mended=line not in left) for line in dict.fromkeys((*found, *left))]


def _pragma(database: Connections, name: str) -> list[str]:
    try:
        with database.read() as db:
            lines = [str(row[0]) for row in db.execute(f"PRAGMA {name}(100)")]
    except ProjectDamagedError as error:  # so broken that even the check stops
        return [error.what]
    return [] if lines == ["ok"] else lines


def _page(database: Database, after: int) -> list[tuple[int, Box, int]]:
    with database.read() as db:
        rows = db.execute(
            "SELECT id, y0, x0, y1, x1, area FROM objects WHERE id > ? AND live = 1 ORDER BY id LIMIT ?", (after, _PAGE)
        )
        return [(row[0], Box(*row[1:5]), row[5]) for row in rows]


def _check_mask(database: Database, object_id: int, box: Box, area: int) -> list[Damage]:
    found, rows = 0, []
    try:
        with database.read() as db:
            rows = objects.get_tiles(db, object_id, box)
        for tile in rows:
            pixels = tiles.unpack(tile.bits, f"object {object_id}, tile ({tile.row}, {tile.column})")
            inside = tile.box.intersect(box)
            found += int(pixels[inside.relative_to(tile.box).slices].sum())
    except ProjectDamagedError as error:
        return [Damage(error.what, object_id)]
    if found != area:
        return [Damage(f"Object {object_id} has {found} pixels instead of {area}.", object_id)]
    return []


def _mend_boxes(database: Database) -> list[Damage]:
    """Compare the stored rectangles with the objects, and rewrite those that differ."""
    with database.write() as db:
        live = "SELECT id, y0, y1, x0, x1, t, t + 1, z, z + 1 FROM objects WHERE live = 1"
        wrong = [
            row[0]
            for row in db.execute(
                f"""SELECT id FROM (SELECT * FROM ({live}) EXCEPT SELECT * FROM object_boxes)
                UNION SELECT id FROM (SELECT * FROM object_boxes EXCEPT SELECT * FROM ({live})) ORDER BY 1"""
            )
        ]
        ids = json.dumps(wrong)
        db.execute("DELETE FROM object_boxes WHERE id IN (SELECT value FROM json_each(?))", (ids,))
        db.execute(f"INSERT INTO object_boxes {live} AND id IN (SELECT value FROM json_each(?))", (ids,))
    return [Damage(f"The rectangle of object {i} was wrong.", i, mended=True) for i in wrong]


def _mend_totals(database: Database) -> list[Damage]:
    """Count the objects of each class and state anew where the stored numbers are wrong."""
    counted = "SELECT class_id, state, count(*) FROM objects WHERE live = 1 GROUP BY 1, 2"
    stored = "SELECT * FROM totals WHERE n <> 0"
    with database.write() as db:
        wrong = db.execute(
            f"""SELECT count(*) FROM (
                SELECT * FROM (SELECT * FROM ({counted}) EXCEPT {stored})
                UNION SELECT * FROM ({stored} EXCEPT SELECT * FROM ({counted})))"""
        ).fetchone()[0]
        if not wrong:
            return []
        db.execute("DELETE FROM totals")
        db.execute(f"INSERT INTO totals {counted}")
    return [Damage("The stored numbers of objects were wrong.", mended=True)]

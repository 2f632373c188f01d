"""The journal of the label pyramid: which tiles of it are behind the objects.

A tile is entered in the same transaction that changes its objects, and leaves only after its pixels have been
written, so a crash between the two leaves it in the journal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from napari_relay.geometry import Box, Plane
from napari_relay.store.database import Connections
from napari_relay.store.objects import RENDERED
from napari_relay.store.tiles import tile_box

Position = tuple[int, int, int, int]
"""t, z, row and column of a tile."""


@dataclass(frozen=True, slots=True, order=True)
class DirtyTile:
    """A tile whose labels must be rendered; `stamp` is the newest action that touched it."""

    t: int
    z: int
    row: int
    column: int
    stamp: int

    @property
    def plane(self) -> Plane:
        return Plane(self.t, self.z)

    @property
    def position(self) -> Position:
        return (self.t, self.z, self.row, self.column)

    @property
    def box(self) -> Box:
        return tile_box(self.row, self.column)


class Journal:
    """The journal of one project; reached as `project.journal`."""

    def __init__(self, database: Connections) -> None:
        self._database = database

    def tiles(self, limit: int) -> list[DirtyTile]:
        """Up to `limit` dirty tiles of one plane, those of the newest action first."""
        with self._database.read() as db:
            plane = db.execute("SELECT t, z FROM dirty_tiles ORDER BY stamp DESC LIMIT 1").fetchone()
            if plane is None:
                return []
            rows = db.execute(
                """SELECT t, z, "row", "column", stamp FROM dirty_tiles WHERE t = ? AND z = ?
                ORDER BY stamp DESC, "row" / 8, "column" / 8, "row", "column" LIMIT ?""",
                (*plane, limit),
            )
            return [DirtyTile(*row) for row in rows]

    def __len__(self) -> int:
        with self._database.read() as db:
            return int(db.execute("SELECT count(*) FROM dirty_tiles").fetchone()[0])

    def positions(self) -> set[Position]:
        """Where the dirty tiles are."""
        with self._database.read() as db:
            return set(db.execute("""SELECT t, z, "row", "column" FROM dirty_tiles"""))

    def forget(self, rendered: Iterable[DirtyTile]) -> None:
        """Take tiles off whose pixels are written, unless a newer action has touched them since they were read."""
        with self._database.write() as db:
            db.executemany(
                """DELETE FROM dirty_tiles WHERE t = ? AND z = ? AND "row" = ? AND "column" = ? AND stamp = ?""",
                [(tile.t, tile.z, tile.row, tile.column, tile.stamp) for tile in rendered],
            )

    def mark_all(self) -> None:
        """Enter every tile of every object that the pyramid shows."""
        with self._database.write() as db:
            db.execute(
                f"""INSERT INTO dirty_tiles (t, z, "row", "column", stamp)
                SELECT DISTINCT o.t, o.z, i."row", i."column", (SELECT coalesce(max(id), 0) FROM actions)
                FROM objects AS o JOIN tiles AS i ON i.object_id = o.id WHERE {RENDERED}
                ON CONFLICT DO UPDATE SET stamp = excluded.stamp"""
            )

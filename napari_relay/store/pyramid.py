"""The label pyramid: the project's objects as an OME-Zarr label image with the levels of the image.

It is derived. Whatever happens to it, the project can render it anew to the same values. What makes it safe:

- a tile is on the project's journal before it is rendered and leaves it after the pixels are written;
- of a tile the coarse levels are written first and level 0 last, so that level 0 tells what the coarse levels have
  not caught up with; after a crash or an error even that is not trusted and the whole tile is rendered;
- project and pyramid share a token that changes at every opening; a pyramid with another token (a project restored
  from its backup, a pyramid from elsewhere, a crash of the machine) is rendered from nothing.

One thread writes (`PyramidWriter`); anybody may read meanwhile, because a chunk is replaced in one step.
"""

from __future__ import annotations

import uuid
from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np
import zarr

from napari_relay.errors import ProjectDamagedError, StorageError
from napari_relay.geometry import Box, Plane
from napari_relay.store import ome_metadata
from napari_relay.store.chunks import ChunkStore
from napari_relay.store.dirty import DirtyTile, Position
from napari_relay.store.majority import Blocks, reduce_box
from napari_relay.store.project import Project
from napari_relay.store.schema import TILE
from napari_relay.store.tiles import tight_box, tile_box
from napari_relay.store.values import Labels

OURS = "napari-relay"
"""Name of our entry in the pyramid's attributes."""
TOKEN = "pyramid_token"
"""Key of the project's half of the token."""
BATCH = 16
"""Tiles rendered between two entries in the journal; bounds memory (1 MiB a tile and its neighbours)."""
MOST_COLORED = 50_000
"""Above this many objects the metadata names no colours: they would be many megabytes, rewritten each time."""


class LabelPyramid:
    """A label image on disk; made by `open_pyramid`, written by one thread.

    Attributes
    ----------
    arrays : list of zarr.Array
        The levels, finest first, uint32 [(t,) (z,) y, x]; give these to napari, not dask arrays (those go stale).
    """

    def __init__(self, path: Path, project: Project, group: zarr.Group, shapes: Sequence[tuple[int, int]]) -> None:
        self.path = path
        self.arrays = [group[str(index)] for index in range(len(shapes))]
        self._project = project
        self._group = group
        self._levels = [Blocks(project.shape, shape) for shape in shapes]
        self._chunks = ChunkStore(path, self.arrays, shapes, project.sizes)
        self._damage: list[ProjectDamagedError] = []
        # What an earlier run may have left half-written: rendered whole, not by comparison with level 0.
        self._untrusted = project.journal.positions()

    def render(self, tiles: Sequence[DirtyTile]) -> list[Box]:
        """Bring these tiles (all of one plane) up to date on every level; returns the boxes that look different now.

        Raises
        ------
        StorageError
            A chunk could not be written; the tiles stay on the journal.
        """
        positions = [tile.position for tile in tiles]
        try:
            changed = self._render(tiles)
        except BaseException as error:
            self._untrusted.update(positions)
            if isinstance(error, OSError) and not isinstance(error, StorageError):
                raise _cannot_write(self.path, error) from error
            raise
        self._untrusted.difference_update(positions)
        self._project.journal.forget(tiles)
        return changed

    def take_damage(self) -> list[ProjectDamagedError]:
        """Mask tiles of objects that could not be read since the last call; they were left out."""
        damage, self._damage = self._damage, []
        return damage

    def clear(self) -> None:
        """Throw all pixels away and put every tile on the journal: rendering it gives the pyramid anew."""
        # Without a token a crash in the middle of this makes the next opening start over.
        self._project.set_value(TOKEN, "")
        self._project.journal.mark_all()
        try:
            self._chunks.remove_all()
        except OSError as error:
            raise _cannot_write(self.path, error) from error
        self._untrusted = self._project.journal.positions()
        self.renew_token()

    def rebuild(self) -> Generator[tuple[int, int], None, int]:
        """Render everything anew, in the calling thread; not beside a `PyramidWriter`.

        Yields
        ------
        (int, int)
            Tiles rendered so far, and of how many.

        Returns
        -------
        int
            Tiles rendered.

        Raises
        ------
        StorageError
            As `render`.
        """
        self.clear()
        done, total = 0, len(self._project.journal)
        while tiles := self._project.journal.tiles(BATCH):
            self.render(tiles)
            done += len(tiles)
            yield done, max(done, total)
        self.write_colors()
        return done

    def renew_token(self) -> None:
        """Tie pyramid and project together by a new token."""
        token = uuid.uuid4().hex
        self._group.attrs[OURS] = {"project": self._project.id, "token": token}
        self._project.set_value(TOKEN, token)

    def write_colors(self) -> None:
        """Write class and colour of every object into the metadata."""
        attributes = dict(self._group.attrs)
        ome = dict(ome_metadata.from_attributes(attributes))
        few = self._project.count() <= MOST_COLORED
        source = ome["image-label"].get("source", {}).get("image")
        ome["image-label"] = ome_metadata.image_label(self._project.object_colors() if few else (), source)
        version = ome_metadata.OmeVersion.V05 if "ome" in attributes else ome_metadata.OmeVersion.V04
        entries = {name: ome[name] for name in ("multiscales", "image-label")}
        changed = {**attributes, **ome_metadata.to_attributes(entries, version)}
        if changed != attributes:
            self._group.attrs.put(changed)

    def _render(self, tiles: Sequence[DirtyTile]) -> list[Box]:
        plane = tiles[0].plane
        fresh: dict[Position, Labels] = {}
        changed = []
        for tile in tiles:
            box = tile.box.clip(self._project.shape)
            labels = self._project.labels(box, plane, damage=self._damage)
            trusted = tile.position not in self._untrusted
            difference = self._difference(tile.position, labels, box) if trusted else box
            if not difference.empty:
                fresh[tile.position] = labels
                changed.append(difference)
        coarse = {index: self._coarse(index, plane, changed, fresh) for index in range(1, len(self._levels))}
        self._chunks.write(coarse)
        # Last: what differs from level 0 is what the coarse levels do not show yet.
        self._chunks.write({0: fresh})
        return changed

    def _coarse(
        self, index: int, plane: Plane, changed: list[Box], fresh: dict[Position, Labels]
    ) -> dict[Position, Labels]:
        """The chunks of a level that look different when `fresh` stands in level 0."""
        blocks = self._levels[index]
        parts: dict[tuple[int, int], list[Box]] = {}  # what to render, by chunk of the level
        for box in changed:
            level_box = blocks.level_box(box)
            for row, column in level_box.tiles(TILE):
                parts.setdefault((row, column), []).append(level_box.intersect(tile_box(row, column)))
        chunks = {}
        for (row, column), boxes in parts.items():
            position, chunk = (plane.t, plane.z, row, column), tile_box(row, column).clip(blocks.shape)
            old = self._chunks.read(index, position)
            labels = np.zeros(chunk.shape, np.uint32) if old is None else old.copy()
            for box in boxes:
                labels[box.relative_to(chunk).slices] = self._reduce(blocks, plane, box, fresh)
            chunks[position] = labels
        return chunks

    def _reduce(self, blocks: Blocks, plane: Plane, box: Box, fresh: dict[Position, Labels]) -> Labels:
        """Pixels of a level over `box`, by the rule."""
        return reduce_box(
            blocks,
            box,
            lambda source: self._source(source, plane, fresh),
            lambda source: self._project.occupied_tiles(source, plane),
        )

    def _source(self, box: Box, plane: Plane, fresh: dict[Position, Labels]) -> Labels:
        """Level-0 ids over `box`: of the tiles in work as they will be, of the others as they are."""
        labels = np.zeros(box.shape, np.uint32)
        for row, column in box.tiles(TILE):
            position = (plane.t, plane.z, row, column)
            tile = tile_box(row, column).clip(self._project.shape)
            pixels = fresh[position] if position in fresh else self._chunks.read(0, position)
            if pixels is None:
                continue
            if tile == box:
                return pixels
            common = tile.intersect(box)
            labels[common.relative_to(box).slices] = pixels[common.relative_to(tile).slices]
        return labels

    def _difference(self, position: Position, labels: Labels, box: Box) -> Box:
        """Where a tile's new ids are not those that stand in level 0."""
        old = self._chunks.read(0, position)
        return tight_box(box, labels != (0 if old is None else old))


def _cannot_write(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"Cannot write the label pyramid {path}: {error.strerror or error}.",
        "Free some space or make the folder writable; the objects themselves are safe.",
    )

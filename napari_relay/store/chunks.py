"""The label pyramid's chunks: read and written whole, the recent ones kept in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import ZstdCodec

from napari_relay.errors import StorageError
from napari_relay.geometry import Plane
from napari_relay.store.dirty import Position
from napari_relay.store.folders import remove_folder
from napari_relay.store.ome_metadata import axis_names
from napari_relay.store.schema import TILE
from napari_relay.store.tiles import tile_box
from napari_relay.store.values import Labels

_KEPT = 96
_AT_ONCE = 8


def create_levels(
    group: zarr.Group, shapes: Sequence[tuple[int, int]], sizes: tuple[int, int], dtype: str
) -> list[zarr.Array]:
    """Make the empty arrays of a label image, finest first, named "0", "1", ..

    Not sharded: a shard is rewritten whole, and loses what another thread writes into it meanwhile.
    """
    axes = axis_names(sizes)
    layout: dict[str, Any] = {"compressors": ZstdCodec(level=1), "dimension_names": axes}
    if group.metadata.zarr_format == 2:
        layout = {"compressors": {"id": "zstd", "level": 1}, "chunk_key_encoding": {"name": "v2", "separator": "/"}}
    return [
        group.create_array(
            str(index),
            shape=full_shape(shape, sizes),
            chunks=(*(1 for _ in axes[:-2]), TILE, TILE),
            dtype=dtype,
            fill_value=0,
            **layout,
        )
        for index, shape in enumerate(shapes)
    ]


def full_shape(shape: tuple[int, int], sizes: tuple[int, int]) -> tuple[int, ...]:
    """Shape of a level with the t and z axes that have more than one plane."""
    return (*(size for size in sizes if size > 1), *shape)


def plane_index(plane: Plane, sizes: tuple[int, int]) -> tuple[int, ...]:
    """Index of a plane in the leading axes of such an array."""
    return tuple(index for index, size in zip((plane.t, plane.z), sizes, strict=True) if size > 1)


class DamagedChunkError(StorageError):
    """A chunk of the pyramid cannot be decoded; only rendering the pyramid anew helps."""


class ChunkStore:
    """Chunks of all levels of a label image in `folder`, for one thread that alone writes them.

    A chunk without an object has no file and is None here. What was read is shared: copy it before changing it.
    """

    def __init__(
        self, folder: Path, arrays: Sequence[zarr.Array], shapes: Sequence[tuple[int, int]], sizes: tuple[int, int]
    ) -> None:
        self._folder = folder
        self._arrays = arrays
        self._shapes = shapes
        self._sizes = sizes
        self._prefix = () if arrays[0].metadata.zarr_format == 2 else ("c",)
        self._kept: OrderedDict[tuple[int, Position], Labels | None] = OrderedDict()

    def read(self, level: int, position: Position) -> Labels | None:
        """A chunk's ids, uint32 [y, x], cut off at the image's border.

        Raises
        ------
        DamagedChunkError
        """
        key = (level, position)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if not self._file(level, position).exists():  # a hundredth of what asking zarr costs
            return self._keep(key, None)
        try:
            labels = np.array(self._arrays[level][self._at(level, position)], np.uint32)
        except (RuntimeError, ValueError) as error:  # what zarr's codecs raise for bytes that they cannot decode
            raise DamagedChunkError(
                f"Chunk {position} of level {level} of the label pyramid is damaged: {error}.", "Let it be rebuilt."
            ) from error
        return self._keep(key, labels)

    def write(self, levels: Mapping[int, Mapping[Position, Labels]]) -> None:
        """Replace chunks of some levels; one that is all background loses its file. The arrays must not be changed
        afterwards.

        Of one call to zarr most is waiting, for its own thread and the disk: all are made side by side. Neighbours in
        a row are handed over together.
        """
        for level, chunks in levels.items():
            for position in chunks:
                self._kept.pop((level, position), None)  # after a failure nobody knows what stands there
        runs = [(level, run) for level, chunks in levels.items() for run in _runs(chunks)]
        if runs:
            with ThreadPoolExecutor(min(_AT_ONCE, len(runs)), thread_name_prefix="label chunks") as pool:
                for written in [pool.submit(self._write_run, level, run, levels[level]) for level, run in runs]:
                    written.result()
        for level, chunks in levels.items():
            for position, labels in chunks.items():
                self._keep((level, position), labels)

    def _write_run(self, level: int, run: list[Position], chunks: Mapping[Position, Labels]) -> None:
        (*plane, rows, first), (*_, last) = self._at(level, run[0]), self._at(level, run[-1])
        labels = np.concatenate([chunks[position] for position in run], axis=1)
        self._arrays[level][(*plane, rows, slice(first.start, last.stop))] = labels

    def forget(self) -> None:
        """Drop what is kept in memory."""
        self._kept.clear()

    def remove_all(self) -> None:
        """Remove the files of every chunk."""
        self.forget()
        for level in range(len(self._arrays)):
            folder = self._folder_of(level)
            if self._prefix:
                remove_folder(folder)
                continue
            for chunks in [path for path in folder.iterdir() if path.is_dir()]:
                remove_folder(chunks)

    def _keep(self, key: tuple[int, Position], labels: Labels | None) -> Labels | None:
        kept = labels if labels is not None and labels.any() else None
        self._kept[key] = kept
        self._kept.move_to_end(key)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return kept

    def _at(self, level: int, position: Position) -> tuple[Any, ...]:
        """Index of a chunk in the level's array: (t, z,) rows, columns."""
        t, z, row, column = position
        return (*plane_index(Plane(t, z), self._sizes), *tile_box(row, column).clip(self._shapes[level]).slices)

    def _file(self, level: int, position: Position) -> Path:
        """Where zarr's key encoding puts a chunk."""
        t, z, row, column = position
        plane = (str(i) for i in plane_index(Plane(t, z), self._sizes))
        return self._folder_of(level).joinpath(*plane, str(row), str(column))

    def _folder_of(self, level: int) -> Path:
        """Where the chunks of a level lie."""
        return self._folder.joinpath(str(level), *self._prefix)


def _runs(positions: Iterable[Position]) -> Iterator[list[Position]]:
    """Positions that follow each other in a row of a plane."""
    run: list[Position] = []
    for position in sorted(positions):
        if run and (position[:3] != run[-1][:3] or position[3] != run[-1][3] + 1):
            yield run
            run = []
        run.append(position)
    if run:
        yield run

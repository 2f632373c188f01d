"""Where pyramids of `pyramid.py` lie on disk, and when one may be believed.

`<key>.ome.zarr` holds the pixels, `<key>.json` beside it is the marker: it exists only when every pixel is on
disk. The key is the image's fingerprint. The fingerprint samples a large file, so the marker also keeps the file's
size and time of change: a file that was edited in place is not shown with its old pixels.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import zarr
from zarr.codecs import ZstdCodec

from napari_relay.errors import ImageError
from napari_relay.sources.axes import AxisPlan, plan_axes
from napari_relay.sources.base import Source, Traits
from napari_relay.sources.ome_zarr import ZarrSource
from napari_relay.sources.pyramid import CHUNK, Block

FORMAT = 1
AXES = "TCZYX"
STALE_PARTIAL_S = 3600.0
"""A `.partial` file of this age was left by a killed process; a younger one may belong to a running build."""
CACHE_VARIABLE = "NAPARI_RELAY_CACHE_DIR"


def default_cache_dir() -> Path:
    """Folder of all pyramids: `$NAPARI_RELAY_CACHE_DIR`, else `pyramids` in the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen) if chosen else platformdirs.user_cache_path("napari-relay") / "pyramids"


class CachedSource(ZarrSource):
    """A pyramid in the cache that stands for the image it was made of."""

    def __init__(self, traits: Traits, nodes: list[Any], plan: AxisPlan, fingerprint: str) -> None:
        self._original = fingerprint
        scales = [(float(2**level), float(2**level)) for level in range(len(nodes))]
        super().__init__(traits, nodes, plan, AXES, scales, None)

    def _make_fingerprint(self) -> str:
        return self._original


class Cache:
    """The place of one image's pyramid."""

    def __init__(self, source: Source, cache_dir: Path | None = None) -> None:
        self._source = source
        self._key = source.fingerprint
        self.folder = cache_dir if cache_dir is not None else default_cache_dir()
        self.zarr_path = self.folder / f"{self._key}.ome.zarr"
        self.marker_path = self.folder / f"{self._key}.json"
        self._stamp = _stamp(source)

    def open(self) -> CachedSource | None:
        """The finished pyramid, or None."""
        try:
            marker = json.loads(self.marker_path.read_text())
            if marker["format"] != FORMAT or marker["stamp"] != self._stamp:
                return None
            group = zarr.open_group(self.zarr_path, mode="r")
            nodes = [group[str(level)] for level in range(marker["levels"])]
        except (OSError, ValueError, KeyError, TypeError):  # deleted, or not ours: as if it were not there
            return None
        details = {**self._source.traits.details, "pyramid_cache": str(self.zarr_path)}
        old = self._source.traits
        traits = Traits(**{**{name: getattr(old, name) for name in Traits.__slots__}, "details": details})
        return CachedSource(traits, nodes, plan_axes(AXES, nodes[0].shape), self._key)

    def prepare(self, shapes: list[tuple[int, int]]) -> list[Any]:
        """The arrays of all levels [t, c, z, y, x], made, or taken over from a build that stopped."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.marker_path.unlink(missing_ok=True)
        arrays = self._unfinished(shapes)
        if arrays is not None:
            self._drop_partial_files()
            return arrays
        shutil.rmtree(self.zarr_path, ignore_errors=True)
        return self._create(shapes)

    def has(self, block: Block, channels: int) -> bool:
        """Whether every chunk of a block is on disk."""
        root = self.zarr_path / str(block.level) / "c" / str(block.plane.t)
        parts = range(1 if self._source.is_rgb else channels)
        return all(
            (root / str(part) / str(block.plane.z) / str(row) / str(column)).is_file()
            for part in parts
            for row, column in block.box.tiles(CHUNK)
        )

    def finish(self) -> None:
        """Write the marker, after everything before it has reached the disk."""
        if hasattr(os, "sync"):  # zarr does not flush; Windows writes back by itself
            os.sync()
        levels = len([path for path in self.zarr_path.iterdir() if path.is_dir()])
        marker = {"format": FORMAT, "stamp": self._stamp, "levels": levels, "image": self._source.where}
        draft = self.marker_path.with_suffix(".json.partial")
        with draft.open("w") as stream:
            json.dump(marker, stream)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(self.marker_path)

    def _unfinished(self, shapes: list[tuple[int, int]]) -> list[Any] | None:
        try:
            group = zarr.open_group(self.zarr_path, mode="r+")
            ours = group.attrs["napari_relay"]
            arrays = [group[str(level)] for level in range(len(shapes))]
        except (OSError, ValueError, KeyError):
            return None
        same = ours == {"format": FORMAT, "stamp": self._stamp}
        fits = all(
            array.shape == self._array_shape(shape) and array.dtype == self._source.dtype
            for array, shape in zip(arrays, shapes, strict=True)
        )
        return [_writing_empty_chunks(array) for array in arrays] if same and fits else None

    def _create(self, shapes: list[tuple[int, int]]) -> list[Any]:
        source = self._source
        group = zarr.create_group(self.zarr_path, zarr_format=3)
        group.attrs["ome"] = _ome_metadata(source, len(shapes))
        for level, shape in enumerate(shapes):
            group.create_array(
                str(level),
                shape=self._array_shape(shape),
                chunks=(1, source.channels if source.is_rgb else 1, 1, CHUNK, CHUNK),
                dtype=np.dtype(source.dtype),
                compressors=ZstdCodec(level=1),
                dimension_names=list(AXES.lower()),
            )
        group.attrs["napari_relay"] = {"format": FORMAT, "stamp": self._stamp}  # last: the arrays are all there
        return [_writing_empty_chunks(group[str(level)]) for level in range(len(shapes))]

    def _array_shape(self, shape: tuple[int, int]) -> tuple[int, ...]:
        return (self._source.sizes_t, self._source.channels, self._source.sizes_z, *shape)

    def _drop_partial_files(self) -> None:
        """zarr writes a chunk under another name first; a killed process leaves such files behind."""
        for path in self.zarr_path.rglob("*.partial"):
            if time.time() - path.stat().st_mtime > STALE_PARTIAL_S:
                path.unlink(missing_ok=True)


def find_cached(source: Source, cache_dir: Path | None = None) -> CachedSource | None:
    """The finished pyramid of an image, if there is one."""
    try:
        return Cache(source, cache_dir).open()
    except ImageError:
        return None


def _writing_empty_chunks(array: Any) -> Any:
    """A chunk without a file means "not done yet" here, so blank ones must be written too."""
    return array.with_config({"write_empty_chunks": True})


def _stamp(source: Source) -> list[int] | None:
    """Size and time of change of the file; None for folders, URLs and arrays."""
    if source.path is None or not source.path.is_file():
        return None
    status = source.path.stat()
    return [status.st_size, status.st_mtime_ns]


def _ome_metadata(source: Source, levels: int) -> dict[str, Any]:
    """OME-Zarr 0.5 attributes, so that any other program can read the cache as well."""
    unit = {"unit": "micrometer"} if source.pixel_size_um is not None else {}
    y, x = source.pixel_size_um or (1.0, 1.0)
    kinds = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [
                {"type": "scale", "scale": [1.0, 1.0, 1.0, y * 2**level, x * 2**level]},
                {"type": "translation", "translation": [0.0, 0.0, 0.0, y * (2**level - 1) / 2, x * (2**level - 1) / 2]},
            ],
        }
        for level in range(levels)
    ]
    axes = [{"name": name, "type": kind, **(unit if name in "yx" else {})} for name, kind in kinds.items()]
    channels = [{"label": name} for name in source.channel_names]
    return {
        "version": "0.5",
        "multiscales": [{"name": source.name, "axes": axes, "datasets": datasets}],
        "omero": {"channels": channels},
    }

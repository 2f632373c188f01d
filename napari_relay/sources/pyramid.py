"""Pyramids on disk for large images that have none.

A pyramid is an OME-Zarr 0.5 (unsharded chunks of 512 pixels, every level the area mean of the one before) in a
cache folder, named by the image's fingerprint. It is written in blocks; a block whose chunks are all there is
skipped, so that a killed build goes on where it stopped. The order makes it safe: chunks (each put in place by a
rename), then the disk is told to write, then the marker that says "finished" (`cache.py`). Without the marker a
pyramid is never used.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_relay.errors import ImageError, StorageError
from napari_relay.geometry import Box, Plane
from napari_relay.sources.base import Source

MAX_SIDE = 8192
MAX_PIXELS = 64_000_000
CHUNK = 512
BLOCK_AREA = 16 * CHUNK * CHUNK
"""Pixels written between two progress values (12 MB of RGB), so that a build can be stopped within a second."""
MAX_BLOCK_ROWS = 4 * CHUNK
COARSEST_SIDE = 512


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` steps; `seconds_left` is None until there is something to judge by."""

    done: int
    total: int
    seconds_left: float | None = None

    @property
    def fraction(self) -> float:
        return self.done / self.total if self.total else 1.0


@dataclass(frozen=True, slots=True)
class Block:
    """Whole chunks of one level in one plane; `box` in pixels of the level."""

    level: int
    plane: Plane
    box: Box

    @property
    def chunks(self) -> int:
        return sum(1 for _ in self.box.tiles(CHUNK))


def needs_pyramid(source: Source) -> bool:
    """Whether even the coarsest level is too large to be shown whole (over 8192 pixels a side or 64 megapixels)."""
    height, width = source.levels[-1].shape
    return max(height, width) > MAX_SIDE or height * width > MAX_PIXELS


def pyramid_shapes(shape: tuple[int, int]) -> list[tuple[int, int]]:
    """Level shapes, finest first: halved, rounded up, until no side is longer than 512."""
    shapes = [shape]
    while max(shapes[-1]) > COARSEST_SIDE:
        shapes.append(((shapes[-1][0] + 1) // 2, (shapes[-1][1] + 1) // 2))
    return shapes


def build_pyramid(source: Source, cache_dir: Path | None = None) -> Generator[Progress, None, Source]:
    """Write a pyramid of `source` and return a source over it.

    A generator: it works between two values, can be closed at any of them, and goes on where it stopped when it is
    called again. The returned source has the name, path and fingerprint of the original, and is closed by whoever
    asked for it; the original may be closed before.

    Parameters
    ----------
    cache_dir : folder for the pyramid; `default_cache_dir()` when None.

    Yields
    ------
    Progress
        Steps are chunks of all levels.

    Raises
    ------
    StorageError
        The disk is full, or the folder cannot be written. What was written stays and is used by the next try.
    ImageError
        The image cannot be read.
    """
    from napari_relay.sources.cache import Cache  # zarr takes 0.3 s to import

    cache = Cache(source, cache_dir)
    if (finished := cache.open()) is not None:
        return finished
    try:
        arrays = cache.prepare(pyramid_shapes(source.shape))
        yield from _write_blocks(source, cache, arrays)
        cache.finish()
    except (ImageError, StorageError):
        raise
    except OSError as error:
        raise StorageError(
            f"Cannot write the pyramid of {source.where} in {cache.folder}: {error.strerror or error}.",
            "Make room there and try again (it goes on where it stopped), or name another folder in the environment "
            "variable NAPARI_RELAY_CACHE_DIR.",
        ) from error
    finished = cache.open()
    assert finished is not None, "a pyramid that was finished can be opened"
    return finished


def _write_blocks(source: Source, cache: Any, arrays: list[Any]) -> Iterator[Progress]:
    shapes = [array.shape[-2:] for array in arrays]
    planes = [Plane(t, z) for t in range(source.sizes_t) for z in range(source.sizes_z)]
    rows = [min(MAX_BLOCK_ROWS, -(-source.stored_rows // CHUNK) * CHUNK)] + [CHUNK] * (len(shapes) - 1)
    blocks = [
        Block(level, plane, box)
        for level, shape in enumerate(shapes)
        for plane in planes
        for box in _boxes(shape, rows[level])
    ]
    total, done, written = sum(block.chunks for block in blocks), 0, 0
    started = time.monotonic()
    for block in blocks:
        if not cache.has(block, source.channels):
            pixels = _read_finer(source, arrays, block)
            arrays[block.level][block.plane.t, :, block.plane.z, *block.box.slices] = pixels
            written += block.chunks
        done += block.chunks
        left = (time.monotonic() - started) / written * (total - done) if written else None
        yield Progress(done, total, left)


def _boxes(shape: tuple[int, int], rows: int) -> Iterator[Box]:
    """Blocks of whole chunks, in the order in which files store pixels."""
    columns = BLOCK_AREA // rows
    for y in range(0, shape[0], rows):
        for x in range(0, shape[1], columns):
            yield Box(y, x, y + rows, x + columns).clip(shape)


def _read_finer(source: Source, arrays: list[Any], block: Block) -> npt.NDArray[Any]:
    """Pixels of a block [c, y, x]: level 0 from the image, the others from the level before, already written."""
    if block.level == 0:
        # contiguous: everything after this, compression included, is three times faster
        return np.ascontiguousarray(np.moveaxis(source.read(block.box, 0, block.plane), 2, 0))
    finer = arrays[block.level - 1]
    box = Box(*(2 * edge for edge in (block.box.y0, block.box.x0, block.box.y1, block.box.x1))).clip(finer.shape[-2:])
    return halve(np.asarray(finer[block.plane.t, :, block.plane.z, *box.slices]))


def halve(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Area mean of 2 x 2 pixels over the last two axes, in the same dtype; a last odd row or column counts alone.

    Whole numbers are rounded half up, a bool is True when half of its pixels are, NaN counts as no pixel.
    """
    height, width = pixels.shape[-2:]
    if height % 2 or width % 2:  # a repeated row does not change the mean
        pixels = np.pad(pixels, [(0, 0)] * (pixels.ndim - 2) + [(0, height % 2), (0, width % 2)], mode="edge")
    parts = [pixels[..., dy::2, dx::2] for dy in (0, 1) for dx in (0, 1)]
    if pixels.dtype.kind == "b":
        return np.asarray(np.sum(parts, axis=0) >= 2)
    if pixels.dtype.kind in "iu":  # floor((a + b + c + d + 2) / 4) without leaving the dtype
        quarters: npt.NDArray[Any] = (parts[0] >> 2) + (parts[1] >> 2) + (parts[2] >> 2) + (parts[3] >> 2)
        rest = (parts[0] & 3) + (parts[1] & 3) + (parts[2] & 3) + (parts[3] & 3) + 2
        return np.asarray(quarters + (rest >> 2), pixels.dtype)
    with np.errstate(invalid="ignore", divide="ignore"):
        counts = np.sum([~np.isnan(part) for part in parts], axis=0)
        sums = np.sum([np.where(np.isnan(part), 0, part) for part in parts], axis=0, dtype=float)
        return np.asarray(sums / counts, pixels.dtype)

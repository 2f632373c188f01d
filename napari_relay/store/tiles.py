"""Mask tiles: a mask is cut along a fixed 512 x 512 grid anchored at level-0 pixel (0, 0).

A tile is either full (every one of its 262,144 pixels set; nothing is stored but the flag) or a zstd frame with
checksum of its packed bits: row by row, eight pixels a byte, the leftmost pixel in the highest bit (as `np.packbits`
does and as a PBM file has them). Pixels outside the image are 0. Tiles without a set pixel do not exist.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import zstandard

from napari_relay.errors import EmptyProposalError, ProjectDamagedError, UsageError
from napari_relay.geometry import Box
from napari_relay.store.schema import TILE
from napari_relay.store.values import Mask

PACKED_BYTES = TILE * TILE // 8
WHOLE = Box(0, 0, TILE, TILE)
_ZSTD_LEVEL = 3
_codecs = threading.local()  # zstandard's objects may not be used by two threads at once


@dataclass(frozen=True, slots=True)
class MaskTile:
    """One tile of one mask as it is stored; `bits` is None where the tile is full."""

    row: int
    column: int
    bits: bytes | None

    @property
    def box(self) -> Box:
        return tile_box(self.row, self.column)


def tile_box(row: int, column: int) -> Box:
    """The level-0 box of a tile (it may hang over the image's border)."""
    return Box(row * TILE, column * TILE, (row + 1) * TILE, (column + 1) * TILE)


def tight_box(box: Box, mask: Mask) -> Box:
    """Smallest box round the set pixels of `mask`, which lies at `box`; empty when there is none."""
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return Box(0, 0, 0, 0)
    columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
    return Box(
        box.y0 + int(rows[0]), box.x0 + int(columns[0]), box.y0 + int(rows[-1]) + 1, box.x0 + int(columns[-1]) + 1
    )


def checked_mask(box: Box, mask: Mask, shape: tuple[int, int]) -> tuple[Box, Mask]:
    """The tight box of a mask that lies at `box`, and the mask in it.

    Raises
    ------
    EmptyProposalError
        No pixel is set.
    UsageError
        The mask is not of its box's shape or not bool, or hangs over the image of `shape`.
    """
    mask = np.asarray(mask)
    if mask.dtype != np.bool_ or mask.shape != box.shape:
        raise UsageError(
            f"The mask is {mask.dtype} {mask.shape}; its box {box} needs bool {box.shape}.", "Pass a bool mask."
        )
    tight = tight_box(box, mask)
    if tight.empty:
        raise EmptyProposalError("There is no mask to accept: no pixel is set.", "Click on the object first.")
    if not Box(0, 0, *shape).covers(tight):
        raise UsageError(f"The mask at {tight} hangs over the image of {shape} pixels.", "Cut it off at the border.")
    return tight, mask[tight.relative_to(box).slices]


def split(box: Box, mask: Mask) -> Iterator[MaskTile]:
    """Cut a mask (bool [y, x], lying at `box`) into its non-empty tiles."""
    for row, column in box.tiles(TILE):
        tile = tile_box(row, column)
        common = tile.intersect(box)
        part = mask[common.relative_to(box).slices]
        if not part.any():
            continue
        if common == tile and part.all():
            yield MaskTile(row, column, None)
            continue
        pixels = np.zeros((TILE, TILE), bool)  # [y, x]
        pixels[common.relative_to(tile).slices] = part
        yield MaskTile(row, column, pack(pixels))


def pack(pixels: Mask) -> bytes:
    """bool [512, 512] -> compressed bits."""
    if not hasattr(_codecs, "compress"):
        _codecs.compress = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True)
    return cast(bytes, _codecs.compress.compress(np.packbits(pixels).tobytes()))


def unpack(bits: bytes | None, where: str = "", part: Box = WHOLE) -> Mask:
    """Compressed bits -> bool [512, 512], or of `part` of the tile alone (in pixels of the tile); None is a full tile.

    Most objects are far smaller than a tile: taking all of it apart would cost ten times as much.

    Raises
    ------
    ProjectDamagedError
        The bits are not what `pack` wrote; `where` names the tile in the message.
    """
    if bits is None:
        return np.ones(part.shape, bool)
    if not hasattr(_codecs, "decompress"):
        _codecs.decompress = zstandard.ZstdDecompressor()
    try:
        raw = _codecs.decompress.decompress(bits, max_output_size=PACKED_BYTES)
    except zstandard.ZstdError as error:
        raise _damaged(where, str(error)) from error
    if len(raw) != PACKED_BYTES:
        raise _damaged(where, f"{len(raw)} bytes instead of {PACKED_BYTES}")
    packed = np.frombuffer(raw, np.uint8).reshape(TILE, TILE // 8)
    first = part.x0 // 8
    needed = packed[part.y0 : part.y1, first : -(-part.x1 // 8)]
    return np.unpackbits(needed, axis=1).view(bool)[:, part.x0 - 8 * first : part.x1 - 8 * first]


def assemble(tiles: Iterable[MaskTile], box: Box, where: str = "") -> Mask:
    """Paint tiles into one mask, bool [y, x] over `box`; tiles outside are ignored."""
    mask = np.zeros(box.shape, bool)
    for tile in tiles:
        common = tile.box.intersect(box)
        if common.empty:
            continue
        target = mask[common.relative_to(box).slices]
        if tile.bits is None:
            target[...] = True
        else:
            place = f"{where} tile ({tile.row}, {tile.column})".strip()
            target[...] = unpack(tile.bits, place, common.relative_to(tile.box))
    return mask


def _damaged(where: str, reason: str) -> ProjectDamagedError:
    return ProjectDamagedError(
        f"The mask of {where or 'an object'} is damaged: {reason}.",
        "Restore the project from its backup, or delete the object.",
    )

"""Label PNG: one grey picture of object ids, 8 bits where they suffice, else 16; no id above 65,535.

Written and read back row by row, so that no picture is held as a whole. The place of the picture in the image stands
in a text entry `relay` and, for tiles, in the file's name.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from napari_relay.errors import ExportError
from napari_relay.formats.frames import Frame
from napari_relay.formats.job import TILE, ExportJob, IdTile
from napari_relay.formats.witness import Place
from napari_relay.geometry import Box, Plane

MAX_ID = 65_535
MAX_PIXELS = 178_956_970
"""Pillow takes a larger picture for an attack."""
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LEVEL = 6
_BLOCK = 1 << 16


def check(job: ExportJob) -> None:
    """Refuse ids above 65,535.

    Raises
    ------
    ExportError
    """
    highest = max(job.ids, default=0)
    if highest > MAX_ID:
        raise ExportError(
            f"Object {highest} has an id above {MAX_ID}, which no label PNG holds.", "Choose label-tiff or ome-zarr."
        )


def write(job: ExportJob, path: Path, tiles: Iterator[IdTile]) -> Iterator[int]:
    """Write the file; yields the number of tiles written."""
    height, width = job.region.shape
    depth = 8 * job.dtype.itemsize
    with path.open("wb") as file:
        file.write(_SIGNATURE)
        _chunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0))
        frame = Frame(job.region, Plane(job.planes[0][0], job.planes[1][0]))
        # JSON of ASCII characters only, which a text entry asks for.
        _chunk(file, b"tEXt", b"relay\0" + json.dumps(frame.to_json(job.project.image_name)).encode("ascii"))
        packer = zlib.compressobj(_LEVEL)
        for count, (box, tile) in enumerate(zip((box for _, box in job.places()), tiles, strict=True), start=1):
            if box.x0 == 0:
                band = np.zeros((box.height, width), job.dtype)
            band[:, box.x0 : box.x1] = tile
            if box.x1 == width:
                _chunk(file, b"IDAT", packer.compress(_rows(band)))
            yield count
        _chunk(file, b"IDAT", packer.flush())
        _chunk(file, b"IEND", b"")


def read_back(job: ExportJob, path: Path) -> Iterator[tuple[Place, IdTile]]:
    """Every tile of the file with the place where it stands."""
    with path.open("rb") as file:
        size, rows = _read(file)
        height, width = size
        for top in range(0, height, TILE):
            found = list(islice(rows, TILE))
            if len(found) < min(TILE, height - top):
                raise ValueError("it ends too early")
            band = np.stack(found)
            for left in range(0, width, TILE):
                tile = band[:, left : left + TILE]
                yield (Plane(), Box(top, left, top + tile.shape[0], left + tile.shape[1])), tile.astype(job.dtype)


def _rows(band: IdTile) -> bytes:
    """Rows as they stand in the file: a filter byte (none), then the pixels, high byte first."""
    raw = band.astype(band.dtype.newbyteorder(">")).view(np.uint8).reshape(len(band), -1)
    return np.concatenate([np.zeros((len(band), 1), np.uint8), raw], axis=1).tobytes()


def _chunk(file: BinaryIO, kind: bytes, data: bytes) -> None:
    if data or kind == b"IEND":
        file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))


def _read(file: BinaryIO) -> tuple[tuple[int, int], Iterator[npt.NDArray[np.unsignedinteger]]]:
    """(height, width) and the rows of a file that `write` made.

    Raises
    ------
    ValueError
        It is not what `write` makes.
    """
    chunks = _chunks(file)
    kind, data = next(chunks, (b"", b""))
    if kind != b"IHDR":
        raise ValueError("it begins wrongly")
    width, height, depth, *rest = struct.unpack(">IIBBBBB", data)
    if depth not in (8, 16) or any(rest):
        raise ValueError("it is not a plain grey picture")
    dtype = np.dtype(np.uint8 if depth == 8 else ">u2")
    return (height, width), _inflated_rows(chunks, width, dtype)


def _inflated_rows(
    chunks: Iterator[tuple[bytes, bytes]], width: int, dtype: np.dtype[np.unsignedinteger]
) -> Iterator[npt.NDArray[np.unsignedinteger]]:
    length = 1 + width * dtype.itemsize
    unpacker = zlib.decompressobj()
    waiting = bytearray()
    for kind, data in chunks:
        if kind != b"IDAT":
            continue
        while unpacked := unpacker.decompress(data, _BLOCK + length):
            data = unpacker.unconsumed_tail
            waiting += unpacked
            while len(waiting) >= length:
                if waiting[0]:
                    raise ValueError("a row is filtered")
                yield np.frombuffer(bytes(waiting[1:length]), dtype)
                del waiting[:length]


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """(kind, data) of each chunk, its checksum verified."""
    if file.read(8) != _SIGNATURE:
        raise ValueError("it has not the first bytes of a PNG")
    while head := file.read(8):
        length, kind = struct.unpack(">I4s", head)
        data = file.read(length)
        if file.read(4) != struct.pack(">I", zlib.crc32(kind + data)):
            raise ValueError("a part is damaged")
        yield kind, data

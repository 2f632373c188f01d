"""Fingerprints: what an image is, wherever it lies.

A file is known by its size and by bytes sampled over it; the whole of a small file is taken. Headers and the ends
of files are always among the samples, because that is where formats keep their metadata.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING

from napari_relay.geometry import Box, Plane

if TYPE_CHECKING:
    from napari_relay.sources.base import Source

WHOLE_BYTES = 16 << 20
"""Files up to this size are hashed whole (about 20 ms)."""
WHOLE_PLANE_BYTES = 4 << 20
END_BYTES = 256 << 10
SAMPLES = 256
SAMPLE_BYTES = 4 << 10
LENGTH = 16


def new_hash() -> hashlib.blake2b:
    """The hash behind all fingerprints: 16 bytes, 32 hexadecimal digits."""
    return hashlib.blake2b(digest_size=LENGTH)


def file_fingerprint(path: Path, *parts: str) -> str:
    """Fingerprint of one file; `parts` tell several images in one file apart."""
    with path.open("rb") as stream:
        return stream_fingerprint(stream, path.stat().st_size, *parts)


def stream_fingerprint(stream: IO[bytes], size: int, *parts: str) -> str:
    """As `file_fingerprint`, of an open file of `size` bytes."""
    digest = new_hash()
    update_with_stream(digest, stream, size)
    return finish(digest, parts)


def update_with_stream(digest: hashlib.blake2b, stream: IO[bytes], size: int) -> None:
    """Add the size and the sampled bytes of a file."""
    digest.update(size.to_bytes(8, "little"))
    for start, length in _samples(size):
        stream.seek(start)
        digest.update(stream.read(length))


def _samples(size: int) -> Iterable[tuple[int, int]]:
    if size <= WHOLE_BYTES:
        yield 0, size
        return
    yield 0, END_BYTES
    step = (size - 2 * END_BYTES) / SAMPLES
    for index in range(SAMPLES):
        yield END_BYTES + int(index * step), SAMPLE_BYTES
    yield size - END_BYTES, END_BYTES


def source_fingerprint(source: Source, boxes: Iterable[Box], *parts: str) -> str:
    """Fingerprint from pixels: sizes, dtype, and `boxes` of level 0 in the first, middle and last plane.

    A small plane is taken whole, and so is the coarsest level when it is small, because an edit that was carried
    through the pyramid shows there. `parts` is what else belongs to the image's identity, such as metadata.
    """
    digest = new_hash()
    sizes = (source.sizes_t, source.sizes_z, *source.shape, source.channels)
    digest.update(repr((sizes, str(source.dtype))).encode())
    pixel_bytes = source.channels * source.dtype.itemsize
    wanted = [(0, box) for box in boxes]
    for level in {source.levels[0], source.levels[-1]}:
        if level.shape[0] * level.shape[1] * pixel_bytes <= WHOLE_PLANE_BYTES:
            wanted = [(at, box) for at, box in wanted if at != level.index]
            wanted.append((level.index, Box(0, 0, *level.shape)))
    last = Plane(source.sizes_t - 1, source.sizes_z - 1)
    for plane in dict.fromkeys([Plane(), Plane(last.t // 2, last.z // 2), last]):
        for index, box in sorted(wanted, key=lambda item: item[0]):
            digest.update(source.read(box, index, plane).tobytes())
    return finish(digest, parts)


def sample_boxes(shape: tuple[int, int], per_side: int, side: int = 32) -> list[Box]:
    """Boxes of `side` pixels on a fixed `per_side` x `per_side` grid that touches all four borders."""
    boxes = []
    for row in range(per_side):
        for column in range(per_side):
            share = max(1, per_side - 1)
            y = max(0, shape[0] - side) * row // share
            x = max(0, shape[1] - side) * column // share
            boxes.append(Box(y, x, y + side, x + side).clip(shape))
    return boxes


def finish(digest: hashlib.blake2b, parts: Iterable[str]) -> str:
    """Hexadecimal digits of the hash after adding `parts`."""
    for part in parts:
        digest.update(b"\0" + part.encode())
    return digest.hexdigest()

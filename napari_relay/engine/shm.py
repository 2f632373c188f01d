"""Values between two processes: the pickle in a pipe, large buffers through memory that both see.

The memory has no name: on POSIX it is an unlinked temporary file (on Linux in /dev/shm) whose descriptor the
child inherits, on Windows a mapping that goes with its last handle. So nothing can be left behind, not even when
both processes are killed, and no tracker process has to clean up. Two blocks serve one worker, one each way, and
are reused; only the parent makes or resizes them. Values are copied in and out: a service may keep what it got.
"""

from __future__ import annotations

import mmap
import os
import pickle
import secrets
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SMALL_BYTES = 32 << 10
"""Values up to this size travel in the pipe itself."""
FIRST_BYTES = 1 << 20
KEEP_BYTES = 64 << 20
"""A block that grew beyond this shrinks again for a smaller value."""

WINDOWS = sys.platform == "win32"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a block lies: descriptor (POSIX) or name (Windows), and size in bytes; 0 bytes for none."""

    address: int | str = -1
    size: int = 0


@dataclass(frozen=True, slots=True)
class Parcel:
    """A value on its way: the sizes of its pickle stream and buffers, which lie one after the other in the block
    at `place`, or in `inline`."""

    sizes: tuple[int, ...]
    place: Place = Place()
    inline: tuple[bytes, ...] = ()


class Segments:
    """A value taken apart: its pickle stream, then its buffers (arrays are not copied)."""

    def __init__(self, value: object) -> None:
        buffers: list[pickle.PickleBuffer] = []
        stream = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        self._parts = [memoryview(stream), *(buffer.raw() for buffer in buffers)]
        self.sizes = tuple(part.nbytes for part in self._parts)
        self.nbytes = sum(self.sizes)

    @property
    def small(self) -> bool:
        return self.nbytes <= SMALL_BYTES

    def inline(self) -> Parcel:
        return Parcel(self.sizes, inline=tuple(bytes(part) for part in self._parts))

    def into(self, block: Block) -> Parcel:
        """Copy into the block, which must be large enough."""
        at = 0
        for part, size in zip(self._parts, self.sizes, strict=True):
            block.view[at : at + size] = part
            at += size
        return Parcel(self.sizes, block.place)


def unpack(parcel: Parcel, block: Block | None) -> Any:
    """The value of a parcel (`block` is None for an inline one); its arrays are copies."""
    parts: Sequence[bytes | bytearray]
    if block is None:
        parts = [bytearray(part) for part in parcel.inline]
    else:
        parts, at = [], 0
        for size in parcel.sizes:
            parts.append(bytearray(block.view[at : at + size]))
            at += size
    return pickle.loads(parts[0], buffers=parts[1:])


class Block:
    """One mapped piece of shared memory."""

    def __init__(self, place: Place) -> None:
        self.place = place
        if sys.platform == "win32":
            self._map = mmap.mmap(-1, place.size, tagname=str(place.address))
        else:
            self._map = mmap.mmap(int(place.address), place.size)
        self.view = memoryview(self._map)

    def close(self) -> None:
        self.view.release()
        self._map.close()


class BlockOwner:
    """The parent's side of one block: makes it, resizes it, frees it."""

    def __init__(self) -> None:
        self._block: Block | None = None
        # buffering=0: the file is only a descriptor to map
        self._file = None if WINDOWS else tempfile.TemporaryFile(buffering=0, dir=_memory_folder())  # noqa: SIM115

    @property
    def descriptor(self) -> int | None:
        """What the child must inherit."""
        return None if self._file is None else self._file.fileno()

    @property
    def place(self) -> Place:
        return Place() if self._block is None else self._block.place

    def reserve(self, nbytes: int) -> Block | None:
        """A block of at least `nbytes`; None where the system has no room for it (a small /dev/shm)."""
        size = max(FIRST_BYTES, 1 << (nbytes - 1).bit_length())
        have = self.place.size
        if have < size or (have > size and have > KEEP_BYTES):
            self._resize(size)
        return self._block

    def at(self, place: Place) -> Block | None:
        """The block that a parcel names; None for an inline one."""
        return self._block if place.size else None

    def close(self) -> None:
        self._unmap()
        if self._file is not None:
            self._file.close()

    def _resize(self, size: int) -> None:
        self._unmap()
        try:
            if self._file is None:
                self._block = Block(Place(f"napari-relay-{secrets.token_hex(8)}", size))
            else:
                self._file.truncate(size)
                # Pages that are only promised would end the process with SIGBUS when the memory file system is full.
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(self._file.fileno(), 0, size)
                self._block = Block(Place(self._file.fileno(), size))
        except OSError:
            if self._file is not None:
                self._file.truncate(0)

    def _unmap(self) -> None:
        if self._block is not None:
            self._block.close()
            self._block = None


class BlockGuest:
    """The child's side of one block: maps it where the parent says, again after it moved or changed its size."""

    def __init__(self) -> None:
        self._block: Block | None = None

    def at(self, place: Place) -> Block | None:
        if place.size == 0:
            return None
        if self._block is not None and self._block.place != place:
            self._block.close()
            self._block = None
        if self._block is None:
            self._block = Block(place)
        return self._block


def _memory_folder() -> str | None:
    """A file system in memory where there is one; else the usual temporary folder."""
    return "/dev/shm" if os.path.isdir("/dev/shm") and os.access("/dev/shm", os.W_OK) else None

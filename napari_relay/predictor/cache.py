"""Least-recently-used store of encodings, bounded by bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class ByteLRU(Generic[T]):
    """Keeps the newest values whose sizes sum up to at most `limit` bytes.

    The newest entry always stays, even when it alone is larger than the limit. Not thread-safe: one thread computes.
    """

    def __init__(self, limit: int, size: Callable[[T], int]) -> None:
        self.limit = limit
        self._size = size
        self._items: OrderedDict[str, T] = OrderedDict()
        self.nbytes = 0

    def __contains__(self, key: str) -> bool:
        return key in self._items

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: str) -> T | None:
        """Value of `key`, marked as used just now; None if it is not there."""
        if key not in self._items:
            return None
        self._items.move_to_end(key)
        return self._items[key]

    def put(self, key: str, value: T) -> None:
        if key in self._items:
            self.nbytes -= self._size(self._items.pop(key))
        self._items[key] = value
        self.nbytes += self._size(value)
        while self.nbytes > self.limit and len(self._items) > 1:
            _, old = self._items.popitem(last=False)
            self.nbytes -= self._size(old)

    def clear(self) -> None:
        self._items.clear()
        self.nbytes = 0

"""JSON files of any size, read element by element and written record by record."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from napari_relay.formats.checking import Place

_CHUNK = 1 << 20
_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def read_top(path: Path) -> Iterator[tuple[str, int, Any]]:
    """The entries of the object or list that a JSON file holds.

    Yields (key, -1, value), and for each element of a list that stands directly in the object (key, index, element);
    a file that is a list has the key "". No more than one element is held at a time.

    Raises
    ------
    ImportFileError
        It is not JSON, or not complete.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = _Reader(file, Place(path.name))
        try:
            yield from reader.top()
        except UnicodeDecodeError as error:
            raise reader.place.bad(f"it is not UTF-8 text ({error.reason})") from error
        except RecursionError as error:
            raise reader.place.bad("its lists stand too deep in one another") from error


class _Reader:
    def __init__(self, file: TextIO, place: Place) -> None:
        self._file = file
        self.place = place
        self._text = ""
        self._at = 0
        self._done_before = 0
        self._ended = False

    def top(self) -> Iterator[tuple[str, int, Any]]:
        first = self._peek()
        if first == "[":
            for index, element in enumerate(self._elements()):
                yield "", index, element
        elif first == "{":
            yield from self._members()
        else:
            raise self._bad("a JSON object or list is expected")
        if self._peek():
            raise self._bad("something stands behind its end")

    def _members(self) -> Iterator[tuple[str, int, Any]]:
        self._at += 1
        while self._peek() != "}":
            key = self._value()
            if not isinstance(key, str):
                raise self._bad("a name is expected")
            self._expect(":")
            if self._peek() == "[":
                for index, element in enumerate(self._elements()):
                    yield key, index, element
                yield key, -1, None
            else:
                yield key, -1, self._value()
            if self._peek() == ",":
                self._at += 1
                if self._peek() == "}":
                    raise self._bad("a name is expected")
            elif self._peek() != "}":
                raise self._bad("a comma or the end of the object is expected")
        self._at += 1

    def _elements(self) -> Iterator[Any]:
        self._at += 1
        while self._peek() != "]":
            yield self._value()
            if self._peek() == ",":
                self._at += 1
                if self._peek() == "]":
                    raise self._bad("a value is expected")
            elif self._peek() != "]":
                raise self._bad("a comma or the end of the list is expected")
        self._at += 1

    def _value(self) -> Any:
        """The next value; reads on until it is complete."""
        size = _CHUNK
        self._peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._ended:
                    raise self._bad(error.msg, error.pos) from error
            except ValueError as error:  # a number of thousands of digits
                raise self._bad(str(error)) from error
            else:
                if end < len(self._text) or self._ended:  # else a number may go on
                    self._at = end
                    return value
            self._read(size)
            size *= 2

    def _peek(self) -> str:
        """The next character that is no space; "" at the end of the file."""
        while True:
            match = _SPACE.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            self._read(_CHUNK)

    def _expect(self, character: str) -> None:
        if self._peek() != character:
            raise self._bad(f"{character!r} is expected")
        self._at += 1

    def _read(self, size: int) -> None:
        more = self._file.read(size)
        self._ended = not more
        self._done_before += self._at
        self._text, self._at = self._text[self._at :] + more, 0

    def _bad(self, what: str, at: int | None = None) -> Exception:
        where = self._done_before + (self._at if at is None else at)
        return self.place.bad(f"it is not complete JSON: {what} at character {where}")


class JsonWriter:
    """Writes one JSON object whose lists are given element by element; a context manager."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", newline="\n")
        self._file.write("{")
        self._first_member = True
        self._first_element = True

    def member(self, key: str, value: Any) -> None:
        self._key(key)
        self._file.write(_dump(value))

    def begin_list(self, key: str) -> None:
        self._key(key)
        self._file.write("[")
        self._first_element = True

    def element(self, value: Any) -> None:
        self._file.write("\n" if self._first_element else ",\n")
        self._file.write(_dump(value))
        self._first_element = False

    def end_list(self) -> None:
        self._file.write("\n]")

    def _key(self, key: str) -> None:
        self._file.write(("\n" if self._first_member else ",\n") + _dump(key) + ": ")
        self._first_member = False

    def __enter__(self) -> JsonWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: Any) -> None:
        try:
            if kind is None:
                self._file.write("\n}\n")
        finally:
            self._file.close()


def _dump(value: Any) -> str:
    return _ENCODER.encode(value)

"""XML files of any size, read element by element, without what makes XML dangerous.

A document type is refused before anything in it is used: it is where entities are declared, those that grow without
bound ("XML bombs") and those that stand for other files. Nothing that a file names is opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat

from napari_relay.formats.checking import Place

_HEAD_PIECE, _PIECE = 64, 1 << 16
MAX_DEPTH = 30
MAX_NAME = 100
MAX_TEXT = 1000
"""Of an element's text so many characters are kept."""


@dataclass(frozen=True, slots=True)
class Element:
    """The beginning of an element, or where `attributes` is None its end; `path` is `root/child/its own name`."""

    path: str
    attributes: Mapping[str, str] | None
    text: str
    line: int


def read_elements(path: Path) -> Iterator[Element]:
    """The beginnings and ends of all elements, in the file's order.

    Raises
    ------
    ImportFileError
        It is not XML, not complete, too deep, or has a document type.
    """
    reader = _Reader(Place(path.name))
    with path.open("rb") as file:
        # Up to the root element in small pieces: expat reads a piece to its end even when a handler has refused it.
        while piece := file.read(_PIECE if reader.begun else _HEAD_PIECE):
            yield from reader.feed(piece)
    yield from reader.feed(b"", final=True)


class _Reader:
    def __init__(self, place: Place) -> None:
        self._place = place
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._data
        self._paths: list[str] = []
        self._text = ""
        self._found: list[Element] = []
        self.begun = False

    def feed(self, piece: bytes, *, final: bool = False) -> list[Element]:
        self._found = []
        try:
            self._parser.Parse(piece, final)
        except expat.ExpatError as error:
            raise self._place.bad(f"it is not complete XML ({error})") from error
        except (ValueError, LookupError) as error:  # an encoding that there is not
            raise self._place.bad(f"it is no XML that can be read ({error})") from error
        return self._found

    def _doctype(self, *_: object) -> None:
        raise self._place.bad("it has a document type (DOCTYPE), which may hide other files and is not read")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self.begun = True
        if len(self._paths) >= MAX_DEPTH or len(name) > MAX_NAME:
            raise self._place.bad("its elements stand too deep in one another, or have names too long")
        self._paths.append(f"{self._paths[-1]}/{name}" if self._paths else name)
        self._text = ""
        self._found.append(Element(self._paths[-1], attributes, "", self._parser.CurrentLineNumber))

    def _end(self, name: str) -> None:
        self._found.append(Element(self._paths.pop(), None, self._text, self._parser.CurrentLineNumber))
        self._text = ""

    def _data(self, text: str) -> None:
        self._text += text[: MAX_TEXT - len(self._text)]

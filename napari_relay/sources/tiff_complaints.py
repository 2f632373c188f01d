"""Listens to what tifffile only logs: pages and tags that a file points to and does not hold.

tifffile opens what is left of a file that was cut off, and a stack with half of its planes, or a pyramid without
its levels, would look like a sound image.
"""

from __future__ import annotations

import logging
import re
import threading
from types import TracebackType

_MISSING_PAGE = re.compile(r"invalid page offset \d+|corrupted (?:IFD structure|tag list)")
_MISSING_TAG = re.compile(r"TiffTag (\d+) @\d+> invalid value offset \d+")
BASELINE_TAGS = range(254, 340)
"""Tags of which an image cannot do without one that is there; private ones are often broken and harmless."""


class Complaints(logging.Handler):
    """Collects, while it is entered, what tifffile logs in this thread."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._thread = threading.get_ident()
        self._messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self._messages.append(record.getMessage())

    @property
    def of_missing_pages(self) -> str:
        """The first complaint that means lost pixels or lost metadata, in tifffile's words; "" for none."""
        for message in self._messages:
            page, tag = _MISSING_PAGE.search(message), _MISSING_TAG.search(message)
            if page is not None:
                return page.group()
            if tag is not None and int(tag.group(1)) in BASELINE_TAGS:
                return f"the value of tag {tag.group(1)} lies behind the end of the file"
        return ""

    def __enter__(self) -> Complaints:
        logging.getLogger("tifffile").addHandler(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        logging.getLogger("tifffile").removeHandler(self)

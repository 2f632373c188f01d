"""Opening an image for a command: with a word and a progress bar when a large file first needs a pyramid."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from napari_relay.cli.console import drive, err
from napari_relay.geometry import Box
from napari_relay.sources import Source, build_pyramid, needs_pyramid, open_image


@contextmanager
def opened_image(image: str) -> Iterator[Source]:
    """The image as a source whose coarse views are cheap to read; closed at the end.

    Raises
    ------
    ImageError, StorageError
    """
    with ExitStack() as opened:
        source = opened.enter_context(open_image(image))
        if needs_pyramid(source):
            err.print(f"{source.name} is large and has no pyramid; one is made in the cache, once.", highlight=False)
            source = opened.enter_context(drive(build_pyramid(source), "Making the pyramid"))
        _read_a_pixel(source)
        yield source


def _read_a_pixel(source: Source) -> None:
    """A file that is cut off says so here, before a project is made for it."""
    level = source.levels[-1]
    y, x = (side // 2 for side in level.shape)
    source.read(Box(y, x, y + 1, x + 1), level.index)

"""Opening an image for a command: with a word and a progress bar when a large file first needs a pyramid."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from napari_relay.cli.console import drive, err
from napari_relay.sources import Source, build_pyramid, needs_pyramid, open_image


@contextmanager
def opened_image(image: str) -> Iterator[Source]:
    """The image as a source whose coarse views are cheap to read; closed at the end.

    Raises
    ------
    ImageError, StorageError
    """
    source = open_image(image)
    try:
        if needs_pyramid(source):
            err.print(f"{source.name} is large and has no pyramid; one is made in the cache, once.", highlight=False)
            source = drive(build_pyramid(source), "Making the pyramid")
        yield source
    finally:
        source.close()

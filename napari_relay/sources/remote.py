"""Files at a URL, through fsspec (extra `remote`)."""

from __future__ import annotations

from typing import IO, Any, cast
from urllib.parse import urlsplit

from napari_relay.errors import ImageError, MissingExtraError
from napari_relay.sources.checks import READ_ERRORS, reason

BLOCK_BYTES = 256 << 10
"""One request fetches this much: a tile or two."""
HELD_BLOCKS = 64


def open_remote(url: str) -> IO[bytes]:
    """Open a URL for reading at any place.

    Raises
    ------
    MissingExtraError
        The library for this kind of URL is not installed.
    ImageError
        There is nothing, or the server gives only whole files.
    """
    options: dict[str, Any] = {
        "block_size": BLOCK_BYTES,
        "cache_type": "blockcache",
        "cache_options": {"maxblocks": HELD_BLOCKS},
    }
    try:
        import fsspec

        stream = cast("IO[bytes]", fsspec.open(url, "rb", **options).open())
    except ImportError as error:
        raise missing_remote(url, error) from error
    except FileNotFoundError as error:
        raise ImageError(f"There is no file {url}.", "Check the address.") from error
    except READ_ERRORS as error:
        raise ImageError(f"Cannot reach {url}: {reason(error)}.", "Check the address and the network.") from error
    if not stream.seekable():
        stream.close()
        raise ImageError(f"The server of {url} gives only whole files.", "Download it first.")
    return stream


def url_name(url: str) -> str:
    """The last part of a URL's path."""
    return urlsplit(url).path.rstrip("/").rpartition("/")[2] or url


def missing_remote(url: str, error: ImportError) -> MissingExtraError:
    """What to say when the library for a URL is not there."""
    return MissingExtraError(
        f"Opening {url} needs a library that is not installed ({reason(error)}).",
        "Install it with `pip install napari-relay[remote]`.",
    )

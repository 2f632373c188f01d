"""`open_image`: finds the reader for a path, URL or array.

A file's first bytes decide, not its name; the name only helps to say what is wrong.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_relay.errors import ImageError, UnsupportedImageError, UsageError
from napari_relay.sources.array import open_array
from napari_relay.sources.base import Source
from napari_relay.sources.bitmap import bitmap_kind, open_bitmap
from napari_relay.sources.tiff import is_tiff, open_tiff

_URL = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]+(::|://)")


def open_image(
    path_or_array: Any,
    *,
    scene: int | str | None = None,
    channel_names: Sequence[str] | None = None,
    axes: str | None = None,
    rgb: bool | None = None,
) -> Source:
    """Open an image of any size; reads metadata only.

    Parameters
    ----------
    path_or_array : path of a file or of an OME-Zarr folder, URL of an OME-Zarr, array (numpy, dask, zarr), or list
        of arrays as levels, finest first.
    scene : which image of a file that holds several, by index or name; the first one by default.
    channel_names : one for each channel, instead of the file's.
    axes : order of an array's axes, a string of y, x and any of t, z, c; guessed from its shape when None.
    rgb : whether an array's 3 or 4 channels are colour; guessed when None.

    Raises
    ------
    ImageError
        The file is missing, unreadable, damaged or no image. MissingExtraError when its reader is not installed.
    UsageError
        A scene, axes or names that the image does not have.
    """
    if not isinstance(path_or_array, (str, os.PathLike)):
        source: Source = open_array(path_or_array, axes=axes, rgb=rgb, channel_names=channel_names)
    else:
        if axes is not None or rgb is not None:
            raise UsageError("`axes` and `rgb` are for arrays only.", "A file says itself what its axes are.")
        source = _open_path(os.fspath(path_or_array), scene, channel_names)
    if channel_names is not None and len(channel_names) != source.channels:
        source.close()
        raise UsageError(
            f"{source.where} has {source.channels} channel(s), but {len(channel_names)} names were given.",
            "Give one name for each channel.",
        )
    return source


def _open_path(text: str, scene: int | str | None, channel_names: Sequence[str] | None) -> Source:
    path = Path(text).expanduser()
    head = read_head(path)
    kind = bitmap_kind(head)
    if kind is not None:
        return open_bitmap(path, kind, channel_names)
    if is_tiff(head):
        return open_tiff(path, scene, channel_names)
    raise UnsupportedImageError(f"{path} is not an image.", "")


def read_head(path: Path, length: int = 64) -> bytes:
    """First bytes of a regular file; b"" for a folder. Says what is wrong with anything else."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return b""
        if not stat.S_ISREG(mode):
            raise UnsupportedImageError(f"{path} is not a file.", "Give the path of an image file.")
        with path.open("rb") as stream:
            return stream.read(length)
    except FileNotFoundError as error:
        raise ImageError(f"There is no file {path}.", "Check the path.") from error
    except NotADirectoryError as error:
        raise ImageError(f"There is no file {path}.", "A part of the path before it is not a folder.") from error
    except PermissionError as error:
        raise ImageError(f"{path} may not be read by you.", "Ask for the right to read it, or copy it.") from error
    except OSError as error:
        raise ImageError(f"Cannot read {path}: {error.strerror}.", "Check the disk or the network share.") from error

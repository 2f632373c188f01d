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
from urllib.parse import urlsplit

import numpy as np

from napari_relay.errors import DamagedImageError, ImageError, UnsupportedImageError, UsageError
from napari_relay.geometry import Box, Plane
from napari_relay.sources.array import open_array
from napari_relay.sources.base import Source
from napari_relay.sources.pyramid import needs_pyramid

MAX_CHECKED_VALUES = 4_000_000
ZIP = b"PK\x03\x04"
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
BITMAPS: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "jpeg2000"),
    (b"\xff\x4f\xff\x51", "jpeg2000"),
    (b"BM", "bmp"),
)
SLIDES = (".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".svslide", ".bif", ".dcm")
"""Names of slides that OpenSlide reads and tifffile does not, or not well."""
NAMED_LIKE_IMAGES = (".png", ".jpg", ".jpeg", ".jp2", ".j2k", ".tif", ".tiff", ".svs", ".bmp", ".webp", ".zip")
_URL = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]+(::|://)")


def open_image(
    path_or_array: Any,
    *,
    scene: int | str | None = None,
    channel_names: Sequence[str] | None = None,
    axes: str | None = None,
    rgb: bool | None = None,
    cache_dir: Path | None = None,
) -> Source:
    """Open an image of any size; reads metadata only.

    Parameters
    ----------
    path_or_array : path of a file or of an OME-Zarr folder, URL of an OME-Zarr or TIFF, array (numpy, dask, zarr), or
        list of arrays as levels, finest first.
    scene : which image of a file that holds several, by index or name; the first one by default.
    channel_names : one for each channel, instead of the file's.
    axes : order of an array's axes, a string of y, x and any of t, z, c; guessed from its shape when None.
    rgb : whether an array's 3 or 4 channels are colour; guessed when None.
    cache_dir : where to look for a finished pyramid of a large file that has none (see `build_pyramid`).

    Raises
    ------
    ImageError
        The file is missing, unreadable, damaged or no image. MissingExtraError when its reader is not installed.
    UsageError
        A scene, axes or names that the image does not have.
    """
    if not isinstance(path_or_array, (str, os.PathLike)):
        source: Source = open_array(path_or_array, axes=axes, rgb=rgb, channel_names=channel_names)
    elif axes is not None or rgb is not None:
        raise UsageError("`axes` and `rgb` are for arrays only.", "A file says itself what its axes are.")
    else:
        source = _open_path(os.fspath(path_or_array), scene, channel_names)
    try:
        _check_channel_names(source, channel_names)
        _refuse_all_nan(source)
        cached = _find_cached(source, cache_dir)
    except BaseException:
        source.close()
        raise
    if cached is None:
        return source
    source.close()
    return cached


def _check_channel_names(source: Source, channel_names: Sequence[str] | None) -> None:
    if channel_names is not None and len(channel_names) != source.channels:
        raise UsageError(
            f"{source.where} has {source.channels} channel(s), but {len(channel_names)} names were given.",
            "Give one name for each channel.",
        )


def _refuse_all_nan(source: Source) -> None:
    """Floats without a single number; looked for where the coarsest level is small enough to read."""
    level = source.levels[-1]
    planes = [Plane(t, z) for t in range(source.sizes_t) for z in range(source.sizes_z)]
    values = level.shape[0] * level.shape[1] * source.channels * len(planes)
    if source.dtype.kind != "f" or values > MAX_CHECKED_VALUES:
        return
    whole = Box(0, 0, *level.shape)
    if not any(np.isfinite(source.read(whole, level.index, plane)).any() for plane in planes):
        raise DamagedImageError(f"Every pixel of {source.where} is NaN.", "Write the image again.")


def _find_cached(source: Source, cache_dir: Path | None) -> Source | None:
    """Arrays are not looked up: their fingerprint samples them, and no time of change tells of an edit."""
    if source.path is None or not needs_pyramid(source):
        return None
    from napari_relay.sources.cache import find_cached

    return find_cached(source, cache_dir)


def _open_path(text: str, scene: int | str | None, channel_names: Sequence[str] | None) -> Source:
    """Readers are imported here: zarr alone takes 0.3 s, and an image needs one of them."""
    if _URL.match(text) and url_suffix(text) in (".tif", ".tiff", ".svs"):
        from napari_relay.sources.tiff import open_tiff

        return open_tiff(text, scene, channel_names)
    if _URL.match(text):
        from napari_relay.sources.ome_zarr import open_zarr

        return open_zarr(text, scene, channel_names)
    path = Path(text).expanduser().absolute()
    if path.name in ("zarr.json", ".zgroup", ".zattrs", ".zarray"):  # a file dialog cannot choose a folder
        path = path.parent
    head = read_head(path)
    if path.suffix.lower() in SLIDES and head:  # before the bytes: an MRXS begins like a JPEG, an NDPI like a TIFF
        from napari_relay.sources.slides import open_slide

        return open_slide(path, scene, channel_names)
    if path.is_dir() or head.startswith(ZIP):
        return _open_zarr(path, scene, channel_names)
    if head.startswith(TIFF):
        from napari_relay.sources.tiff import open_tiff

        return open_tiff(path, scene, channel_names)
    kind = bitmap_kind(head)
    if kind is not None:
        from napari_relay.sources.bitmap import open_bitmap

        return open_bitmap(path, kind, channel_names)
    raise _not_an_image(path, head)


def url_suffix(url: str) -> str:
    return Path(urlsplit(url).path).suffix.lower()


def _open_zarr(path: Path, scene: int | str | None, channel_names: Sequence[str] | None) -> Source:
    from napari_relay.sources.ome_zarr import open_zarr
    from napari_relay.sources.zarr_store import is_zarr_folder

    if path.is_dir() and not is_zarr_folder(path):
        raise UnsupportedImageError(
            f"The folder {path} is not an OME-Zarr: it has neither zarr.json nor .zgroup.",
            "Give an image file, or the OME-Zarr folder itself.",
        )
    return open_zarr(path, scene, channel_names)


def bitmap_kind(head: bytes) -> str | None:
    """Name of the bitmap format of a file that begins with `head`, or None."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    return next((kind for signature, kind in BITMAPS if head.startswith(signature)), None)


def _not_an_image(path: Path, head: bytes) -> ImageError:
    if not head:
        return DamagedImageError(f"{path} is empty.", "Copy it again.")
    suffix = path.suffix.lower()
    text = all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head)
    named = f" although it is named {suffix}" if suffix in NAMED_LIKE_IMAGES else ""
    return UnsupportedImageError(
        f"{path} is not an image{named}: {'it holds text' if text else 'its first bytes belong to no known format'}.",
        "Give an OME-Zarr, TIFF, slide, PNG, JPEG or JPEG 2000.",
    )


def read_head(path: Path, length: int = 64) -> bytes:
    """First bytes of a regular file; b"" for a folder. Says what is wrong with anything else."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return b""
        if stat.S_ISREG(mode):  # a pipe or a device might never answer
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
    raise UnsupportedImageError(f"{path} is not a file.", "Give the path of an image file.")

"""Opening the store below a zarr: a folder, a zip file, or a URL through fsspec."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import zarr
from zarr.abc.store import Store
from zarr.storage import FsspecStore, LocalStore, ZipStore

from napari_relay.errors import DamagedImageError, ImageError, UnsupportedImageError
from napari_relay.sources.checks import READ_ERRORS, reason
from napari_relay.sources.remote import missing_remote

MARKERS = ("zarr.json", ".zgroup", ".zarray", ".zattrs")
"""Files that make a folder a zarr node."""
STORE_ERRORS: tuple[type[Exception], ...] = (*READ_ERRORS, zipfile.BadZipFile, AttributeError)


def is_zarr_folder(path: Path) -> bool:
    """Whether a folder is a zarr array or group."""
    return any((path / marker).is_file() for marker in MARKERS)


def open_node(location: Path | str) -> tuple[Any, Store]:
    """Open a folder, zip file or URL for reading: (zarr.Array or zarr.Group, its store).

    Raises
    ------
    ImageError
        There is no zarr, or it cannot be read. MissingExtraError when a URL needs a library that is not there.
    """
    if isinstance(location, Path) and location.is_file():
        return _open_zip(location)
    store: Store = LocalStore(location, read_only=True) if isinstance(location, Path) else _remote_store(location)
    try:
        return zarr.open(store, mode="r"), store
    except FileNotFoundError as error:
        store.close()
        raise ImageError(f"There is no zarr at {location}.", "Check the path.") from error
    except ImportError as error:
        raise missing_remote(str(location), error) from error
    except STORE_ERRORS as error:
        store.close()
        raise DamagedImageError(f"Cannot open the zarr {location}: {reason(error)}.", "Copy it again.") from error


def _open_zip(path: Path) -> tuple[Any, Store]:
    """A zipped zarr; also one whose folder was zipped with it."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except STORE_ERRORS as error:
        raise DamagedImageError(f"{path} is a damaged zip file: {reason(error)}.", "Copy it again.") from error
    roots = sorted((name[: -len(m)] for name in names for m in MARKERS if name.rpartition("/")[2] == m), key=len)
    if not roots:
        raise UnsupportedImageError(f"The zip file {path} holds no zarr.", "Unpack it and open the image in it.")
    store = ZipStore(path, mode="r", read_only=True)
    try:
        return zarr.open(store, mode="r", path=roots[0].rstrip("/")), store
    except STORE_ERRORS as error:
        store.close()
        raise DamagedImageError(f"Cannot open the zarr in {path}: {reason(error)}.", "Copy it again.") from error


def _remote_store(url: str) -> Store:
    try:
        return FsspecStore.from_url(url, read_only=True)
    except ImportError as error:
        raise missing_remote(url, error) from error
    except STORE_ERRORS as error:
        raise ImageError(f"Cannot reach {url}: {reason(error)}.", "Check the address and the network.") from error

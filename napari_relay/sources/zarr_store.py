"""Opening the store below a zarr: a folder, a zip file, or a URL through fsspec."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import zarr
from zarr.abc.store import Store
from zarr.storage import FsspecStore, LocalStore, ZipStore

from napari_relay.errors import DamagedImageError, ImageError, UnsupportedImageError
from napari_relay.sources.checks import READ_ERRORS, reason
from napari_relay.sources.remote import missing_remote, open_remote

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
    if isinstance(location, str) and urlsplit(location).path.endswith(".zip"):
        return _open_remote_zip(location)
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
    root = _root_in(names, path)
    return _open_in_zip(ZipStore(path, mode="r", read_only=True), root, path)


def _open_remote_zip(url: str) -> tuple[Any, Store]:
    """The same at a URL; of the file only the parts that are needed are fetched."""
    stream = open_remote(url)
    from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
    from fsspec.implementations.zip import ZipFileSystem

    try:
        files = ZipFileSystem(fo=stream)
        names = files.zip.namelist()
    except STORE_ERRORS as error:
        stream.close()
        raise DamagedImageError(f"{url} is a damaged zip file: {reason(error)}.", "Upload it again.") from error
    root = _root_in(names, url)
    store = FsspecStore(AsyncFileSystemWrapper(files, asynchronous=True), read_only=True, path=root)
    return _open_in_zip(store, "", url)


def _root_in(names: Sequence[str], location: Path | str) -> str:
    """The folder of the outermost zarr node among the names in a zip file."""
    roots = sorted((name[: -len(m)] for name in names for m in MARKERS if name.rpartition("/")[2] == m), key=len)
    if not roots:
        raise UnsupportedImageError(f"The zip file {location} holds no zarr.", "Unpack it and open the image in it.")
    return roots[0].rstrip("/")


def _open_in_zip(store: Store, root: str, location: Path | str) -> tuple[Any, Store]:
    try:
        return zarr.open(store, mode="r", path=root), store
    except STORE_ERRORS as error:
        store.close()
        raise DamagedImageError(f"Cannot open the zarr in {location}: {reason(error)}.", "Copy it again.") from error


def _remote_store(url: str) -> Store:
    try:
        return FsspecStore.from_url(url, read_only=True)
    except ImportError as error:
        raise missing_remote(url, error) from error
    except STORE_ERRORS as error:
        raise ImageError(f"Cannot reach {url}: {reason(error)}.", "Check the address and the network.") from error

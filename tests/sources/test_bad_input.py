"""Files that cannot be opened are explained in one sentence: what, where, what to do. Nothing else ever comes out."""

from __future__ import annotations

import os
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
import zarr
from made_images import made_up, rgb
from PIL import Image

from napari_relay.errors import DamagedImageError, ImageError, RelayError, UnsupportedImageError, UsageError
from napari_relay.geometry import Box
from napari_relay.sources import open_image


def text_named_png(path: Path) -> Path:
    path = path.with_suffix(".png")
    path.write_text("This is a letter, not a picture.\n" * 10)
    return path


def empty_file(path: Path) -> Path:
    path = path.with_suffix(".tif")
    path.touch()
    return path


def unknown_bytes(path: Path) -> Path:
    path.write_bytes(bytes(range(200, 256)) * 100)
    return path


def folder_of_photos(path: Path) -> Path:
    path.mkdir()
    Image.fromarray(rgb(40, 50)).save(path / "photo.png")
    return path


def zip_of_photos(path: Path) -> Path:
    with zipfile.ZipFile(path.with_suffix(".zip"), "w") as archive:
        archive.writestr("photo.png", b"whatever")
    return path.with_suffix(".zip")


def empty_zarr_group(path: Path) -> Path:
    zarr.open_group(path, mode="w", zarr_format=3)
    return path


def zarr_table(path: Path) -> Path:
    zarr.create_array(path, data=np.arange(10))
    return path


def header_of_a_tiff(path: Path) -> Path:
    path.write_bytes(b"II*\0\x08\0\0\0")
    return path


def stack_of_too_many_axes(path: Path) -> Path:
    path = path.with_suffix(".tif")
    tifffile.imwrite(path, np.zeros((2, 3, 2, 2, 30, 40), np.uint8), metadata={"axes": "TZQCYX"})
    with tifffile.TiffFile(path, mode="r+b") as tif:
        description = tif.pages.first.description.replace('"TZQCYX"', '"TZQPYX"')
        tif.pages.first.tags["ImageDescription"].overwrite(description)
    return path


def named_pipe(path: Path) -> Path:
    if not hasattr(os, "mkfifo"):
        pytest.skip("Windows has no named pipes in folders")
    os.mkfifo(path)
    return path


CASES: list[tuple[Callable[[Path], Path], type[RelayError], str]] = [
    (lambda path: path, ImageError, "There is no file .*x.* Check the path"),
    (lambda path: text_named_png(path) / "page", ImageError, "not a folder"),
    (text_named_png, UnsupportedImageError, "is not an image although it is named .png: it holds text"),
    (empty_file, DamagedImageError, "is empty. Copy it again"),
    (unknown_bytes, UnsupportedImageError, "first bytes belong to no known format"),
    (folder_of_photos, UnsupportedImageError, "is not an OME-Zarr: it has neither zarr.json nor .zgroup"),
    (zip_of_photos, UnsupportedImageError, "holds no zarr"),
    (empty_zarr_group, UnsupportedImageError, "holds no image"),
    (zarr_table, UnsupportedImageError, "1 axes"),
    (header_of_a_tiff, DamagedImageError, "Copy"),
    (stack_of_too_many_axes, UnsupportedImageError, "more axes .* than time, depth and channels"),
    (named_pipe, UnsupportedImageError, "is not a file"),
]


@pytest.mark.parametrize(("make", "error", "words"), CASES)
def test_what_is_no_image_is_explained(
    make: Callable[[Path], Path], error: type[RelayError], words: str, tmp_path: Path
) -> None:
    path = make(tmp_path / "x")

    with pytest.raises(error, match=words) as raised:
        open_image(path)

    assert str(tmp_path) in str(raised.value)
    assert raised.value.what
    assert raised.value.fix
    assert "\n" not in str(raised.value)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="Windows has no file modes that keep a reader out")
def test_a_file_that_may_not_be_read_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    Image.fromarray(rgb(40, 50)).save(path)
    path.chmod(0)
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(ImageError, match=r"may not be read by you. Ask for the right"):
            open_image(path)
    finally:
        os.seteuid(me)


def test_names_are_for_arrays_or_files(tmp_path: Path) -> None:
    Image.fromarray(rgb(40, 50)).save(tmp_path / "photo.png")

    with pytest.raises(UsageError, match="for arrays only"):
        open_image(tmp_path / "photo.png", axes="yxc")
    with pytest.raises(UsageError, match=r"photo\.png has 3 channel\(s\), but 1 names were given"):
        open_image(tmp_path / "photo.png", channel_names=["grey"])


def test_a_path_may_begin_with_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    Image.fromarray(rgb(40, 50)).save(tmp_path / "photo.png")

    with open_image("~/photo.png") as source:
        assert source.path == tmp_path / "photo.png"


def plain(folder: Path, name: str) -> Path:
    """A sound file of each kind."""
    path, image = folder / name, rgb(150, 170)
    if name.endswith(".zarr.zip"):
        zarr.create_array(folder / "in.zarr", data=made_up(150, 170), chunks=(64, 64))
        return Path(shutil.make_archive(str(path.with_suffix("")), "zip", folder / "in.zarr"))
    if name == "stack.ome.tif":
        tifffile.imwrite(path, made_up(2, 3, 60, 70), metadata={"axes": "ZCYX"}, compression="zlib")
    elif name == "run.tif":
        tifffile.imwrite(path, made_up(3, 60, 70, dtype=np.uint16), imagej=True, metadata={"axes": "ZYX"})
    elif name.endswith(".tif"):
        kind = name.removesuffix(".tif")
        tifffile.imwrite(path, image, tile=(64, 64), compression=None if kind == "none" else kind, photometric="rgb")
    elif name.endswith(".jp2"):
        path.write_bytes(imagecodecs.jpeg2k_encode(image, level=0))
    else:
        Image.fromarray(image).save(path)
    return path


NAMES = [
    "zlib.tif", "lzw.tif", "zstd.tif", "jpeg.tif", "none.tif", "run.tif", "stack.ome.tif", "photo.png", "photo.jpg",
    "photo.jp2", "photo.webp", "slide.zarr.zip",
]  # fmt: skip


def read_all(path: Path) -> None:
    with open_image(path) as source:
        source.describe()
        for level in source.levels:
            source.read(Box(0, 0, *level.shape), level.index)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_was_cut_off_is_never_taken_for_whole(name: str, tmp_path: Path) -> None:
    path = plain(tmp_path, name)
    sound = path.read_bytes()
    for share in (0.02, 0.2, 0.5, 0.8, 0.97):
        path.write_bytes(sound[: int(len(sound) * share)])

        with pytest.raises(ImageError) as raised:
            read_all(path)

        assert raised.value.fix
        assert raised.value.__cause__ is not None or "cut off" in str(raised.value)


@pytest.mark.parametrize("name", NAMES)
def test_garbage_in_a_file_gives_pixels_or_an_image_error(name: str, tmp_path: Path) -> None:
    path = plain(tmp_path, name)
    sound = path.read_bytes()
    rng = random.Random(name)
    for _ in range(12):
        broken = bytearray(sound)
        limit = rng.choice([200, len(broken)])
        for _ in range(rng.randrange(1, 12)):
            broken[rng.randrange(min(limit, len(broken)))] = rng.randrange(256)
        path.write_bytes(broken)
        try:
            read_all(path)
        except RelayError as error:
            assert error.fix  # noqa: PT017 - either outcome is right

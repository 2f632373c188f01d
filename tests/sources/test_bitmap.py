"""PNG, JPEG, JPEG 2000 and other files that are decoded whole."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from made_images import Pixels, made_up, planes, rgb
from PIL import Image, ImageOps
from source_contract import SourceContract

from napari_relay.errors import DamagedImageError, UnsupportedImageError
from napari_relay.geometry import Box
from napari_relay.sources import bitmap, open_image


class TestPng16Bit(SourceContract):
    rgb = True

    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        image = rgb(60, 80, 4, np.uint16)
        (folder / "deep.png").write_bytes(imagecodecs.png_encode(image))
        return folder / "deep.png", planes(image, axes="yxc")


class TestJpegOnItsSide(SourceContract):
    rgb, tolerance = True, 12

    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        image = rgb(80, 120)
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(np.rot90(image)).save(folder / "side.jpg", exif=exif, quality=97, subsampling=0)
        return folder / "side.jpg", planes(image, axes="yxc")


class TestJpeg2000(SourceContract):
    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        image = made_up(90, 70, dtype=np.uint16)
        (folder / "photo.jp2").write_bytes(imagecodecs.jpeg2k_encode(image, level=0))
        return folder / "photo.jp2", planes(image, axes="yx")


class TestWebp(SourceContract):
    rgb = True

    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        image = rgb(50, 70)
        Image.fromarray(image).save(folder / "photo.webp", lossless=True)
        return folder / "photo.webp", planes(image, axes="yxc")


def whole(path: Path) -> Pixels:
    with open_image(path) as source:
        return source.read(Box(0, 0, *source.shape))


@pytest.mark.parametrize("kind", ["jpg", "png"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_eight_exif_orientations_stand_upright(orientation: int, kind: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(rgb(40, 64))
    path = tmp_path / f"photo.{kind}"
    stored.save(path, exif=exif)
    with Image.open(path) as image:
        upright = np.asarray(ImageOps.exif_transpose(image))

    with open_image(path) as source:
        assert source.shape == upright.shape[:2]

    np.testing.assert_array_equal(whole(path), upright)


def test_a_nonsense_orientation_is_ignored(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 77
    Image.fromarray(rgb(40, 64)).save(tmp_path / "photo.jpg", exif=exif)

    with open_image(tmp_path / "photo.jpg") as source:
        assert source.shape == (40, 64)


@pytest.mark.parametrize(
    ("mode", "channels", "is_rgb"),
    [("1", 1, False), ("L", 1, False), ("LA", 2, False), ("P", 3, True), ("RGBA", 4, True)],
)
def test_every_kind_of_png(mode: str, channels: int, is_rgb: bool, tmp_path: Path) -> None:
    image = Image.fromarray(rgb(40, 64)).convert(mode)
    image.save(tmp_path / "image.png")
    plain = {"1": "L", "P": "RGB"}.get(mode, mode)
    expected = np.atleast_3d(np.asarray(image.convert(plain)))

    with open_image(tmp_path / "image.png") as source:
        assert (source.channels, source.is_rgb) == (channels, is_rgb)

    np.testing.assert_array_equal(whole(tmp_path / "image.png"), expected)


def test_a_palette_with_transparency_has_alpha(tmp_path: Path) -> None:
    image = Image.fromarray(rgb(40, 64)).convert("P")
    image.save(tmp_path / "image.png", transparency=3)

    assert whole(tmp_path / "image.png").shape == (40, 64, 4)


def test_16_bit_grey_png_keeps_its_values(tmp_path: Path) -> None:
    image = made_up(40, 64, dtype=np.uint16) * 200
    (tmp_path / "deep.png").write_bytes(imagecodecs.png_encode(image))

    np.testing.assert_array_equal(whole(tmp_path / "deep.png")[..., 0], image)


def test_cmyk_jpeg_becomes_rgb(tmp_path: Path) -> None:
    image = Image.fromarray(rgb(40, 64)).convert("CMYK")
    image.save(tmp_path / "print.jpg", quality=98)

    difference = whole(tmp_path / "print.jpg").astype(int) - np.asarray(image.convert("RGB"))

    assert np.abs(difference).max() < 30


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_jpeg_2000_of_many_kinds(dtype: Any, channels: int, tmp_path: Path) -> None:
    image = np.ascontiguousarray(np.squeeze(rgb(40, 64, channels, dtype)))
    for name, container in (("photo.jp2", "jp2"), ("photo.j2k", "j2k")):
        (tmp_path / name).write_bytes(imagecodecs.jpeg2k_encode(image, level=0, codecformat=container))

        np.testing.assert_array_equal(np.squeeze(whole(tmp_path / name)), image)


def test_the_header_alone_is_read_on_opening(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    Image.fromarray(rgb(200, 300)).save(path)
    path.write_bytes(path.read_bytes()[:1000])

    with open_image(path) as source:
        assert source.shape == (200, 300)
        with pytest.raises(DamagedImageError, match="truncated"):
            source.read(Box(0, 0, 1, 1))


def test_more_pixels_than_pillow_allows_are_opened(tmp_path: Path) -> None:
    Image.new("1", (20, 10)).save(tmp_path / "plan.png")
    coded = bytearray((tmp_path / "plan.png").read_bytes())
    coded[16:24] = struct.pack(">II", 20_000, 10_000)
    coded[29:33] = struct.pack(">I", zlib.crc32(coded[12:29]))
    (tmp_path / "plan.png").write_bytes(coded)

    with open_image(tmp_path / "plan.png") as source:
        assert source.shape == (10_000, 20_000)


def test_what_does_not_fit_into_memory_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bitmap, "MAX_DECODED_BYTES", 10_000)
    Image.fromarray(rgb(200, 300)).save(tmp_path / "photo.png")

    with pytest.raises(UnsupportedImageError, match=r"decoded whole.*Convert it to a tiled TIFF"):
        open_image(tmp_path / "photo.png")


def test_the_file_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(rgb(50, 60)).save(tmp_path / "photo.png")
    with open_image(tmp_path / "photo.png") as source:
        source.read(Box(0, 0, 5, 5))
        (tmp_path / "photo.png").unlink()

        assert source.read(Box(0, 0, 50, 60)).shape == (50, 60, 3)

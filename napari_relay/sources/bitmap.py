"""PNG, JPEG (all 8 EXIF orientations), JPEG 2000, and what else Pillow reads (WebP, BMP, ...).

These formats have no tiles that can be read alone: the header is read on opening, the pixels are decoded whole at
the first read and kept. imagecodecs decodes PNG and JPEG 2000 (16 bits, any number of channels); Pillow decodes
JPEG, because it notices a truncated file where libjpeg alone fills up with grey.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import BmpImagePlugin, Image, ImageFile, Jpeg2KImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from napari_relay.errors import DamagedImageError, UnsupportedImageError
from napari_relay.sources.base import Source, Traits
from napari_relay.sources.checks import READ_ERRORS, reason
from napari_relay.sources.fingerprint import file_fingerprint

MAX_DECODED_BYTES = 4 << 30
"""A bitmap is held in memory whole; beyond this the message says how to make it tiled."""
EXIF_ORIENTATION = 0x0112
_PILLOW: dict[str, Callable[[Path], ImageFile.ImageFile]] = {
    "png": PngImagePlugin.PngImageFile,
    "jpeg": JpegImagePlugin.JpegImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
}
"""Pillow's plugins themselves: `Image.open` refuses more than 179 megapixels as an attack."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the first bytes say: height and width as stored, samples a pixel, dtype, EXIF orientation (1..8)."""

    height: int
    width: int
    samples: int
    dtype: np.dtype[Any]
    orientation: int = 1
    mode: str = ""


class DecodedOnce:
    """An array that is decoded at the first access and kept; thread-safe."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], decode: Callable[[], npt.NDArray[Any]]) -> None:
        self.shape, self.dtype = shape, dtype
        self._decode = decode
        self._lock = threading.Lock()
        self._array: npt.NDArray[Any] | None = None

    def __getitem__(self, index: Any) -> npt.NDArray[Any]:
        with self._lock:
            if self._array is None:
                array = self._decode()
                if array.shape != self.shape:
                    raise ValueError(f"decoded to {array.shape} where the header says {self.shape}")
                self._array = array
        part: npt.NDArray[Any] = self._array[index]
        return part

    def forget(self) -> None:
        """Give the memory back."""
        with self._lock:
            self._array = None


class BitmapSource(Source):
    """A file that is decoded whole."""

    def _make_fingerprint(self) -> str:
        assert self.path is not None
        return file_fingerprint(self.path)

    def _close(self) -> None:
        for array in self._arrays:
            if isinstance(array, DecodedOnce):
                array.forget()


def open_bitmap(path: Path, kind: str, channel_names: Sequence[str] | None = None) -> BitmapSource:
    """Open a file of the format `kind`: png, jpeg, jpeg2000, bmp or webp."""
    try:
        header = _read_jpeg2000_header(path) if kind == "jpeg2000" else _read_header(path, kind)
    except READ_ERRORS as error:
        raise DamagedImageError(
            f"{path} begins like a {kind.upper()} file, but its header cannot be read: {reason(error)}.",
            "Copy it again.",
        ) from error
    nbytes = header.height * header.width * header.samples * header.dtype.itemsize
    if nbytes > MAX_DECODED_BYTES:
        raise UnsupportedImageError(
            f"{path} has {header.width} x {header.height} pixels and must be decoded whole, which takes "
            f"{nbytes / 2**30:.0f} GB of memory.",
            "Convert it to a tiled TIFF or OME-Zarr first, for example with `vips tiffsave IN OUT.tif --tile "
            "--pyramid --compression deflate --bigtiff`.",
        )
    stored = (header.height, header.width) + ((header.samples,) if header.samples > 1 else ())
    shape = stored if header.orientation < 5 else (stored[1], stored[0], *stored[2:])
    array = DecodedOnce(shape, header.dtype, lambda: orient(_decode(path, kind, header), header.orientation))
    traits = Traits(
        name=path.name,
        format=kind,
        path=path,
        channel_names=tuple(channel_names or _names(header.samples)),
        is_rgb=header.samples in (3, 4),
        file_bytes=path.stat().st_size,
        details={"orientation": header.orientation} if header.orientation != 1 else {},
    )
    return BitmapSource(traits, [array], "yxc" if header.samples > 1 else "yx")


def orient(array: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Turn stored pixels [y, x(, c)] as EXIF orientation 1..8 says, so that they are upright."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return array


def _read_header(path: Path, kind: str) -> Header:
    with _PILLOW[kind](path) as image:
        width, height = image.size
        header = Header(height, width, 1, np.dtype(np.uint8), _orientation(image), image.mode)
        if kind == "png":
            depth, colour = _png_depth_and_colour(path)
            samples = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}[colour]
            samples += 1 if "transparency" in image.info and colour == 3 else 0
            return replace(header, samples=samples, dtype=np.dtype(np.uint16 if depth == 16 else np.uint8))
        return replace(header, samples=len(_plain_mode(image.mode)))


def _orientation(image: ImageFile.ImageFile) -> int:
    """EXIF orientation 1..8, from what stands before the pixels: `getexif` of a PNG would decode it all."""
    exif = Image.Exif()
    if isinstance(image.info.get("exif"), bytes):
        exif.load(image.info["exif"])
    orientation = exif.get(EXIF_ORIENTATION, 1)
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def _png_depth_and_colour(path: Path) -> tuple[int, int]:
    with path.open("rb") as stream:  # signature, length, "IHDR", width, height, then these two bytes
        head = stream.read(26)
    return head[24], head[25]


def _read_jpeg2000_header(path: Path) -> Header:
    """Size marker of the codestream; Pillow knows neither depths beyond 8 bits nor more than 4 components."""
    with path.open("rb") as stream:
        head = stream.read(1 << 20)
    at = head.find(b"\xff\x4f\xff\x51")
    if at < 0 or len(head) < at + 43:
        raise ValueError("no codestream begins in the first megabyte")
    fields = np.frombuffer(head, ">u4", 4, at + 8)
    width, height = int(fields[0] - fields[2]), int(fields[1] - fields[3])
    samples = int.from_bytes(head[at + 40 : at + 42], "big")
    depth = head[at + 42]
    letter = "i" if depth & 0x80 else "u"
    size = 1 if (depth & 0x7F) < 8 else 2 if (depth & 0x7F) < 16 else 4
    if b"pclr" in head[:at]:  # a palette: the codestream holds indices
        with Jpeg2KImagePlugin.Jpeg2KImageFile(path) as image:
            samples = len(_plain_mode(image.mode))
    return Header(height, width, samples, np.dtype(f"{letter}{size}"))


def _decode(path: Path, kind: str, header: Header) -> npt.NDArray[Any]:
    """Pixels as stored, [y, x] or [y, x, c]."""
    import imagecodecs  # 0.1 s: not on the way to opening

    if kind == "png":
        pixels: npt.NDArray[Any] = imagecodecs.png_decode(path.read_bytes())
    elif kind == "jpeg2000":
        pixels = imagecodecs.jpeg2k_decode(path.read_bytes())
    else:
        with _PILLOW[kind](path) as image:
            mode = _plain_mode(image.mode)
            pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    return pixels[..., 0] if header.samples == 1 and pixels.ndim == 3 and pixels.shape[2] == 1 else pixels


def _plain_mode(mode: str) -> str:
    """Pillow mode that the pixels are handed out in; as many letters as channels."""
    if mode in ("L", "RGB", "RGBA"):
        return mode
    if mode in ("LA", "PA", "La", "RGBa"):
        return "RGBA"
    return "L" if mode == "1" else "RGB"


def _names(samples: int) -> tuple[str, ...]:
    return ("grey", "alpha") if samples == 2 else ()

"""Whole-slide formats that only OpenSlide reads: NDPI, MRXS, SCN, VMS, VMU, SVSLIDE, BIF, DICOM (extra `slides`).

Scanners that cover only parts of the glass (MRXS, SCN) report the scanned rectangle ("bounds") inside a canvas
that is mostly empty. As in QuPath, the image is that rectangle: level-0 pixel (0, 0) is its corner. `describe`
gives the offset for tools that count from the canvas. What was not scanned has the slide's background colour.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_relay.errors import DamagedImageError, ImageError, MissingExtraError, UnsupportedImageError, UsageError
from napari_relay.sources.base import Source, Traits
from napari_relay.sources.checks import READ_ERRORS, reason
from napari_relay.sources.fingerprint import file_fingerprint
from napari_relay.sources.units import as_number, in_micrometres

if TYPE_CHECKING:
    import openslide

WHITE = (255, 255, 255)


class SlideLevel:
    """One level of a slide, cut to its bounds: an array y, x, c of RGB bytes.

    Parameters
    ----------
    origin : (y, x) of the bounds on the slide's canvas, level-0 pixels.
    shape : (height, width) of the level inside the bounds.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, slide: openslide.OpenSlide, level: int, origin: tuple[int, int], shape: tuple[int, int]) -> None:
        self._slide, self._level, self._origin = slide, level, origin
        self._downsample = float(slide.level_downsamples[level])
        self._background = _background(slide.properties)
        self.shape = (*shape, 3)

    def __getitem__(self, index: Any) -> npt.NDArray[Any]:
        ys, xs, cs = index
        # OpenSlide takes the corner in level-0 pixels, whatever the level
        at = (
            self._origin[1] + round(xs.start * self._downsample),
            self._origin[0] + round(ys.start * self._downsample),
        )
        with self._slide.read_region(at, self._level, (xs.stop - xs.start, ys.stop - ys.start)) as region:
            rgba = np.asarray(region)  # [y, x, 4]
        alpha = rgba[..., 3:].astype(np.uint16)
        if alpha.min() == 255:
            return rgba[..., :3][..., cs]
        mixed = (rgba[..., :3] * alpha + self._background * (255 - alpha) + 127) // 255
        return mixed.astype(np.uint8)[..., cs]


class SlideSource(Source):
    """A slide read by OpenSlide."""

    def __init__(self, slide: openslide.OpenSlide, traits: Traits, levels: Sequence[SlideLevel]) -> None:
        import openslide

        self._slide = slide
        self._read_errors = (*READ_ERRORS, openslide.OpenSlideError, ctypes.ArgumentError)  # the latter once closed
        scales = [(float(value), float(value)) for value in slide.level_downsamples]
        super().__init__(traits, levels, "yxc", scales)

    def _make_fingerprint(self) -> str:
        assert self.path is not None
        # quickhash-1 covers the other files of formats that have several
        return file_fingerprint(self.path, str(self._slide.properties.get("openslide.quickhash-1", "")))

    def _close(self) -> None:
        self._slide.close()


def open_slide(path: Path, scene: int | str | None = None, channel_names: Sequence[str] | None = None) -> SlideSource:
    """Open a slide.

    Raises
    ------
    MissingExtraError
        OpenSlide is not installed.
    ImageError
        OpenSlide does not know the file, or it is damaged.
    """
    try:
        import openslide
    except (ImportError, OSError) as error:  # OSError: the Python package without the library
        raise MissingExtraError(
            f"Reading {path} needs OpenSlide, which is not installed.",
            "Install it with `pip install napari-relay[slides]`.",
        ) from error
    if scene not in (None, 0):
        raise UsageError(f"{path} holds one image.", "Leave out the scene.")
    try:
        slide = openslide.OpenSlide(path)
        return _describe_slide(path, slide, channel_names)
    except ImageError:
        raise
    except openslide.OpenSlideUnsupportedFormatError as error:
        raise UnsupportedImageError(
            f"{path} is not a slide that OpenSlide can read.",
            "If it has companion files or a folder of the same name, they must lie beside it.",
        ) from error
    except (openslide.OpenSlideError, *READ_ERRORS) as error:
        raise DamagedImageError(f"Cannot open the slide {path}: {reason(error)}.", "Copy it again.") from error


def _describe_slide(path: Path, slide: openslide.OpenSlide, channel_names: Sequence[str] | None) -> SlideSource:
    properties = slide.properties
    width, height = slide.dimensions
    bounds = [properties.get(f"openslide.bounds-{side}") for side in ("y", "x", "height", "width")]
    y, x, bounded_height, bounded_width = (int(value) for value in bounds) if all(bounds) else (0, 0, height, width)
    levels = []
    for level, downsample in enumerate(slide.level_downsamples):
        if (y, x, bounded_height, bounded_width) == (0, 0, height, width):
            shape = slide.level_dimensions[level][::-1]
        else:
            shape = (max(1, int(bounded_height / downsample)), max(1, int(bounded_width / downsample)))
        levels.append(SlideLevel(slide, level, (y, x), shape))
    mpp = [as_number(properties.get(f"openslide.mpp-{axis}")) for axis in "yx"]
    vendor = properties.get("openslide.vendor", "slide")
    details: dict[str, object] = {"vendor": vendor}
    if (y, x) != (0, 0):
        details["bounds_offset"] = [y, x]
    if (power := as_number(properties.get("openslide.objective-power"))) and not math.isnan(power):
        details["objective_power"] = power
    traits = Traits(
        name=path.name,
        format=f"{path.suffix.lower().lstrip('.') or 'slide'} ({vendor})",
        path=path,
        channel_names=tuple(channel_names or ()),
        is_rgb=True,
        pixel_size_um=in_micrometres(mpp, "um"),
        file_bytes=path.stat().st_size,
        details=details,
    )
    return SlideSource(slide, traits, levels)


def _background(properties: Any) -> npt.NDArray[np.uint16]:
    """Colour of what was not scanned, white if the slide names none."""
    text = str(properties.get("openslide.background-color", ""))
    colour = [int(text[at : at + 2], 16) for at in (0, 2, 4)] if len(text) == 6 else WHITE
    return np.array(colour, np.uint16)

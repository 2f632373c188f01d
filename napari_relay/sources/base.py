"""The one contract of all readers: `Source`.

A reader hands over one array-like per level (anything with shape, dtype and basic slicing), the order of its
axes, and `Traits`; reading, checking, levels and the hand-over to napari are the same for all of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from napari_relay.errors import DamagedImageError, ImageError, UsageError
from napari_relay.geometry import Box, Level, Plane
from napari_relay.sources.checks import READ_ERRORS, channel_names, check_pixels, reason
from napari_relay.sources.layers import LayerArray, layer_kwargs
from napari_relay.sources.levels import make_levels

Affine = tuple[float, float, float, float, float, float]


class PixelArray(Protocol):
    """One level as a reader hands it over: numpy, zarr, dask or one of our own lazy arrays."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> Any: ...

    def __getitem__(self, index: Any, /) -> Any: ...


@dataclass(frozen=True, slots=True)
class Traits:
    """What is known of an image beside its pixels.

    pixel_size_um : (y, x) in micrometres.
    affine : (a, b, c, d, e, f) of a GeoTIFF: world x = a * column + b * row + c, y = d * column + e * row + f,
        with (column, row) = (0, 0) at the outer corner of the first pixel.
    details : further lines for `describe`, JSON values.
    """

    name: str
    format: str
    path: Path | None = None
    channel_names: tuple[str, ...] = ()
    is_rgb: bool = False
    pixel_size_um: tuple[float, float] | None = None
    crs: str | None = None
    affine: Affine | None = None
    file_bytes: int | None = None
    details: Mapping[str, object] = field(default_factory=dict)


class Source(ABC):
    """A lazily read image. Whoever opens it closes it; it is a context manager.

    All methods may be called from any thread.

    Parameters
    ----------
    traits : what is known beside the pixels.
    arrays : one array-like a level, finest first, all with the same axes.
    axes : order of the axes of `arrays`: a string of y, x and any of t, z, c.
    scales : (y, x) scale of each level as the file states it, or None to take it from the shapes.

    Attributes
    ----------
    shape : level-0 (height, width).
    levels : finest first, at least one.
    dtype : the file's own, in native byte order.
    channels : number of channels, at least 1.
    sizes_t, sizes_z : number of time points and of planes, at least 1.
    is_rgb : 3 (or 4) channels that are meant as colour.
    """

    _read_errors: tuple[type[Exception], ...] = READ_ERRORS

    def __init__(
        self,
        traits: Traits,
        arrays: Sequence[PixelArray],
        axes: str,
        scales: Sequence[tuple[float, float] | None] | None = None,
    ) -> None:
        self._closed = False
        self._arrays = tuple(arrays)
        self._axes = axes
        self.traits = traits
        sizes = dict(zip(axes, arrays[0].shape, strict=True))
        where = str(traits.path) if traits.path is not None else traits.name
        check_pixels(where, arrays[0].dtype, axes, sizes)
        self.dtype: np.dtype[Any] = np.dtype(arrays[0].dtype).newbyteorder("=")
        self.sizes_t, self.sizes_z = sizes.get("t", 1), sizes.get("z", 1)
        self.channels = sizes.get("c", 1)
        self.channel_names = channel_names(traits.channel_names, self.channels, is_rgb=traits.is_rgb)
        self.is_rgb = traits.is_rgb and self.channels in (3, 4)
        at = (axes.index("y"), axes.index("x"))
        shapes = [(array.shape[at[0]], array.shape[at[1]]) for array in arrays]
        self.levels: tuple[Level, ...] = make_levels(shapes, scales)

    # What is known beside the pixels -------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.traits.name

    @property
    def path(self) -> Path | None:
        return self.traits.path

    @property
    def format(self) -> str:
        return self.traits.format

    @property
    def pixel_size_um(self) -> tuple[float, float] | None:
        return self.traits.pixel_size_um

    @property
    def crs(self) -> str | None:
        return self.traits.crs

    @property
    def affine(self) -> Affine | None:
        return self.traits.affine

    @property
    def shape(self) -> tuple[int, int]:
        return self.levels[0].shape

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the content (size, metadata and sampled bytes); the same wherever the file lies."""
        self._check_open()
        try:
            return self._make_fingerprint()
        except ImageError:
            raise
        except self._read_errors as error:
            raise DamagedImageError(f"Cannot read {self.where}: {reason(error)}.", "Copy the file again.") from error

    @property
    def where(self) -> str:
        """How messages name the image."""
        return str(self.path if self.path is not None else self.traits.details.get("url", self.name))

    @property
    def stored_rows(self) -> int:
        """Rows that the file stores together: reading fewer at a time decodes some of them more than once."""
        return 1

    # Pixels --------------------------------------------------------------------------------------------------

    def read(self, box: Box, level: int = 0, plane: Plane = Plane()) -> npt.NDArray[Any]:  # noqa: B008
        """Pixels of `box` in pixels of `level`.

        Returns
        -------
        array [y, x, c] in the file's dtype, a copy that the caller may change.

        Raises
        ------
        UsageError
            The box, level or plane lies outside the image.
        ImageError
            The pixels cannot be read, or the source is closed.
        """
        self._check_open()
        self._check_request(box, level, plane)
        if box.empty:
            return np.zeros((*box.shape, self.channels), self.dtype)
        pick: dict[str, int | slice] = {"t": plane.t, "z": plane.z, "c": slice(None)}
        pick["y"], pick["x"] = box.slices
        try:
            block = np.asarray(self._arrays[level][tuple(pick[axis] for axis in self._axes)])
        except ImageError:
            raise
        except self._read_errors as error:
            self._check_open()  # closed while it was read
            raise DamagedImageError(
                f"Cannot read level {level} of {self.where} at y={box.y0}..{box.y1}, x={box.x0}..{box.x1}: "
                f"{reason(error)}.",
                "Copy the file again, or convert it to a tiled TIFF or OME-Zarr.",
            ) from error
        left = [axis for axis in self._axes if axis not in "tz"]
        if "c" not in left:
            left, block = [*left, "c"], block[..., np.newaxis]
        ordered = block.transpose([left.index(axis) for axis in "yxc"])  # [y, x, c]
        return np.array(ordered, dtype=self.dtype, order="C")

    def channel_index(self, channel: int | str) -> int:
        """Index of a channel by its name or number. Raises UsageError when there is no such channel."""
        if isinstance(channel, str) and channel in self.channel_names:
            return self.channel_names.index(channel)
        if isinstance(channel, int) and 0 <= channel < self.channels:
            return channel
        listed = ", ".join(f"{index} ({name})" for index, name in enumerate(self.channel_names))
        raise UsageError(f"{self.where} has no channel {channel!r}.", f"It has: {listed}.")

    def layer_data(self) -> list[LayerArray]:
        """One lazy array a level for napari, finest first.

        Axes: t and z where they have more than one index, y, x, and c where there is more than one channel.
        """
        return [LayerArray(self, level.index) for level in self.levels]

    def layer_kwargs(self) -> dict[str, Any]:
        """Arguments for napari's `add_image` that go with `layer_data`.

        `scale` is in micrometres where the pixel size is known, else in pixels. More than one channel that is
        not colour comes as `channel_axis`, with a list of names.
        """
        return layer_kwargs(self)

    def describe(self) -> dict[str, Any]:
        """All that is known without reading pixels, as JSON values."""
        sizes = {"t": self.sizes_t, "z": self.sizes_z, "c": self.channels, "y": self.shape[0], "x": self.shape[1]}
        return {
            "name": self.name,
            "path": str(self.path) if self.path is not None else None,
            "format": self.format,
            "axes": "".join(axis for axis in "tzyxc" if axis in "yx" or sizes[axis] > 1),
            "sizes": sizes,
            "dtype": str(self.dtype),
            "channels": self.channels,
            "channel_names": list(self.channel_names),
            "colour": "rgba" if self.is_rgb and self.channels == 4 else "rgb" if self.is_rgb else None,
            "levels": [
                {"shape": list(level.shape), "scale": [round(scale, 6) for scale in level.scale]}
                for level in self.levels
            ],
            "pixel_size_um": list(self.pixel_size_um) if self.pixel_size_um is not None else None,
            "crs": self.crs,
            "affine": list(self.affine) if self.affine is not None else None,
            "file_bytes": self.traits.file_bytes,
            **self.traits.details,
        }

    # Life ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of the file; reading afterwards raises ImageError. May be called twice."""
        if not self._closed:
            self._closed = True
            self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        height, width = self.shape
        return (
            f"<{type(self).__name__} {self.name!r}: {self.format}, {width} x {height} px, {self.channels} x "
            f"{self.dtype}, {len(self.levels)} level(s){', closed' if self._closed else ''}>"
        )

    # For readers ---------------------------------------------------------------------------------------------

    @abstractmethod
    def _make_fingerprint(self) -> str:
        """Compute the fingerprint; library errors are translated by the caller."""

    def _close(self) -> None:  # noqa: B027 - most readers hold nothing open
        """Let go of what the reader holds open."""

    # Checks --------------------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closed:
            raise ImageError(f"{self.where} is closed.", "Open it again before reading.")

    def _check_request(self, box: Box, level: int, plane: Plane) -> None:
        if not 0 <= level < len(self.levels):
            raise UsageError(
                f"{self.where} has no level {level}.", f"Take one of 0 to {len(self.levels) - 1} (0 is the finest)."
            )
        height, width = self.levels[level].shape
        if not (0 <= box.y0 <= box.y1 <= height and 0 <= box.x0 <= box.x1 <= width):
            raise UsageError(
                f"{box} is not inside level {level} of {self.where}, which has {height} x {width} pixels.",
                "Clip it with `box.clip(level.shape)`.",
            )
        if not (0 <= plane.t < self.sizes_t and 0 <= plane.z < self.sizes_z):
            raise UsageError(
                f"{self.where} has no plane t={plane.t}, z={plane.z}.",
                f"It has {self.sizes_t} time point(s) and {self.sizes_z} plane(s), counted from 0.",
            )

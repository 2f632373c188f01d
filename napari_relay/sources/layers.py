"""Arrays for napari: lazy like dask, without a graph, reading through `Source.read`.

Indexing never reads: it gives a smaller LayerArray, so that napari can split channels of a huge image without
touching a pixel. `numpy.asarray` reads. Because the pixels come through the same `read` as the model's, window
and model see the same thing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_relay.geometry import Box, Plane

if TYPE_CHECKING:
    from napari_relay.sources.base import Source

Pick = int | range


class LayerArray:
    """One level of a source, or a part of it, with the axes (t, z,) y, x(, c).

    Parameters
    ----------
    source : must stay open as long as the array is used.
    level : index of the level.
    """

    def __init__(self, source: Source, level: int) -> None:
        height, width = source.levels[level].shape
        sizes = {"t": source.sizes_t, "z": source.sizes_z, "y": height, "x": width, "c": source.channels}
        self._source = source
        self._level = level
        self._picks: dict[str, Pick] = {
            axis: range(size) if axis in "yx" or size > 1 else 0 for axis, size in sizes.items()
        }

    @property
    def axes(self) -> str:
        """The axes that are left, in order."""
        return "".join(axis for axis, pick in self._picks.items() if isinstance(pick, range))

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(pick) for pick in self._picks.values() if isinstance(pick, range))

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._source.dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of an array without axes")
        return self.shape[0]

    def __getitem__(self, index: Any) -> LayerArray:
        """Whole numbers, slices and one ellipsis, as in numpy; reads nothing."""
        items = list(index) if isinstance(index, tuple) else [index]
        axes = self.axes
        if Ellipsis in [item for item in items if item is Ellipsis]:
            at = next(i for i, item in enumerate(items) if item is Ellipsis)
            items[at : at + 1] = [slice(None)] * (len(axes) - len(items) + 1)
        if len(items) > len(axes):
            raise IndexError(f"{len(items)} indices for an array with {len(axes)} axes")
        part = object.__new__(LayerArray)
        part._source, part._level, part._picks = self._source, self._level, dict(self._picks)
        for axis, item in zip(axes, items, strict=False):
            pick = self._picks[axis]
            assert isinstance(pick, range)
            part._picks[axis] = pick[item if isinstance(item, slice) else int(item.__index__())]
        return part

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """Read the pixels. `copy=False` cannot be met and raises ValueError."""
        if copy is False:
            raise ValueError("the pixels of a LayerArray must be read")
        out = np.empty([len(pick) if isinstance(pick, range) else 1 for pick in self._picks.values()], self.dtype)
        for i, t in enumerate(_as_range(self._picks["t"])):
            for j, z in enumerate(_as_range(self._picks["z"])):
                out[i, j] = self._read_plane(Plane(t, z))  # [t, z, y, x, c]
        kept = tuple(0 if isinstance(pick, int) else slice(None) for pick in self._picks.values())
        return np.asarray(out[kept], dtype=dtype)

    def _read_plane(self, plane: Plane) -> npt.NDArray[Any]:
        rows, columns, channels = (_as_range(self._picks[axis]) for axis in "yxc")
        (y0, y1, ys), (x0, x1, xs), (_, _, cs) = _span(rows), _span(columns), _span(channels)
        block = self._source.read(Box(y0, x0, y1, x1), self._level, plane)  # [y, x, c]
        c0 = min(channels) if channels else 0
        c1 = max(channels) + 1 if channels else 0
        return block[::ys, ::xs, c0:c1][:, :, ::cs]

    def __repr__(self) -> str:
        return f"<LayerArray {self.axes} {self.shape} {self.dtype}, level {self._level} of {self._source.name!r}>"


def layer_kwargs(source: Source) -> dict[str, Any]:
    """Arguments of `add_image`; see `Source.layer_kwargs`."""
    axes = LayerArray(source, 0).axes
    kwargs: dict[str, Any] = {"name": source.name}
    if len(source.levels) > 1:  # left out for one level: napari then takes the one array out of its list
        kwargs["multiscale"] = True
    if source.pixel_size_um is not None:
        size = {"y": source.pixel_size_um[0], "x": source.pixel_size_um[1]}
        spatial = axes.replace("c", "")
        kwargs["scale"] = [size.get(axis, 1.0) for axis in spatial]
        kwargs["units"] = ["um" if axis in "yx" else "pixel" for axis in spatial]
    if "c" in axes and not source.is_rgb:
        kwargs["channel_axis"] = axes.index("c")
        kwargs["name"] = [f"{source.name} {channel}" for channel in source.channel_names]
    else:
        kwargs["rgb"] = source.is_rgb
    if source.dtype == np.uint8:
        kwargs["contrast_limits"] = [0, 255]
    elif source.dtype == np.bool_:
        kwargs["contrast_limits"] = [0, 1]
    return kwargs


def _as_range(pick: Pick) -> range:
    return pick if isinstance(pick, range) else range(pick, pick + 1)


def _span(picked: range) -> tuple[int, int, int]:
    """Smallest interval that holds the indices, and the step that picks them out of it (negative: backwards)."""
    if not picked:
        return (0, 0, 1)
    return (min(picked), max(picked) + 1, picked.step)

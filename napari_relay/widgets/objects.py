"""The accepted objects: the label pyramid on disk as a read-only multiscale layer in class colours.

The layer reads the pyramid's zarr arrays at each refresh (dask would show old pixels), through a table from object
id to colour value. So a million objects need one small table and a colormap of a few entries, and giving an object
another class is one write into the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap

from napari_relay.widgets.palette import (
    INSTANCES,
    MAX_CLASSES,
    SHADES,
    class_colors,
    instance_colors,
    object_colors,
)
from napari_relay.widgets.reading import KEY

NAME = "Relay objects"
HIDDEN = 255
"""Colour value in the table of an object that is not shown for now."""
Bytes = npt.NDArray[np.uint8]


class ObjectView(StrEnum):
    """What the colours of the objects tell apart."""

    BOTH = "both"
    """The class, and by its shades objects that touch."""
    CLASSES = "classes"
    """The class alone: the semantic view."""
    INSTANCES = "instances"
    """Each object, whatever its class."""


class ColorTable:
    """Object id -> colour value: 1 + class * SHADES + shade. Ids it does not know look like the first class.

    While `instances` is set, every object has a value of its own, up to `INSTANCES` of them.

    Read by napari's slicing threads while the GUI thread writes: a longer table replaces the old one in one step.
    """

    def __init__(self) -> None:
        self.instances = False
        self._values: Bytes = np.zeros(1024, np.uint8)

    def set(self, ids: npt.ArrayLike, class_indices: npt.ArrayLike) -> None:
        """Give these objects the class of that index in the list of classes."""
        wanted = np.asarray(ids, dtype=np.int64)
        if not wanted.size:
            return
        classes = np.minimum(np.asarray(class_indices, dtype=np.int64), MAX_CLASSES - 1)
        values = self._values
        if wanted.max() >= values.size:
            values = np.zeros(max(2 * values.size, int(wanted.max()) + 1), np.uint8)
            values[: self._values.size] = self._values
        values[wanted] = 1 + classes * SHADES + wanted % SHADES
        self._values = values

    def hide(self, ids: Iterable[int]) -> None:
        """Show nothing of these objects until they are `set` again: their pixels are old ones."""
        wanted = [i for i in ids if i < self._values.size]
        self._values[wanted] = HIDDEN

    def of(self, ids: npt.NDArray[Any]) -> Bytes:
        """Colour values of an array of ids, uint8 of its shape; 0 where there is no object."""
        values = self._values
        if not ids.size or not ids.any():
            return np.zeros(ids.shape, np.uint8)
        known = np.minimum(ids, values.size - 1)
        colors: Bytes = np.asarray(values[known])  # an array for a single pixel too
        if self.instances:
            own = np.where(ids != 0, 1 + ids % INSTANCES, 0).astype(np.uint8)
            own[(colors == HIDDEN) & (known == ids)] = 0
            return own
        unknown = (ids != 0) & ((colors == 0) | (known != ids))
        if unknown.any():
            colors = np.where(unknown, 1 + ids % SHADES, colors).astype(np.uint8)
        colors[colors == HIDDEN] = 0
        return colors


class ColoredLevel:
    """One level of the pyramid as colour values, read when napari asks; a copy of it is this one.

    The pyramid has no axes of size 1; those of the image layer are put in, so that both have the same axes.

    Parameters
    ----------
    array : zarr array of ids.
    leading : sizes of the image layer's axes before rows and columns.
    """

    def __init__(self, array: Any, table: ColorTable, leading: Sequence[int] = ()) -> None:
        self.array = array
        self.table = table
        self.shape: tuple[int, ...] = (*leading, *array.shape[-2:])
        self.ndim = len(self.shape)
        self.dtype = np.dtype(np.uint8)
        self._added = tuple(axis for axis, size in enumerate(leading) if size == 1)
        self._asked: tuple[Any, ...] | None = None
        self._ahead: tuple[tuple[Any, ...], Bytes] | None = None

    def read_ahead(self) -> None:
        """Read again what napari asked for last, in the calling thread: the next asking for it need not wait.

        Call it when pixels or colours have changed and before the layer is refreshed.
        """
        asked = self._asked
        if asked is not None:
            self._ahead = (asked, self._read(asked))

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Bytes:
        items = list(key) if isinstance(key, tuple) else [key]
        if any(item is Ellipsis for item in items):
            at = next(index for index, item in enumerate(items) if item is Ellipsis)
            items[at : at + 1] = [slice(None)] * (self.ndim - len(items) + 1)
        items += [slice(None)] * (self.ndim - len(items))
        asked = tuple(items)
        # Once: whoever asks again may want what has been written since.
        ahead, self._ahead, self._asked = self._ahead, None, asked
        return ahead[1] if ahead is not None and ahead[0] == asked else self._read(asked)

    def _read(self, items: tuple[Any, ...]) -> Bytes:
        own = tuple(_plain(item) for axis, item in enumerate(items) if axis not in self._added)
        colors = self.table.of(np.asarray(self.array[own]))
        kept = [axis for axis, item in enumerate(items) if isinstance(item, slice)]
        for place, axis in enumerate(kept):
            if axis in self._added:
                colors = np.expand_dims(colors, place)
        return colors

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.asarray(self[...], dtype=dtype)

    def __deepcopy__(self, memo: dict[int, Any]) -> ColoredLevel:
        # A layer that the user duplicates shows the same pyramid; copying it could mean gigabytes.
        return self


def _plain(item: Any) -> Any:
    """Whole numbers of numpy as Python's, which zarr wants."""
    return item if isinstance(item, slice) else int(item)


class ObjectsLayer:
    """Shows the pyramid in a viewer; made anew when the user deleted the layer and there is something to show.

    Parameters
    ----------
    viewer : napari viewer or its model.
    arrays : the pyramid's zarr arrays, finest first.
    image : the image layer, which it lies on.
    leading : sizes of the image layer's axes before rows and columns.
    project : path of the project file, for those who write the layer.
    """

    def __init__(
        self, viewer: Any, arrays: Sequence[Any], image: Any, leading: Sequence[int], project: str = ""
    ) -> None:
        self.viewer = viewer
        self._project = project
        self.table = ColorTable()
        self._levels = [ColoredLevel(array, self.table, leading) for array in arrays]
        self._image = image
        self._classes: tuple[tuple[str, str], ...] = ()
        self._view = self._view_shown = ObjectView.BOTH
        self._layer: Any = None
        self._placement: dict[str, Any] = {}
        viewer.layers.events.removed.connect(self._removed)

    @property
    def layer(self) -> Any:
        """The napari layer; None before the first `show` and after the user deleted it."""
        return self._layer

    def place(self, affine: npt.NDArray[np.float64], units: tuple[Any, ...] | None) -> None:
        """Lie where the image lies: its whole transform, all axes."""
        self._placement = {"affine": affine, "units": units}
        if self._layer is not None:
            self._layer.affine, self._layer.units = affine, units

    def set_classes(self, classes: Iterable[tuple[str, str]]) -> None:
        """Names and colours of the classes, in the order of their indices."""
        if tuple(classes) != self._classes:
            self._classes = tuple(classes)
            if self._layer is not None:
                self._layer.colormap = self._colormap()
                self._layer.features = self._features()

    def set_view(self, view: ObjectView) -> None:
        """Tell other things apart, from the `show` that follows a `read_ahead` on."""
        self._view = view
        self.table.instances = view is ObjectView.INSTANCES

    def read_ahead(self) -> None:
        """Read what is on screen, for the `show` that follows on the GUI thread; in any other thread."""
        for level in self._levels:
            level.read_ahead()

    def show(self) -> None:
        """Show the present pixels: make the layer if it is missing, else read the tiles on screen again."""
        if self._layer is None:
            selected = set(self.viewer.layers.selection)
            several = len(self._levels) > 1
            self._layer = Labels(
                self._levels if several else self._levels[0], multiscale=several, name=NAME, opacity=1.0,
                colormap=self._colormap(), features=self._features(), metadata={KEY: {"project": self._project}},
                **self._placement,
            )  # fmt: skip
            self._layer.editable = False
            layers = self.viewer.layers
            # Right above the image, below masks and clicks.
            layers.insert(layers.index(self._image) + 1 if self._image in layers else len(layers), self._layer)
            layers.selection = selected
        else:
            if self._view is not self._view_shown:
                self._layer.colormap, self._layer.features = self._colormap(), self._features()
            self._layer.refresh(extent=False, thumbnail=False, highlight=False)
        self._view_shown = self._view

    def release(self) -> list[Any]:
        """Let go of the layer and return it, in a list, if it is still in the viewer."""
        self.viewer.layers.events.removed.disconnect(self._removed)
        layer, self._layer = self._layer, None
        return [layer] if layer is not None and layer in self.viewer.layers else []

    def _colormap(self) -> Any:
        if self._view is ObjectView.INSTANCES:
            return DirectLabelColormap(color_dict=instance_colors())
        colors = [color for _, color in self._classes]
        alike = self._view is ObjectView.CLASSES
        return DirectLabelColormap(color_dict=class_colors(colors) if alike else object_colors(colors))

    def _features(self) -> dict[str, list[Any]]:
        """What napari's status bar says under the mouse: the class of each value, where values tell classes."""
        if self._view is ObjectView.INSTANCES:
            return {"index": []}
        values = range(1 + SHADES * min(len(self._classes), MAX_CLASSES))
        names = ["", *(name for name, _ in self._classes[:MAX_CLASSES] for _ in range(SHADES))]
        return {"index": list(values), "class": names}

    def _removed(self, event: Any) -> None:
        if event.value is self._layer:
            self._layer = None

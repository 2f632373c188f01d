"""From a napari layer to the image behind it: which source to read, where its project lies."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_relay.errors import RelayError
from napari_relay.sources import Source, open_image
from napari_relay.widgets.reading import path_of, with_finished_pyramid


@dataclass(frozen=True, slots=True)
class LayerShape:
    """Sizes of an Image layer's finest level: the axes before rows and columns, then (height, width)."""

    leading: tuple[int, ...]
    plane: tuple[int, int]

    @classmethod
    def of(cls, layer: Any) -> LayerShape:
        shape = tuple(int(size) for size in (layer.data[0] if layer.multiscale else layer.data).shape)
        if layer.rgb:
            shape = shape[:-1]
        return cls(shape[:-2], (shape[-2], shape[-1]))

    def fits(self, source: Source) -> bool:
        """Whether `source` has the same planes, sizes of 1 left aside."""
        mine = [size for size in self.leading if size > 1]
        theirs = [size for size in (source.sizes_t, source.sizes_z) if size > 1]
        return self.plane == source.shape and mine == theirs


def open_source(layer: Any) -> Source:
    """Open the image behind a layer: its file where there is one that shows the same, else its arrays.

    Raises
    ------
    ImageError
        Neither can be annotated.
    """
    shape = LayerShape.of(layer)
    path = path_of(layer)
    if path and ("://" in path or os.path.exists(path)):
        source = _same_image(path, shape)
        if source is not None:
            return source
    arrays = list(layer.data) if layer.multiscale else layer.data
    axes = "tz"[2 - len(shape.leading) :] if len(shape.leading) <= 2 else ""
    return open_image(arrays, axes=f"{axes}yx{'c' if layer.rgb else ''}", rgb=bool(layer.rgb))


def _same_image(path: str, shape: LayerShape) -> Source | None:
    try:
        source = with_finished_pyramid(open_image(path))
    except RelayError:
        # Another plugin reads what we cannot; its arrays will do.
        return None
    if shape.fits(source):
        return source
    source.close()
    return None


def default_project(source: Source) -> Path | None:
    """The project file beside the image; None for an image without a file."""
    return source.path.with_name(source.path.name + ".relay") if source.path is not None else None


def can_keep_beside(source: Source) -> bool:
    """Whether the project beside the image exists or can be made there."""
    project = default_project(source)
    return project is not None and (project.exists() or os.access(project.parent, os.W_OK))

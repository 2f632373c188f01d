"""From an open source to napari layers, and what such a layer remembers of its image."""

from __future__ import annotations

from typing import Any

from napari_relay.sources import Source, needs_pyramid

KEY = "napari_relay"
"""Where a layer's metadata holds the path of its image (napari knows it only for layers that it opened itself)."""

LayerTuple = tuple[Any, dict[str, Any], str]


def layer_tuples(source: Source) -> list[LayerTuple]:
    """What napari makes layers of: lazy levels and their arguments. The source stays open as long as they live."""
    arrays = source.layer_data()
    arguments = dict(source.layer_kwargs())
    if source.path is not None:
        arguments["metadata"] = {KEY: {"path": str(source.path)}}
    return [(arrays if len(arrays) > 1 else arrays[0], arguments, "image")]


def path_of(layer: Any) -> str | None:
    """Path of the image behind a layer; None where there is none or nobody said."""
    noted = layer.metadata.get(KEY, {})
    path = noted.get("path") if isinstance(noted, dict) else None
    return path or (str(layer.source.path) if layer.source.path else None)


def with_finished_pyramid(source: Source) -> Source:
    """The source itself, or one over its pyramid in the cache where it needs one and has it."""
    if not needs_pyramid(source):
        return source
    from napari_relay.sources.cache import Cache  # zarr takes 0.3 s to import

    finished = Cache(source).open()
    if finished is None:
        return source
    source.close()
    return finished

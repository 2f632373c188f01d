"""What napari asks of a plugin, named in napari.yaml: reader, writers, sample data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from napari_relay.errors import ExportError
from napari_relay.samples import sample_path
from napari_relay.sources import open_image
from napari_relay.widgets.reading import KEY, LayerTuple, layer_tuples, with_finished_pyramid


def get_reader(path: str | list[str]) -> Callable[[str], list[LayerTuple]] | None:
    """napari's question whether we read this; a stack of several files is left to others."""
    return _read if isinstance(path, str) else None


def write_ome_zarr(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Export the project behind the objects layer as OME-Zarr labels; returns the paths written."""
    return _export(path, meta, "ome-zarr")


def write_label_tiff(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Export the project behind the objects layer as a label TIFF; returns the paths written."""
    return _export(path, meta, "label-tiff")


def sample_slide() -> list[LayerTuple]:
    return _sample("CMU-1-Small-Region.svs")


def sample_coins() -> list[LayerTuple]:
    return _sample("coins.png")


def sample_nuclei() -> list[LayerTuple]:
    return _sample("nuclei.jpg")


def sample_cat() -> list[LayerTuple]:
    return _sample("cat_turned.jpg")


def _read(path: str) -> list[LayerTuple]:
    return layer_tuples(with_finished_pyramid(open_image(path)))


def _sample(name: str) -> list[LayerTuple]:
    """A sample without its path: its folder is the program's own, so its project must not lie beside it."""
    layers = layer_tuples(open_image(sample_path(name)))
    for _, arguments, _ in layers:
        arguments.pop("metadata", None)
    return layers


def _export(path: str, meta: dict[str, Any], format_name: str) -> list[str]:
    from napari_relay.formats import export
    from napari_relay.store import Project

    project = meta.get("metadata", {}).get(KEY, {}).get("project")
    if not project:
        raise ExportError(
            f"'{meta.get('name', 'This layer')}' is not the objects layer of a Relay project.",
            "Choose napari's own writer for it.",
        )
    with Project.open(Path(project), create=False, read_only=True) as opened:
        for _ in export(opened, path, format=format_name, overwrite=True):
            pass
    return [path]

"""What napari asks of a plugin, named in napari.yaml: reader, writers, sample data."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
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


def write_geojson(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Export a layer as GeoJSON of QuPath: the project behind the objects layer, or what a Labels or Shapes layer
    of the user's holds; returns the paths written."""
    return _export(path, meta, "geojson", data)


def write_coco(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Export a layer as COCO instances, as `write_geojson` does."""
    return _export(path, meta, "coco", data)


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


def _export(path: str, meta: dict[str, Any], format_name: str, data: Any = None) -> list[str]:
    from napari_relay.formats import export
    from napari_relay.store import Project

    project = meta.get("metadata", {}).get(KEY, {}).get("project")
    with ExitStack() as held:
        if project:
            opened = held.enter_context(Project.open(Path(project), create=False, read_only=True))
        elif data is not None:
            opened = _project_of(data, meta, held)
        else:
            raise ExportError(
                f"'{meta.get('name', 'This layer')}' is not the objects layer of a Relay project.",
                "Choose napari's own writer for it.",
            )
        for _ in export(opened, path, format=format_name, overwrite=True):
            pass
    return [path]


def _project_of(data: Any, meta: dict[str, Any], held: ExitStack) -> Any:
    """A project, gone at the end, of what a Labels or Shapes layer holds; in the layer's own pixels."""
    import numpy as np

    from napari_relay.formats import objects_of_labels, objects_of_polygons
    from napari_relay.store import Project
    from napari_relay.widgets.layer_exchange import outlines_of_shapes

    name = str(meta.get("name") or "layer")
    if "shape_type" in meta:
        outlines = outlines_of_shapes(data, [str(kind) for kind in meta["shape_type"]])
        far = max((float(outline.max()) for outline in outlines), default=0.0)
        shape = (max(1, int(far) + 2),) * 2
        new = objects_of_polygons(outlines, shape)
    else:
        array = data[0] if isinstance(data, list | tuple) else data
        array = array if array.ndim == 2 else np.squeeze(array)
        shape = (int(array.shape[-2]), int(array.shape[-1]))
        new = objects_of_labels(array, shape)
    folder = held.enter_context(tempfile.TemporaryDirectory(prefix="napari-relay-", ignore_cleanup_errors=True))
    project = held.enter_context(
        Project.open(Path(folder, "layer.relay"), fingerprint="layer", shape=shape, image_name=name)
    )
    project.import_objects(new, summary=name)
    return project

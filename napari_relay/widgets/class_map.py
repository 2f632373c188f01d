"""The class of every pixel, as a layer: the OME-Zarr of a semantic job over its image, in its classes' colours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap

from napari_relay.widgets.transforms import Frame

OPACITY = 0.5


@dataclass(frozen=True, eq=False, slots=True)
class ClassMapRead:
    """What a result's folder holds: its levels (zarr arrays, finest first), the class of each value, colours as hex by
    value, and level-0 pixels a pixel of the finest level."""

    path: Path
    levels: list[Any]
    names: list[str]
    colors: dict[int, str]
    factor: int


def read_class_map(path: Path) -> ClassMapRead:
    """Open a result; no pixel is read. Not for the GUI thread."""
    import zarr

    group: Any = zarr.open_group(path, mode="r")
    ome, ours = group.attrs["ome"], group.attrs["napari-relay"]
    levels = [group[level["path"]] for level in ome["multiscales"][0]["datasets"]]
    rgba = {entry["label-value"]: entry["rgba"] for entry in ome["image-label"]["colors"]}
    colors = {value: "#{:02x}{:02x}{:02x}".format(*color[:3]) for value, color in rgba.items()}
    return ClassMapRead(path, levels, list(ours["classes"]), colors, int(ours["factor"]))


def show_class_map(viewer: Any, image: Any, read: ClassMapRead) -> Any:
    """Put a result over its image layer, or the new one in place of the one before; returns the layer.

    An ordinary layer from then on: whoever wants it gone deletes it.
    """
    name = read.path.name
    several = len(read.levels) > 1
    data = read.levels if several else read.levels[0]
    color_of: dict[int | None, str] = {None: "transparent", 0: "transparent", **read.colors}
    colormap = DirectLabelColormap(color_dict=color_of)
    frame = Frame.of(image)
    known = [layer for layer in viewer.layers if isinstance(layer, Labels) and layer.metadata.get("class map") == name]
    if known and known[0].multiscale == several:
        (layer,) = known[:1]
        layer.data, layer.colormap = data, colormap
        return layer
    selected = set(viewer.layers.selection)
    layer = Labels(
        data, multiscale=several, name=name, opacity=OPACITY, colormap=colormap, metadata={"class map": name},
        features={"index": list(range(len(read.names))), "class": read.names},
        affine=frame.window((0, 0), read.factor), units=frame.units,
    )  # fmt: skip
    layer.editable = False
    viewer.layers.insert(viewer.layers.index(image) + 1, layer)
    viewer.layers.selection = selected
    return layer

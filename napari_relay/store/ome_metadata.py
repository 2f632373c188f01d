"""OME-Zarr metadata of a label image, as plain dictionaries for zarr attributes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Literal

Shape = tuple[int, int]
Json = dict[str, Any]


class OmeVersion(StrEnum):
    """Version of OME-Zarr: 0.5 is zarr 3, 0.4 is zarr 2."""

    V04 = "0.4"
    V05 = "0.5"

    @property
    def zarr_format(self) -> Literal[2, 3]:
        return 2 if self is OmeVersion.V04 else 3


def to_attributes(entries: Mapping[str, Json | list[Json] | list[str]], version: OmeVersion) -> Json:
    """A group's attributes that hold these entries: under `ome` since 0.5, at the top before."""
    if version is OmeVersion.V05:
        return {"ome": {"version": "0.5", **entries}}
    versioned: Json = {}
    for name, entry in entries.items():
        if name == "multiscales":
            versioned[name] = [{"version": "0.4", **one} for one in entry if isinstance(one, dict)]
        else:
            versioned[name] = {"version": "0.4", **entry} if isinstance(entry, dict) else entry
    return versioned


def from_attributes(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a group's attributes that is OME's."""
    ome = attributes.get("ome")
    return ome if isinstance(ome, Mapping) else attributes


def axis_names(sizes: tuple[int, int]) -> tuple[str, ...]:
    """Names of the axes of an image with that many t and z planes; an axis of one plane is left out."""
    return (*(("t",) if sizes[0] > 1 else ()), *(("z",) if sizes[1] > 1 else ()), "y", "x")


def multiscales(
    name: str,
    shapes: Sequence[Shape],
    sizes: tuple[int, int],
    pixel_size_um: tuple[float, float] | None,
    origin: tuple[int, int] = (0, 0),
) -> Json:
    """One entry of `multiscales`: level i is the array of path `str(i)`.

    A coarse pixel's centre lies in the middle of its block, hence the translations; `origin` is the first level-0
    pixel (y, x) of a part of an image.
    """
    axes = [_axis(axis, pixel_size_um) for axis in axis_names(sizes)]
    pixel = pixel_size_um or (1.0, 1.0)
    other = [1.0] * (len(axes) - 2)
    datasets = []
    for index, shape in enumerate(shapes):
        factors = [full / size for full, size in zip(shapes[0], shape, strict=True)]
        scale = [factor * step for factor, step in zip(factors, pixel, strict=True)]
        shift = [(first + (factor - 1) / 2) * step for first, factor, step in zip(origin, factors, pixel, strict=True)]
        transforms: list[Json] = [{"type": "scale", "scale": [*other, *scale]}]
        if any(shift):
            transforms.append({"type": "translation", "translation": [*(0.0 for _ in other), *shift]})
        datasets.append({"path": str(index), "coordinateTransformations": transforms})
    return {"name": name, "axes": axes, "datasets": datasets, "type": "majority of non-zero labels"}


def image_label(rows: Iterable[tuple[int, str, str]], source: str | None = None) -> Json:
    """The `image-label` entry: colour and class of each id.

    Parameters
    ----------
    rows : iterable of (id, class name, colour as #rrggbb)
    source : str, optional
        Relative path of the image's group, where the labels lie inside one.
    """
    colors, properties = [], []
    for label, class_name, color in rows:
        rgba = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
        colors.append({"label-value": label, "rgba": [*rgba, 255]})
        properties.append({"label-value": label, "class": class_name})
    entry: Json = {}
    if colors:
        entry = {"colors": colors, "properties": properties}
    if source is not None:
        entry["source"] = {"image": source}
    return entry


def _axis(name: str, pixel_size_um: tuple[float, float] | None) -> Json:
    axis = {"name": name, "type": "time" if name == "t" else "space"}
    if name in "yx" and pixel_size_um is not None:
        axis["unit"] = "micrometer"
    return axis

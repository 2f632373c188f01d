"""OME-Zarr metadata, versions 0.1 to 0.5, read with patience.

Writers leave out axes, units and scales, write a scale of 0, or name channels "s"; what makes no sense is not
believed, and what is missing is taken from the shapes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from napari_relay.sources.units import as_number, in_micrometres

Attributes = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Multiscale:
    """One `multiscales` entry: axis letters as tifffile writes them, paths of the levels, (y, x) scales."""

    version: str
    name: str
    axes: str | None
    paths: tuple[str, ...]
    scales: tuple[tuple[float, float] | None, ...]
    pixel_size_um: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Channels:
    """What `omero` says: a label for each channel, and whether their colours are red, green and blue."""

    labels: tuple[str, ...]
    colours: tuple[str, ...]

    @property
    def are_colour(self) -> bool:
        """True without colours too: then the channels' number and type decide."""
        return not self.colours or self.colours[:3] == ("FF0000", "00FF00", "0000FF")


def ome_attributes(attributes: Attributes) -> Attributes:
    """The part of a node's attributes that is OME's: under `ome` since 0.5, at the top before."""
    ome = attributes.get("ome")
    return ome if isinstance(ome, Mapping) else attributes


def read_multiscales(attributes: Attributes) -> list[Multiscale]:
    """All usable entries; [] where there are none."""
    ome = ome_attributes(attributes)
    version = str(ome.get("version", ""))
    entries = [entry for entry in _listed(ome.get("multiscales")) if _paths(entry)]
    return [_read_entry(entry, str(entry.get("version", "")) or version) for entry in entries]


def read_channels(attributes: Attributes) -> Channels:
    """Labels and colours of `omero`; empty where they are missing."""
    omero = ome_attributes(attributes).get("omero")
    channels = _listed(omero.get("channels")) if isinstance(omero, Mapping) else []
    labels = tuple(str(channel.get("label") or "") for channel in channels)
    colours = tuple(str(channel.get("color") or "").lstrip("#").upper() for channel in channels)
    return Channels(labels if all(labels) else (), colours)


def _read_entry(entry: Attributes, version: str) -> Multiscale:
    axes = _axes(entry)
    datasets = _listed(entry.get("datasets"))
    whole = _scale_of(entry, axes) or (1.0, 1.0)
    scales = [_scale_of(dataset, axes) for dataset in datasets]
    first = scales[0]
    relative = [
        None if scale is None or first is None or 0 in first else (scale[0] / first[0], scale[1] / first[1])
        for scale in scales
    ]
    size = None
    units = _units(entry)
    if first is not None and len(units) == 1:
        size = in_micrometres([first[0] * whole[0], first[1] * whole[1]], units.pop())
    return Multiscale(version, str(entry.get("name") or ""), axes, tuple(_paths(entry)), tuple(relative), size)


def _paths(entry: Attributes) -> list[str]:
    return [str(dataset["path"]) for dataset in _listed(entry.get("datasets")) if "path" in dataset]


def _axes(entry: Attributes) -> str | None:
    """Letters T, Z, C, Y, X, S; other letters for axes of another kind; None where the entry has no axes."""
    axes = entry.get("axes")
    if not isinstance(axes, Sequence) or not axes or isinstance(axes, str):
        return None
    letters, spare = "", iter("QIJKLMNOP")
    for axis in axes:
        name = str(axis.get("name", "") if isinstance(axis, Mapping) else axis).upper()
        kind = str(axis.get("type", "")) if isinstance(axis, Mapping) else ""
        letter = name if name in ("T", "Z", "C", "Y", "X", "S") else {"time": "T", "channel": "C"}.get(kind, "")
        letters += letter if letter and letter not in letters else next(spare, "?")
    return letters


def _scale_of(item: Attributes, axes: str | None) -> tuple[float, float] | None:
    """(y, x) of the scale transformation; None where it is missing or no positive number."""
    letters = axes or "TCZYX"
    for step in _listed(item.get("coordinateTransformations")):
        values = step.get("scale")
        if step.get("type") == "scale" and isinstance(values, Sequence) and len(values) == len(letters):
            y, x = (as_number(values[letters.index(letter)]) for letter in "YX" if letter in letters)
            return (y, x) if y > 0 and x > 0 else None
    return None


def _units(entry: Attributes) -> set[str]:
    axes = entry.get("axes")
    if not isinstance(axes, Sequence):
        return set()
    return {
        str(axis.get("unit") or "")
        for axis in axes
        if isinstance(axis, Mapping) and str(axis.get("name", "")).lower() in ("y", "x")
    }


def _listed(value: Any) -> list[Attributes]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, Sequence) else []

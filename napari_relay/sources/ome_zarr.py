"""OME-Zarr (0.1 to 0.5; zarr 2 and 3, sharded, zipped, remote), plain zarr groups and plain zarr arrays.

zarr reads and decodes; a missing chunk is its fill value, as the format says. `scene` picks one of several images:
the series of a bioformats2raw group, a field of a plate, an array of a plain group.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.abc.store import Store

from napari_relay.errors import DamagedImageError, ImageError, UnsupportedImageError, UsageError
from napari_relay.sources.array import guess_axes
from napari_relay.sources.axes import CANONICAL, AxisPlan, PlannedArray, plan_axes
from napari_relay.sources.base import Source, Traits
from napari_relay.sources.checks import reason
from napari_relay.sources.fingerprint import sample_boxes, source_fingerprint
from napari_relay.sources.levels import level_scale
from napari_relay.sources.multiscales import Multiscale, ome_attributes, read_channels, read_multiscales
from napari_relay.sources.remote import url_name
from napari_relay.sources.zarr_store import STORE_ERRORS, open_node

SAMPLED_BYTES = 64 << 20
"""How much of level 0 may be decoded for the fingerprint."""
Found = tuple[str, Any, Multiscale | None]


class ZarrSource(Source):
    """One image of a zarr store.

    Parameters
    ----------
    nodes : the zarr arrays of the levels, for metadata and chunk sizes.
    """

    _read_errors = STORE_ERRORS

    def __init__(
        self,
        traits: Traits,
        nodes: Sequence[Any],
        plan: AxisPlan,
        axes: str,
        scales: Sequence[tuple[float, float] | None],
        store: Store | None,
    ) -> None:
        self._nodes, self._store, self._stored_axes = tuple(nodes), store, axes
        plans = [plan, *(plan_axes(axes, node.shape) for node in nodes[1:])]
        arrays = [PlannedArray(node, axes, own) for node, own in zip(nodes, plans, strict=True)]
        super().__init__(traits, arrays, CANONICAL, scales)

    @property
    def stored_rows(self) -> int:
        return int(self._nodes[0].chunks[self._stored_axes.index("Y")])

    def _make_fingerprint(self) -> str:
        chunk_bytes = math.prod(self._nodes[0].chunks) * self.dtype.itemsize
        per_side = max(1, min(4, math.isqrt(SAMPLED_BYTES // max(1, chunk_bytes))))
        metadata = [json.dumps(node.metadata.to_dict(), sort_keys=True, default=str) for node in self._nodes]
        return source_fingerprint(self, sample_boxes(self.shape, per_side), *metadata)

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()


def open_zarr(
    location: Path | str, scene: int | str | None = None, channel_names: Sequence[str] | None = None
) -> ZarrSource:
    """Open a folder, zip file or URL."""
    node, store = open_node(location)
    try:
        inner, node, multiscale = _pick(node, location, scene)
        return _open_found(location, inner, node, multiscale, store, channel_names)
    except (ImageError, UsageError):
        store.close()
        raise
    except STORE_ERRORS as error:
        store.close()
        raise DamagedImageError(f"Cannot read the zarr {location}: {reason(error)}.", "Copy it again.") from error


def _open_found(
    location: Path | str,
    inner: str,
    node: Any,
    multiscale: Multiscale | None,
    store: Store,
    channel_names: Sequence[str] | None,
) -> ZarrSource:
    nodes = _level_arrays(location, node, multiscale)
    try:
        axes = (multiscale.axes if multiscale else None) or _axes_of(nodes[0], multiscale is not None)
        plan = plan_axes(axes, nodes[0].shape)
        if any(len(other.shape) != len(axes) for other in nodes):
            raise ValueError(f"its levels do not all have the axes {axes}")
    except ValueError as error:
        raise UnsupportedImageError(
            f"{location} cannot be shown as an image: {reason(error)}.", "Its axes must be y, x and any of t, z, c."
        ) from error
    attributes = dict(node.attrs) if isinstance(node, zarr.Group) else {}
    channels = read_channels(attributes)
    dtype = np.dtype(nodes[0].dtype)
    colour = (np.uint8,) if axes.endswith("YX") else (np.uint8, np.uint16)
    traits = Traits(
        name=_name(location) + (f"/{inner}" if inner else ""),
        format=_format(location, nodes[0], multiscale),
        path=location if isinstance(location, Path) else None,
        channel_names=tuple(channel_names or channels.labels),
        is_rgb=plan.channels in (3, 4) and dtype in colour and channels.are_colour,
        pixel_size_um=multiscale.pixel_size_um if multiscale else None,
        file_bytes=location.stat().st_size if isinstance(location, Path) and location.is_file() else None,
        details=_details(location, inner, nodes[0], axes),
    )
    scales = list(multiscale.scales) if multiscale else [None] * len(nodes)
    return ZarrSource(traits, nodes, plan, axes, scales, store)


def _pick(node: Any, location: Path | str, scene: int | str | None) -> Found:
    """(path inside the store, array or group, its multiscale) of the image that is asked for."""
    if not isinstance(node, zarr.Group):
        if scene not in (None, 0):
            raise UsageError(f"{location} is a single array.", "Leave out the scene.")
        return "", node, None
    entries = read_multiscales(dict(node.attrs))
    if entries and (scene is None or isinstance(scene, int)):
        if (scene or 0) >= len(entries):
            raise UsageError(f"{location} has no image {scene}.", f"It has {len(entries)}, counted from 0.")
        return "", node, entries[scene or 0]
    if isinstance(scene, str):
        return _pick_named(node, location, scene)
    paths = _scene_paths(node)
    if paths:
        if not 0 <= (scene or 0) < len(paths):
            raise UsageError(f"{location} has no image {scene}.", f"It has: {', '.join(paths[:20])}.")
        return _pick_named(node, location, paths[scene or 0])
    return _pick_plain(node, location)


def _pick_named(node: Any, location: Path | str, name: str) -> Found:
    found = node.get(name.strip("/"))
    if found is None:
        known = _scene_paths(node) or [key for key, _ in node.members()]
        raise UsageError(f"{location} has no image {name!r}.", f"It has: {', '.join(known[:20])}.")
    inner, child, multiscale = _pick(found, f"{location}/{name}", None)
    return f"{name.strip('/')}/{inner}".rstrip("/"), child, multiscale


def _scene_paths(node: Any) -> list[str]:
    """Paths of the images of a plate, a well, or a bioformats2raw group."""
    ome = ome_attributes(dict(node.attrs))
    for kind, member in (("plate", "wells"), ("well", "images")):
        part = ome.get(kind)
        if isinstance(part, dict) and part.get(member):
            return [str(item["path"]) for item in part[member] if isinstance(item, dict) and "path" in item]
    series = node.get("OME")
    if series is not None:
        listed = ome_attributes(dict(series.attrs)).get("series")
        if isinstance(listed, list) and listed:
            return [str(path) for path in listed]
    if "bioformats2raw.layout" in ome:
        paths: list[str] = []
        while str(len(paths)) in node:
            paths.append(str(len(paths)))
        return paths
    return []


def _pick_plain(node: Any, location: Path | str) -> Found:
    """A group without OME metadata: one image in a sub-group, one array, or arrays that are levels of one image."""
    images = [(key, group) for key, group in node.groups() if read_multiscales(dict(group.attrs))]
    if len(images) == 1:
        return _pick_named(node, location, images[0][0])
    arrays = [(key, a) for key, a in node.arrays() if 2 <= len(a.shape) <= 5 and np.dtype(a.dtype).kind in "buif"]
    if len(images) + len(arrays) == 0:
        raise UnsupportedImageError(f"The zarr group {location} holds no image.", "Open the image in it.")
    arrays.sort(key=lambda item: math.prod(item[1].shape), reverse=True)
    if len(arrays) == 1 and not images:
        return arrays[0][0], arrays[0][1], None
    if not images and _are_levels([array for _, array in arrays]):
        paths = tuple(key for key, _ in arrays)
        return "", node, Multiscale("", "", None, paths, (None,) * len(paths), None)
    listed = ", ".join([key for key, _ in images] + [f"{key} {tuple(a.shape)}" for key, a in arrays][:20])
    raise UsageError(f"{location} holds several images: {listed}.", "Choose one by `scene`.")


def _are_levels(arrays: Sequence[Any]) -> bool:
    """Whether arrays, largest first, look like one image at falling resolution."""
    first = arrays[0]
    axes = guess_axes(first.shape)
    at = (axes.index("y"), axes.index("x"))
    for before, array in itertools.pairwise(arrays):
        if len(array.shape) != len(first.shape) or array.dtype != first.dtype:
            return False
        if any(array.shape[i] != first.shape[i] for i in range(len(axes)) if i not in at):
            return False
        scale = level_scale((before.shape[at[0]], before.shape[at[1]]), (array.shape[at[0]], array.shape[at[1]]))
        if min(scale) < 1.5 or abs(scale[0] / scale[1] - 1) > 0.1:
            return False
    return True


def _level_arrays(location: Path | str, node: Any, multiscale: Multiscale | None) -> list[Any]:
    if multiscale is None:
        return [node]
    arrays = []
    for path in multiscale.paths:
        array = node.get(path)
        if not isinstance(array, zarr.Array):
            raise DamagedImageError(f"{location} names a level {path!r} that is not there.", "Copy it again.")
        arrays.append(array)
    return arrays


def _axes_of(array: Any, of_image: bool) -> str:
    """Axes of an array without OME axes: its own dimension names, OME's old fixed order, or a guess."""
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    if names and len(names) == len(array.shape):
        axes = read_multiscales({"multiscales": [{"axes": list(names), "datasets": [{"path": ""}]}]})[0].axes
        if axes and {"Y", "X"} <= set(axes):
            return axes
    if of_image and len(array.shape) == 5:
        return "TCZYX"
    return guess_axes(array.shape).upper()


def _name(location: Path | str) -> str:
    return location.name if isinstance(location, Path) else url_name(location)


def _format(location: Path | str, array: Any, multiscale: Multiscale | None) -> str:
    if multiscale is not None and (multiscale.version or multiscale.axes):
        name = f"ome-zarr {multiscale.version or '0.4'}"
    else:
        name = f"zarr {array.metadata.zarr_format}"
    if isinstance(location, str):
        return f"{name} (remote)"
    return f"{name} (zip)" if location.is_file() else name


def _details(location: Path | str, inner: str, array: Any, axes: str) -> dict[str, object]:
    details: dict[str, object] = {"stored_axes": axes.lower(), "chunks": list(array.chunks)}
    if getattr(array, "shards", None):
        details["shards"] = list(array.shards)
    if isinstance(location, str):
        details["url"] = location
    if inner:
        details["scene"] = inner
    return details

"""Objects of label arrays and polygons in memory, such as napari's Labels and Shapes layers hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_relay.errors import UsageError
from napari_relay.formats.checking import Place
from napari_relay.formats.facts import Facts
from napari_relay.formats.frames import Frame
from napari_relay.formats.importing import new_object
from napari_relay.formats.label_reading import LabelImage, objects_of
from napari_relay.formats.outlines import Polygon
from napari_relay.formats.records import Found, with_runs
from napari_relay.geometry import Box, Plane
from napari_relay.store import NewObject


def objects_of_labels(
    labels: Any, shape: tuple[int, int], *, origin: tuple[int, int] = (0, 0), plane: Plane | None = None
) -> Iterator[NewObject]:
    """Each number above 0 of a label array as an object, for `Project.import_objects`.

    Parameters
    ----------
    labels : whole numbers [y, x], numpy or anything that is sliced like it; read in tiles.
    shape : (int, int)
        Of the image; what lies outside is cut off.
    origin : (int, int)
        The level-0 pixel (y, x) of the array's first one.

    Raises
    ------
    UsageError
        The array is no label image.
    ImportFileError
        It has numbers below 0.
    """
    dtype = np.dtype(labels.dtype)
    if len(labels.shape) != 2 or dtype.kind not in "uib":
        raise UsageError(
            f"An array of {dtype} {tuple(labels.shape)} is no label image.", "Give one plane of whole numbers."
        )
    y0, x0 = origin
    frame = Frame(Box(y0, x0, y0 + labels.shape[0], x0 + labels.shape[1]), plane or Plane())
    image = LabelImage(Place("the labels"), frame, (Plane(),), lambda _, box: np.asarray(labels[box.slices]))
    return _new(objects_of(nullcontext(image), {}), shape)


def objects_of_polygons(
    polygons: Iterable[Sequence[Sequence[float]] | npt.NDArray[Any]],
    shape: tuple[int, int],
    *,
    plane: Plane | None = None,
) -> Iterator[NewObject]:
    """Each polygon as an object: the pixels whose centre lies in it.

    Parameters
    ----------
    polygons : corners (y, x), pixel centres at whole numbers, as napari draws them.
    shape : (int, int)
        Of the image; what lies outside is cut off.

    Raises
    ------
    UsageError
        A polygon has fewer than three corners, or corners that are not finite.
    """
    frame = Frame(Box(0, 0, *shape), plane or Plane())

    def found() -> Iterator[Found]:
        for index, corners in enumerate(polygons):
            ring = np.asarray(corners, np.float64)
            if ring.ndim != 2 or ring.shape[1] != 2 or len(ring) < 3 or not (np.abs(ring) < 1e9).all():
                raise UsageError(f"Polygon {index} is no outline.", "Give at least three corners (y, x).")
            yield Found(Place("the shapes").item(index), Facts(), frame, (Polygon(ring + 0.5),))

    return _new(found(), shape)


def _new(found: Iterator[Found], shape: tuple[int, int]) -> Iterator[NewObject]:
    return (new_object(item, runs, None) for item, runs in with_runs(found, shape) if len(runs))

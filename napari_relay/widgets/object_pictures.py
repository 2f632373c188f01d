"""Small pictures of objects: the image round each, with its outline."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from napari_relay.geometry import Box
from napari_relay.sources import Source
from napari_relay.store import StoredObject
from napari_relay.views import Stretch, View, default_mix, read_view
from napari_relay.views.crops import DEVIATION, MEAN
from napari_relay.widgets.palette import PROPOSAL
from napari_relay.widgets.pixels import rim_of

SIDE_PX = 112
ROOM = 1.6
"""Side of the picture, in sides of the object's box."""
LEAST = 24
"""Side of the picture in level-0 pixels at least: a tiny object is not blown up until nothing is known in it."""

Picture = npt.NDArray[np.uint8]


def picture_of(source: Source, stretch: Stretch, stored: StoredObject, side: int = SIDE_PX) -> Picture:
    """The image round an object, uint8 [side, side, 3], its outline in the colour of proposals.

    Reads the pyramid level that is needed and no more.

    Raises
    ------
    ImageError, StorageError
    """
    view = view_of(stored.box, side)
    seen = read_view(source, view, stored.plane, default_mix(source), stretch)  # [3, side, side]
    rgb = (seen * DEVIATION[:, None, None] + MEAN[:, None, None]).transpose(1, 2, 0).clip(0, 1)
    rgb[rim_of(_seen_mask(stored, view))] = PROPOSAL[:3]
    picture: Picture = (rgb * 255).round().astype(np.uint8)
    return np.ascontiguousarray(picture)


def view_of(box: Box, side: int) -> View:
    """The square that a picture of an object shows."""
    extent = max(LEAST, round(ROOM * max(box.height, box.width)))
    y, x = (round(centre - extent / 2) for centre in box.centre)
    return View(Box(y, x, y + extent, x + extent), side)


def _seen_mask(stored: StoredObject, view: View) -> npt.NDArray[np.bool_]:
    """The mask in view pixels: the level-0 pixel in the middle of each decides."""
    places = np.floor((np.arange(view.side) + 0.5) * view.scale).astype(int)
    rows, columns = places + view.box.y0 - stored.box.y0, places + view.box.x0 - stored.box.x0
    inside = np.zeros((view.side, view.side), bool)
    y, x = (rows >= 0) & (rows < stored.box.height), (columns >= 0) & (columns < stored.box.width)
    inside[np.ix_(y, x)] = stored.mask[np.ix_(rows[y], columns[x])]
    return inside

"""Small pictures of images, as the model sees their colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_relay.geometry import Box, Plane
from napari_relay.sources import needs_pyramid, open_image
from napari_relay.views import View, default_mix, measure_stretch, read_view
from napari_relay.views.crops import DEVIATION, MEAN

SIDE_PX = 96


def thumbnail(path: Path, side: int = SIDE_PX) -> npt.NDArray[np.uint8] | None:
    """The whole image, first plane, `side` pixels on its longer side; uint8 [y, x, 3].

    None for a large image without smaller levels: it would have to be read whole.

    Raises
    ------
    ImageError
    """
    with open_image(path) as source:
        if needs_pyramid(source):
            return None
        longest = max(source.shape)
        view = View(Box(0, 0, longest, longest), side)
        seen = read_view(source, view, Plane(), default_mix(source), measure_stretch(source))  # [3, side, side]
        rgb = (seen * DEVIATION[:, None, None] + MEAN[:, None, None]).transpose(1, 2, 0)
        height, width = (max(1, round(length / view.scale)) for length in source.shape)
        picture: npt.NDArray[np.uint8] = (rgb[:height, :width].clip(0, 1) * 255).round().astype(np.uint8)
        return np.ascontiguousarray(picture)

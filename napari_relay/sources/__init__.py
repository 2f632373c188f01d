"""Lazily read images of any size: levels, axes, channels, pixel size and CRS; pixels only on request.

This room must not know views, models or windows: it returns what the file has, in the file's own dtype, and is
the one place where levels and axes are turned into level-0 pixels (y, x). Read `base.py` first, then `open.py`.
"""

from napari_relay.sources.base import Source, Traits
from napari_relay.sources.layers import LayerArray
from napari_relay.sources.open import open_image
from napari_relay.sources.pyramid import Progress, build_pyramid, needs_pyramid

__all__ = ["LayerArray", "Progress", "Source", "Traits", "build_pyramid", "needs_pyramid", "open_image"]

"""What a session shows: a box and the mask in it, with probability, not yet accepted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_relay.geometry import Box
from napari_relay.session.fields import Field, Mask
from napari_relay.views.values import Float32, ViewPair


@dataclass(frozen=True, eq=False, slots=True)
class Proposal:
    """A mask for the clicks so far.

    Attributes
    ----------
    box : the mask's own box in level-0 pixels, as small as it can be; without pixels where `empty`.
    mask : bool, the box's shape. Not to be written to.
    score : predicted IoU, 0..1.
    index, count : which of how many alternatives this is (the first click has several, see `next_mask`).
    views : the views it was predicted from.
    field : the logits behind it, of the local view.
    native : whether its border was predicted at native resolution (the view's scale is at most 1, or `refine` ran).
    """

    box: Box
    mask: Mask
    score: float
    index: int
    count: int
    views: ViewPair
    field: Field
    native: bool

    @property
    def empty(self) -> bool:
        """Whether the mask has no pixels; such a proposal cannot be accepted."""
        return self.box.empty

    @property
    def probability(self) -> Float32:
        """float32, the box's shape: how likely each pixel is object; above 0.5 exactly where the mask is.

        Computed at each reading. Outside the local view, where an earlier mask was kept, it is 1 or 0.
        """
        certain = np.where(self.mask, np.float32(1), np.float32(0))
        part = self.box.intersect(self.field.view.box)
        if not part.empty:
            logits = self.field.at(part)
            certain[part.relative_to(self.box).slices] = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
        # Dropped components and finer borders are in the mask only.
        least = np.nextafter(np.float32(0.5), np.float32(1))
        return np.where(self.mask, np.maximum(certain, least), np.minimum(certain, np.float32(0.5)))

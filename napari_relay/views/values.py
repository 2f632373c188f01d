"""Values that travel between the window and the model: views, crops, clicks in a view, predictions.

Nothing here knows torch; arrays are numpy, so that a value can be shipped to the worker process.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from napari_relay.geometry import Box, from_scaled, to_scaled

VIEW_SIDE = 448
"""Side of a view in view pixels; the encoder's input."""
LOGIT_SIDE = 112
"""Side of the decoder's logits (stride 4)."""

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class View:
    """A square window that the model sees.

    `box` is the square in level-0 pixels (it may hang over the image's border); it is shown to the model as
    `side` x `side` view pixels.
    """

    box: Box
    side: int = VIEW_SIDE

    @property
    def scale(self) -> float:
        """Level-0 pixels per view pixel."""
        return self.box.height / self.side

    def to_view(self, y: float, x: float) -> tuple[float, float]:
        """Level-0 point -> view pixels (pixel-centre coordinates)."""
        return to_scaled(y, self.scale, self.box.y0), to_scaled(x, self.scale, self.box.x0)

    def to_image(self, y: float, x: float) -> tuple[float, float]:
        """View pixels -> level-0 point."""
        return from_scaled(y, self.scale, self.box.y0), from_scaled(x, self.scale, self.box.x0)


@dataclass(frozen=True, slots=True)
class ViewPair:
    """The local view and the wider global one around it.

    `global_` is None where the local view already covers the image (k = 0).
    """

    local: View
    global_: View | None = None

    @property
    def geometry(self) -> tuple[float, float, float, float]:
        """(dy, dx, log2 k, log2 local scale): offset of the local centre in units of the global half side,
        ratio of the sides, scale. Zeros for the first three without a global view."""
        scale = float(np.log2(self.local.scale))
        if self.global_ is None:
            return (0.0, 0.0, 0.0, scale)
        half = self.global_.box.height / 2
        (ly, lx), (gy, gx) = self.local.box.centre, self.global_.box.centre
        ratio = self.global_.box.height / self.local.box.height
        return ((ly - gy) / half, (lx - gx) / half, float(np.log2(ratio)), scale)


@dataclass(frozen=True, eq=False, slots=True)
class Crops:
    """Pixels of a view pair, ready for the encoder, and the key of their encoding.

    `local` and `global_` are float32 [3, side, side], ImageNet-normalised, 0 outside the image. `key` names
    source, views, plane, channel mix and stretch; the predictor adds the hashes of its weights. `global_key`
    is the same for the global view alone.
    """

    key: str
    pair: ViewPair
    local: Float32
    global_: Float32 | None = None
    global_key: str | None = None


@dataclass(frozen=True, slots=True)
class ViewClick:
    """A click in pixels of the local view (pixel-centre coordinates, 0 .. side - 1)."""

    y: float
    x: float
    positive: bool = True


@dataclass(frozen=True, eq=False, slots=True)
class Prediction:
    """What the head made of an encoding and clicks.

    logits : float32 [M, LOGIT_SIDE, LOGIT_SIDE]; M = 3 on a first click (best predicted first), else 1. A
        logit above 0 means object.
    scores : predicted IoU of each mask, best first, 0..1.
    encode_ms, predict_ms : time spent; encode_ms is 0 for a cached encoding.
    """

    logits: Float32
    scores: tuple[float, ...]
    encode_ms: float = 0.0
    predict_ms: float = 0.0
    notes: tuple[str, ...] = field(default=())

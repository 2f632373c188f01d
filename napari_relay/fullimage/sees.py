"""What whole-image work asks of a model. A predictor answers, behind an engine or in a worker of a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from napari_relay.views.values import Crops, Float32


@dataclass(frozen=True, eq=False, slots=True)
class Masks:
    """Answers to n sets of clicks in one view: logits float32 [n, M, 112, 112], predicted IoU float32 [n, M]."""

    logits: Float32
    scores: Float32


class Sees(Protocol):
    """A model that encodes a view once and is then asked about it. All methods may be called from several threads."""

    @property
    def checkpoint(self) -> str:
        """Hash that names the weights; empty before the first call."""
        ...

    def look(self, crops: Crops, /) -> Float32:
        """Encode a view pair: its contrast space, unit vectors float32 [28, 28, D]."""
        ...

    def ask(self, crops: Crops, clicks: Float32, /) -> Masks:
        """Masks for n sets of k clicks, float32 [n, k, 3] of (y, x, label) in view pixels; label 1 positive, 0
        negative, -1 none. A single click each gives three masks, more give one."""
        ...

    def kernel(self, crops: Crops, clicks: Float32, /) -> Float32:
        """The click kernel of positive clicks [k, 3] in one view: a unit vector float32 [D]."""
        ...

    def classify(self, crops: Crops, head: str, /) -> Float32:
        """Class logits float32 [K, 112, 112] of a view pair, by the class head in the file `head`."""
        ...


Mask = npt.NDArray[np.bool_]

"""A predictor as whole-image work sees it, in this process: for a worker of a cluster, benchmarks and tests.

The window and the command line ask through the engine instead, where a click comes first.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from napari_relay.errors import MissingEncodingError
from napari_relay.fullimage.sees import Masks
from napari_relay.steps import finish
from napari_relay.views.values import Crops, Float32

if TYPE_CHECKING:
    from napari_relay.predictor import Predictor



class DirectSees:
    """See `Sees`. One thread computes at a time."""

    def __init__(self, predictor: Predictor) -> None:
        from napari_relay.predictor.whole import WholeViews

        self._views = WholeViews(predictor)
        self._lock = threading.Lock()

    @property
    def checkpoint(self) -> str:
        """Hash of encoder and head."""
        return self._views.checkpoint

    def look(self, crops: Crops, /) -> Float32:
        """See `Sees`."""
        with self._lock:
            return finish(self._views.look(crops))

    def ask(self, crops: Crops, clicks: Float32, /) -> Masks:
        """See `Sees`."""
        with self._lock:
            try:
                return Masks(*self._views.ask(crops.key, clicks))
            except MissingEncodingError:
                finish(self._views.look(crops))
                return Masks(*self._views.ask(crops.key, clicks))

    def kernel(self, crops: Crops, clicks: Float32, /) -> Float32:
        """See `Sees`."""
        with self._lock:
            finish(self._views.look(crops))
            return self._views.kernel(crops.key, clicks)

    def classify(self, crops: Crops, head: str, /) -> Float32:
        """See `Sees`."""
        with self._lock:
            return finish(self._views.classify(crops, head))

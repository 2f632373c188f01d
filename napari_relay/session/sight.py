"""What a session's model sees: one plane of one source, with its channel mix and contrast."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

from napari_relay.errors import ClickError
from napari_relay.geometry import Click, Plane
from napari_relay.session.protocols import Predicts
from napari_relay.sources import Source
from napari_relay.views import (
    ChannelMix,
    Crops,
    Prediction,
    Stretch,
    ViewClick,
    ViewPair,
    crop_key,
    default_mix,
    measure_stretch,
    read_crops,
)
from napari_relay.views.values import Float32


class Sight:
    """Shows view pairs to the model. May be used from any thread; the contrast is measured when first needed."""

    def __init__(
        self,
        source: Source,
        plane: Plane,
        predicts: Predicts,
        mix: ChannelMix | None = None,
        stretch: Stretch | Callable[[], Stretch] | None = None,
    ) -> None:
        self.source = source
        self.plane = plane
        self.mix = mix or default_mix(source)
        self._predicts = predicts
        self._stretch = None if callable(stretch) else stretch
        self._measure = stretch if callable(stretch) else lambda: measure_stretch(source)
        self._measuring = threading.Lock()

    @property
    def checkpoint(self) -> str:
        """Hash of the weights in use."""
        return self._predicts.checkpoint

    @property
    def stretch(self) -> Stretch:
        """Contrast ranges; measuring them reads the image."""
        with self._measuring:
            if self._stretch is None:
                self._stretch = self._measure()
            return self._stretch

    def predict(self, pair: ViewPair, clicks: list[ViewClick], previous: Float32 | None) -> Prediction:
        """Predict from a pair; it is read only if its encoding is not cached."""
        return self._predicts.predict(self._reader(pair), self._key(pair), clicks, previous)

    def prefetch(self, pair: ViewPair) -> None:
        """Have a pair encoded on idle time."""
        self._predicts.prefetch(self._reader(pair), self._key(pair))

    def _key(self, pair: ViewPair) -> str:
        return crop_key(self.source, pair, self.plane, self.mix, self.stretch)

    def _reader(self, pair: ViewPair) -> Callable[[], Crops]:
        return lambda: read_crops(self.source, pair, self.plane, self.mix, self.stretch)


def inside(source: Source, click: Click) -> bool:
    """Whether a click lies on a pixel of the image; a place that is not finite does not."""
    height, width = source.shape
    return -0.5 <= click.y < height - 0.5 and -0.5 <= click.x < width - 0.5


def checked_click(source: Source, y: float, x: float, positive: bool) -> Click:
    """A click on the image; ClickError if it is none."""
    click = Click(float(y), float(x), bool(positive))
    if not (math.isfinite(click.y) and math.isfinite(click.x)):
        raise ClickError(f"A click at y={click.y}, x={click.x} is no place.", "Give finite coordinates.")
    if not inside(source, click):
        height, width = source.shape
        raise ClickError(
            f"The click at y={click.y:.1f}, x={click.x:.1f} lies outside {source.name}, which has {height} x "
            f"{width} pixels.",
            "Click inside the image.",
        )
    return click

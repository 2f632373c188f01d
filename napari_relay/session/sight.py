"""The pixels that a session's model sees: one plane of one source, with its channel mix and contrast."""

from __future__ import annotations

import threading
from collections.abc import Callable

from napari_relay.geometry import Plane
from napari_relay.sources import Source
from napari_relay.views import (
    ChannelMix,
    Crops,
    Stretch,
    ViewPair,
    crop_key,
    default_mix,
    measure_stretch,
    read_crops,
)


class Sight:
    """Names and reads view pairs. May be used from any thread; the contrast is measured when first needed."""

    def __init__(
        self, source: Source, plane: Plane, mix: ChannelMix | None = None, stretch: Stretch | None = None
    ) -> None:
        self.source = source
        self.plane = plane
        self.mix = mix or default_mix(source)
        self._stretch = stretch
        self._measuring = threading.Lock()

    @property
    def stretch(self) -> Stretch:
        with self._measuring:
            if self._stretch is None:
                self._stretch = measure_stretch(self.source)
            return self._stretch

    def key(self, pair: ViewPair) -> str:
        """Name of the pair's encoding."""
        return crop_key(self.source, pair, self.plane, self.mix, self.stretch)

    def reader(self, pair: ViewPair) -> Callable[[], Crops]:
        """What reads the pair, should its encoding be needed."""
        return lambda: read_crops(self.source, pair, self.plane, self.mix, self.stretch)

"""Which channels of an image become the three that the model sees."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_relay.errors import UsageError
from napari_relay.views.values import Float32

if TYPE_CHECKING:
    from napari_relay.sources import Source


@dataclass(frozen=True, slots=True)
class ChannelMix:
    """A linear map from the image's channels to three: `weights[i][c]` is the share of channel c in output i.

    Raises
    ------
    UsageError
        There are not three rows of equal length with at least one channel and finite weights.
    """

    weights: tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]

    def __post_init__(self) -> None:
        lengths = {len(row) for row in self.weights}
        if len(self.weights) != 3 or len(lengths) != 1 or 0 in lengths:
            raise UsageError(
                "A channel mix needs three rows with one weight for each channel.",
                "Use channel_mix(source, channels) to make one.",
            )
        if not all(math.isfinite(weight) for row in self.weights for weight in row):
            raise UsageError("A channel mix has a weight that is not finite.", "Give finite weights.")

    @property
    def channels(self) -> int:
        """Number of channels of the image."""
        return len(self.weights[0])

    @property
    def used(self) -> tuple[int, ...]:
        """Channels with a weight other than 0 in any row (channel 0 if there is none)."""
        chosen = tuple(c for c in range(self.channels) if any(row[c] for row in self.weights))
        return chosen or (0,)

    @property
    def picks(self) -> tuple[int, int, int] | None:
        """The three channels that are passed on unchanged, or None where something is weighed or added."""
        found = []
        for row in self.weights:
            chosen = [c for c, weight in enumerate(row) if weight]
            if len(chosen) != 1 or row[chosen[0]] != 1:
                return None
            found.append(chosen[0])
        return found[0], found[1], found[2]

    @property
    def grey(self) -> bool:
        """Whether the three outputs are the same, so that one of them has to be computed only."""
        return self.weights[0] == self.weights[1] == self.weights[2]

    @property
    def hash(self) -> str:
        """Names the mix in cache keys."""
        return hashlib.blake2b(repr(self.weights).encode(), digest_size=8).hexdigest()

    def apply(self, stretched: Float32) -> list[Float32]:
        """Mix channels that were stretched to 0..1.

        Parameters
        ----------
        stretched : float32 [y, x, len(self.used)], the used channels in order.

        Returns
        -------
        Three planes float32 [y, x], or one where all three would be the same.
        """
        rows = self.weights[:1] if self.grey else self.weights
        return [self._plane(stretched, row) for row in rows]

    def _plane(self, stretched: Float32, row: tuple[float, ...]) -> Float32:
        parts = [(place, row[c]) for place, c in enumerate(self.used) if row[c]]
        if len(parts) == 1 and parts[0][1] == 1:
            return np.ascontiguousarray(stretched[..., parts[0][0]])
        plane = np.zeros(stretched.shape[:2], np.float32)
        for place, weight in parts:
            plane += np.float32(weight) * stretched[..., place]
        return np.clip(plane, 0, 1, out=plane)


def default_mix(source: Source) -> ChannelMix:
    """One channel is repeated; two give a, b and their mean; RGBA gives RGB; of more the first three are taken."""
    return _mix_of(source.channels, tuple(range(min(source.channels, 3))), None)


def channel_mix(source: Source, chosen: Sequence[int | str], gains: Sequence[float] | None = None) -> ChannelMix:
    """Mix of one to three chosen channels.

    Parameters
    ----------
    source : the image.
    chosen : indices or names of one to three channels; one is repeated, two give a, b and their mean.
    gains : a brightness factor for each chosen channel, 1 without.

    Raises
    ------
    UsageError
        A channel does not exist, or the number of channels or gains is wrong.
    """
    if not 1 <= len(chosen) <= 3:
        raise UsageError(f"{len(chosen)} channels were chosen for the model.", "Choose one, two or three.")
    if gains is not None and len(gains) != len(chosen):
        raise UsageError(f"{len(gains)} gains were given for {len(chosen)} channels.", "Give one for each channel.")
    return _mix_of(source.channels, tuple(_index(source, channel) for channel in chosen), gains)


def _index(source: Source, channel: int | str) -> int:
    names = source.channel_names
    if isinstance(channel, str):
        if channel in names:
            return names.index(channel)
    elif 0 <= channel < source.channels:
        return int(channel)
    known = ", ".join(names) if names else f"0 to {source.channels - 1}"
    raise UsageError(f"{source.name} has no channel {channel!r}.", f"Its channels are {known}.")


def _mix_of(channels: int, chosen: tuple[int, ...], gains: Sequence[float] | None) -> ChannelMix:
    factors = tuple(gains) if gains is not None else (1.0,) * len(chosen)
    single = [
        tuple(float(factor) if c == index else 0.0 for c in range(channels))
        for index, factor in zip(chosen, factors, strict=True)
    ]
    if len(single) == 1:
        return ChannelMix((single[0], single[0], single[0]))
    if len(single) == 2:
        mean = tuple((a + b) / 2 for a, b in zip(*single, strict=True))
        return ChannelMix((single[0], single[1], mean))
    return ChannelMix((single[0], single[1], single[2]))

"""The recipe of learning: every number of it in one frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from napari_relay.errors import UsageError


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the click head learns. Rates four times as high were no better in the mean of three sets: more on cells in
    phase contrast, nothing or worse on what the start knows.

    views : of each object; fewer where there are many objects (`most_views` in all).
    steps : of the final training; fold_steps : of each fold's short one.
    batch, replay : samples a step, and how many of them are replayed crops.
    lr_new, lr_peer, lr_lora : rates of our own parts, of those from the start weights, of the low-rank additions.
    first_p, recorded_p : share of the steps on a first click; how often clicks are the recorded ones.
    contrast : weight of the loss on likeness.
    """

    views: int = 4
    most_views: int = 800
    steps: int = 80
    fold_steps: int = 30
    batch: int = 8
    replay: int = 2
    lr_new: float = 3e-4
    lr_peer: float = 5e-5
    lr_lora: float = 3e-4
    rank: int = 8
    alpha: float = 16.0
    decay: float = 0.01
    warmup: int = 10
    ema: float = 0.97
    clip: float = 1.0
    rounds: int = 2
    first_p: float = 0.4
    recorded_p: float = 0.3
    contrast: float = 0.1

    @classmethod
    def of(cls, changes: Mapping[str, float | int | str] | None) -> Recipe:
        """The default one with some settings changed.

        Raises
        ------
        UsageError
            There is no such setting.
        """
        known = {field.name: type(getattr(cls(), field.name)) for field in fields(cls)}
        unknown = sorted(set(changes or {}) - set(known))
        if unknown:
            raise UsageError(f"The recipe has no setting {unknown[0]!r}.", f"It has: {', '.join(known)}.")
        return replace(cls(), **{name: known[name](value) for name, value in (changes or {}).items()})  # type: ignore[arg-type]

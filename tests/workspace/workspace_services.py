"""A stand-in for the predictor's service: same methods, no torch. Its mask is a disc round the last positive click.

Its `checkpoint` is a folder through which a test drives it: what it did is in `log`; `die-NAME` kills the process at
the next call of that name, once; while `hold` exists, an encoding takes no further step.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from napari_relay.errors import CheckpointError, MissingEncodingError
from napari_relay.views.values import LOGIT_SIDE, VIEW_SIDE, Crops, Prediction, ViewClick
from napari_relay.workspace.service import Answer

RADIUS = 20.0  # of the disc, in view pixels


class StandIn:
    device = "cpu"
    notes = ("a note",)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cached: set[str] = set()
        self.say("made")

    def say(self, word: str) -> None:
        with (self.folder / "log").open("a") as file:
            file.write(word + "\n")

    def may_die(self, name: str) -> None:
        if (self.folder / f"die-{name}").exists():
            (self.folder / f"die-{name}").unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    def predict(self, key: str, clicks: list[ViewClick], previous: np.ndarray | None) -> Answer:
        self.say("predict")
        self.may_die("predict")
        if key not in self.cached:
            raise MissingEncodingError("Not encoded.")
        return self.answer(clicks, previous)

    def encode_predict(self, crops: Crops, clicks: list[ViewClick], previous: np.ndarray | None) -> Iterator[str]:
        self.say("encode_predict")
        yield from self.encode(crops)
        return self.answer(clicks, previous)

    def prefetch(self, crops: Crops) -> Iterator[str]:
        self.say("prefetch")
        try:
            yield from self.encode(crops)
        except GeneratorExit:
            self.say("stopped")
            raise
        self.say("prefetched")

    def encode(self, crops: Crops) -> Iterator[str]:
        assert crops.local.shape == (3, VIEW_SIDE, VIEW_SIDE)
        while (self.folder / "hold").exists():
            time.sleep(0.002)
            yield "held"
        self.may_die("encode")
        self.cached.add(crops.key)

    def answer(self, clicks: list[ViewClick], previous: np.ndarray | None) -> Answer:
        last = [click for click in clicks if click.positive][-1]
        y, x = np.mgrid[:LOGIT_SIDE, :LOGIT_SIDE] * (VIEW_SIDE / LOGIT_SIDE) + 1.5
        logits = (RADIUS - np.hypot(y - last.y, x - last.x)).astype(np.float32)
        several = previous is None and len(clicks) == 1
        scores = (0.9, 0.8, 0.7) if several else (0.95,)
        return Answer(Prediction(np.stack([logits] * len(scores)), scores), f"weights in {self.folder.name}")

    def info(self) -> dict[str, object]:
        return {"checkpoint": self.folder.name}

    def set_checkpoint(self, checkpoint: str) -> None:
        if not Path(checkpoint).is_dir():
            raise CheckpointError(f"{checkpoint} is no folder.")
        self.folder = Path(checkpoint)
        self.cached.clear()


def make(checkpoint: str, device: str, dtype: str, threads: int | None, cache_bytes: int) -> StandIn:
    return StandIn(Path(checkpoint))

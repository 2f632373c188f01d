"""A model without torch for whole-image work: bright things on a dark ground are objects.

Its masks are the bright components under a click, as fine as the decoder's logits. Runs by itself (`BrightSees`), or as
the engine's service (`make`), in another process too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator

import numpy as np
from scipy import ndimage

from napari_relay.errors import MissingEncodingError
from napari_relay.fullimage.sees import Masks
from napari_relay.views.crops import DEVIATION, MEAN
from napari_relay.views.values import LOGIT_SIDE, Crops, Float32

LEVEL = 0.588
"""Brightness (0..1) above which a pixel is an object's; what lies outside the image looks like 0.485."""


def picture(crops: Crops) -> Float32:
    """RGB in 0..1, [3, 448, 448]."""
    return crops.local * DEVIATION[:, None, None] + MEAN[:, None, None]


def space_of(crops: Crops) -> Float32:
    """How each token's mean colour differs from grey, and a constant, normalised: [28, 28, 4]."""
    colors = picture(crops).reshape(3, 28, 16, 28, 16).mean(axis=(2, 4)).transpose(1, 2, 0)
    vectors = np.concatenate([colors - 0.4, np.full((28, 28, 1), 0.3)], axis=2)
    return (vectors / np.linalg.norm(vectors, axis=2, keepdims=True)).astype(np.float32)


def masks_of(crops: Crops, clicks: Float32) -> tuple[Float32, Float32]:
    """The bright component under each first click; the ground under a click beside them."""
    bright = picture(crops).max(axis=0).reshape(LOGIT_SIDE, 4, LOGIT_SIDE, 4).mean(axis=(1, 3)) - LEVEL
    count = 3 if clicks.shape[1] == 1 else 1
    labels = ndimage.label(bright > 0)[0]
    logits = np.empty((len(clicks), count, LOGIT_SIDE, LOGIT_SIDE), np.float32)
    for number, (y, x, _) in enumerate(clicks[:, 0]):
        own = labels[int((y + 0.5) // 4), int((x + 0.5) // 4)]
        field = bright * 60 if own else -bright * 60
        others = (labels > 0) & (labels != own) if own else np.zeros_like(labels, bool)
        logits[number] = np.where(others, -4, field)
    scores = np.tile(np.array([0.9, 0.6, 0.5], np.float32)[:count], (len(clicks), 1))
    return logits, scores


def classes_of(crops: Crops) -> Float32:
    """Logits of ground and object; each view is a little surer or less sure than the next, as models are."""
    bright = picture(crops).max(axis=0).reshape(LOGIT_SIDE, 4, LOGIT_SIDE, 4).mean(axis=(1, 3)) - LEVEL
    mood = 0.4 * np.sin(crops.pair.local.box.y0 + 2 * crops.pair.local.box.x0)
    return np.stack([np.zeros_like(bright), 30 * bright + mood]).astype(np.float32)


class BrightSees:
    """See `fullimage.Sees`. Counts the views that it looked at; `slow` seconds each."""

    checkpoint = "bright"

    def __init__(self, slow: float = 0.0) -> None:
        self.looked = 0
        self._slow, self._lock = slow, threading.Lock()

    def look(self, crops: Crops, /) -> Float32:
        with self._lock:
            self.looked += 1
        time.sleep(self._slow)
        return space_of(crops)

    def ask(self, crops: Crops, clicks: Float32, /) -> Masks:
        return Masks(*masks_of(crops, clicks))

    def kernel(self, crops: Crops, clicks: Float32, /) -> Float32:
        at = ((clicks[:, :2] + 0.5) // 16).astype(int)
        mean = space_of(crops)[at[:, 0], at[:, 1]].mean(axis=0)
        return (mean / np.linalg.norm(mean)).astype(np.float32)

    def classify(self, crops: Crops, head: str, /) -> Float32:
        with self._lock:
            self.looked += 1
        time.sleep(self._slow)
        return classes_of(crops)


class BrightService:
    """The same as the engine runs it."""

    device, notes = "cpu", ()

    def __init__(self) -> None:
        self._seen: dict[str, Crops] = {}
        self._sees = BrightSees()

    def look(self, crops: Crops) -> Generator[str, None, tuple[Float32, str]]:
        yield "stem"
        self._seen = {crops.key: crops}  # one only, so that views are forgotten
        return space_of(crops), "bright"

    def ask(self, key: str, clicks: Float32) -> tuple[Float32, Float32]:
        return masks_of(self._known(key), clicks)

    def kernel(self, key: str, clicks: Float32) -> Float32:
        return self._sees.kernel(self._known(key), clicks)

    def classify(self, crops: Crops, head: str) -> Generator[str, None, tuple[Float32, str]]:
        yield "stem"
        return classes_of(crops), "bright"

    def info(self) -> dict[str, object]:
        return {"checkpoint": "bright", "notes": []}

    def _known(self, key: str) -> Crops:
        if key not in self._seen:
            raise MissingEncodingError("Forgotten.")
        return self._seen[key]


def make(**options: object) -> BrightService:
    return BrightService()


class PatientService(BrightService):
    """Looks slowly, in many parts; counts how often it began to."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = 0

    def look(self, crops: Crops) -> Generator[str, None, tuple[Float32, str]]:
        self.begun += 1
        for _ in range(60):
            time.sleep(0.005)
            yield "part"
        return (yield from super().look(crops))

    def click(self) -> int:
        """A click; how many looks were begun before it."""
        return self.begun

    def set_checkpoint(self, checkpoint: str | None) -> None:
        self.look = self._other_look  # type: ignore[method-assign]

    def _other_look(self, crops: Crops) -> Generator[str, None, tuple[Float32, str]]:
        yield "stem"
        return space_of(crops), "another"


def make_patient(**options: object) -> PatientService:
    return PatientService()

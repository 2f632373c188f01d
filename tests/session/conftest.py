"""A small real segmenter, a keeper in memory, and synthetic images with known truth."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

from napari_relay.session import ClickSession
from napari_relay.sources import open_image
from napari_relay.views import Prediction, Stretch
from napari_relay.views.crops import DEVIATION, MEAN

UNIT = Stretch((0.0,), (1.0,))


@dataclass
class FloodFill:
    """Segments bright things in the crop it is given: those that were clicked or in the mask before.

    It sees nothing but the crop, so every error of geometry costs IoU. Encodings are the crops, cached by key.
    """

    checkpoint: str = "fake-1"
    cache: dict = field(default_factory=dict)
    encoded: list = field(default_factory=list)
    requests: list = field(default_factory=list)
    ahead: list = field(default_factory=list)

    def predict(self, crops_source, key, clicks, previous):
        if key not in self.cache:
            self.encoded.append(key)
            self.cache[key] = crops_source()
        crops = self.cache[key]
        assert crops.key == key
        self.requests.append(SimpleNamespace(key=key, pair=crops.pair, clicks=clicks, previous=previous))
        first = previous is None and len(clicks) == 1
        bright = crops.local[0] * DEVIATION[0] + MEAN[0]  # [448, 448]
        bright[crops.local[0] == 0] = 0
        labels, _ = ndimage.label(bright > 0.5)
        chosen = {int(labels[round(c.y), round(c.x)]) for c in clicks if c.positive}
        if previous is not None:
            chosen |= set(labels[np.kron(previous > 0, np.ones((4, 4), bool))].tolist())
        chosen -= {0} | {int(labels[round(c.y), round(c.x)]) for c in clicks if not c.positive}
        part = np.isin(labels, list(chosen))
        masks = [logits(bright, part)]
        if first:
            masks += [logits(bright, labels > 0), logits(bright, ndimage.binary_erosion(part, iterations=9))]
        return Prediction(np.stack(masks), (0.9, 0.6, 0.3)[: len(masks)])

    def prefetch(self, crops_source, key):
        self.ahead.append(key)
        self.cache.setdefault(key, crops_source())


def logits(bright, part):
    """Stride-4 logits of a part; its soft border is kept, so the outline is exact to a fraction of a pixel."""
    near = ndimage.binary_dilation(part, iterations=6)
    soft = np.where(near, bright, 0).reshape(112, 4, 112, 4).mean(axis=(1, 3))
    return ((soft - 0.5) * 20).astype(np.float32)


@dataclass
class Shelf:
    """Keeps what is accepted in a list."""

    objects: list = field(default_factory=list)
    walked: list = field(default_factory=list)
    error: Exception | None = None

    def accept(self, box, mask, /, **facts):
        if self.error is not None:
            raise self.error
        self.objects.append(SimpleNamespace(box=box, mask=mask, **facts))
        return self.objects[-1]

    def undo(self):
        self.walked.append("undo")
        return "undone"

    def redo(self):
        self.walked.append("redo")
        return "redone"


@pytest.fixture
def session_on():
    """Makes a session on an image in 0..1; `session.fake` is its segmenter and `session.shelf` its keeper."""

    def make(image, stretch=UNIT, **kwargs):
        fake, shelf = FloodFill(), Shelf()
        session = ClickSession(open_image(image), fake, shelf, stretch=stretch, **kwargs)
        session.fake, session.shelf = fake, shelf
        return session

    return make


@pytest.fixture
def discs():
    """Draws bright discs (y, x, radius) with soft borders on a dark ground."""

    def draw(shape, *places):
        y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
        image = np.zeros(shape, np.float32)
        for cy, cx, radius in places:
            image = np.maximum(image, np.clip(radius - np.hypot(y - cy, x - cx) + 0.5, 0, 1))
        return image

    return draw


@pytest.fixture
def iou():
    """IoU of a proposal and a truth of the image's size."""

    def measure(proposal, truth):
        seen = np.zeros(truth.shape, bool)
        seen[proposal.box.slices] = proposal.mask
        return (seen & truth).sum() / max(1, (seen | truth).sum())

    return measure


@pytest.fixture
def same():
    """Whether two proposals are the same to the last bit."""

    def compare(a, b):
        return (
            a.box == b.box
            and np.array_equal(a.mask, b.mask)
            and np.array_equal(a.field.logits, b.field.logits)
            and (a.score, a.index, a.count, a.views) == (b.score, b.index, b.count, b.views)
        )

    return compare

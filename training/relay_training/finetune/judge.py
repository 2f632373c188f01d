"""Is it better? The robot clicks held-out objects with the weights before and after, through the product's own path.

A paired bootstrap (Efron and Tibshirani, 1993) over the objects says how sure the difference is. The gate lets a
checkpoint through when it surely needs fewer clicks, and neither needs surely more for a finer mask nor surely begins
with a worse one.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_relay.geometry import Box
from napari_relay.session import ClickSession
from napari_relay.views.policy import WHOLE_IMAGE_LIMIT
from napari_relay.views.values import VIEW_SIDE
from relay_training.finetune.material import Example, Mask, OpenMaterial
from relay_training.metrics import clicks_to_reach, iou_after
from relay_training.product import DirectPredicts, KeepsNothing
from relay_training.robot import MAX_CLICKS, Robot

STOP_IOU = 0.9
"""The robot stops here: nothing that is measured lies above."""
MARGIN = 2.0
"""The robot sees so many times the object's extent around it."""
FIRST_SHARE = 0.25
"""In an image that is not seen whole, the user zooms until the object fills so much of the view."""
RESAMPLES = 4000
SURE = 0.05
"""One-sided: of the resamples, so many may say the opposite."""


@dataclass(frozen=True, slots=True)
class Played:
    """One object clicked by the robot.

    ious : IoU after each click. shown, window : the mask after the first click as text, and its level-0 box.
    """

    name: str
    ious: tuple[float, ...]
    shown: str = ""
    window: tuple[int, ...] = ()

    @property
    def noc85(self) -> int:
        return clicks_to_reach(self.ious, 0.85)

    @property
    def noc90(self) -> int:
        return clicks_to_reach(self.ious, 0.9)

    @property
    def first(self) -> float:
        return iou_after(self.ious, 1)


def play(
    material: OpenMaterial, example: Example, predicts: DirectPredicts, object_px: float | None = None
) -> Played:
    """Let the robot click one object of a project until it is content; `object_px` as in `views.first_view`."""
    box, mask = material.truth(example.id)
    window = box.grow(max(64, round(MARGIN * max(box.shape)))).clip(material.source.shape)
    truth = np.zeros(window.shape, bool)
    truth[box.relative_to(window).slices] = mask
    session = ClickSession(
        material.source, predicts, KeepsNothing(), plane=example.plane, mix=material.mix, stretch=material.stretch,
        object_px=lambda: object_px,
    )  # fmt: skip
    zoom = None
    if max(material.source.shape) > WHOLE_IMAGE_LIMIT:
        zoom = max(1 / 8, max(box.shape) / (FIRST_SHARE * VIEW_SIDE))
    robot, shown, ious, area, first = Robot(truth), np.zeros_like(truth), [], int(truth.sum()), ""
    while len(ious) < MAX_CLICKS and (click := robot.next_click(shown)) is not None:
        y, x = click.y + window.y0, click.x + window.x0
        proposal = session.click(y, x, click.positive, None if ious else zoom)
        shown = _within(proposal.box, proposal.mask, window)
        first = first or pack(shown)
        both = int((shown & truth).sum())
        ious.append(both / max(1, area + int(proposal.mask.sum()) - both))
        if ious[-1] >= STOP_IOU:
            break
    return Played(example.name, tuple(ious), first, (window.y0, window.x0, window.y1, window.x1))


def _within(box: Box, mask: Mask, window: Box) -> Mask:
    out = np.zeros(window.shape, bool)
    common = box.intersect(window)
    if not common.empty:
        out[common.relative_to(window).slices] = mask[common.relative_to(box).slices]
    return out


def pack(mask: Mask) -> str:
    """A mask as text, for a JSON file."""
    return base64.b64encode(zlib.compress(np.packbits(mask).tobytes(), 6)).decode()


def unpack(text: str, window: Sequence[int]) -> tuple[Box, Mask]:
    """Inverse of `pack` over the level-0 box (y0, x0, y1, x1)."""
    box = Box(*window)
    bits = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    return box, np.unpackbits(bits, count=box.area).reshape(box.shape).astype(bool)


@dataclass(frozen=True, slots=True)
class Difference:
    """A number before and after, and what the bootstrap says of the change.

    low, high : the middle 90 % of after - before over the resamples.
    """

    before: float
    after: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a head passes its gate, why, and the numbers."""

    better: bool
    reason: str
    objects: int
    noc85: Difference
    noc90: Difference
    miou1: Difference

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def difference(before: Sequence[float], after: Sequence[float], seed: int = 0) -> Difference:
    """Means of paired numbers and the interval of the difference of the means."""
    a, b = np.asarray(before, float), np.asarray(after, float)
    rng = np.random.default_rng(seed)
    draws: npt.NDArray[np.intp] = rng.integers(0, len(a), (RESAMPLES, len(a)))
    low, high = np.quantile((b - a)[draws].mean(1), (SURE, 1 - SURE))
    return Difference(float(a.mean()), float(b.mean()), float(low), float(high))


def verdict(before: Sequence[Played], after: Sequence[Played]) -> Verdict:
    """Judge the same objects played before and after."""
    assert [p.name for p in before] == [p.name for p in after]
    noc85 = difference([p.noc85 for p in before], [p.noc85 for p in after])
    noc90 = difference([p.noc90 for p in before], [p.noc90 for p in after])
    miou1 = difference([p.first for p in before], [p.first for p in after])
    words = f"{noc85.before:.2f} -> {noc85.after:.2f} clicks to 85 % on {len(before)} objects"
    if noc85.high >= 0:
        better, why = False, "that may be chance" if noc85.after < noc85.before else "that is not fewer"
    elif noc90.low > 0:
        better, why = False, f"but more to 90 % ({noc90.before:.2f} -> {noc90.after:.2f})"
    elif miou1.high < 0:
        better, why = False, f"but the first mask is worse ({miou1.before:.3f} -> {miou1.after:.3f})"
    else:
        better, why = True, "surely fewer"
    return Verdict(better, f"{words}: {why}.", len(before), noc85, noc90, miou1)

"""Whether a class head is better than the one before it, on objects that did not teach it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_relay.model.class_head import ClassHead
from napari_relay.model.encoder import Encoding
from napari_relay.predictor import Predictor
from relay_training.class_head_material import Labels, Material
from relay_training.losses import IGNORE

BOOTSTRAP = 2000
SURE = 0.05
"""One-sided: of the resamples, so many may say the opposite."""
HALVED = 4
"""Objects of a class below which it cannot be dealt out to two halves."""


@dataclass(frozen=True, eq=False, slots=True)
class Seen:
    """A view's encoding (float16), its targets [112, 112] (-1 says nothing), and the ids there of the objects that
    measure, and of those that teach."""

    encoding: Encoding
    target: Labels
    measured: Labels
    taught: Labels


@dataclass(frozen=True, slots=True)
class ClassVerdict:
    """Whether a head passes its gate, why, and the middle 90 % of its gain over the resamples (None unmeasured)."""

    better: bool
    reason: str
    low: float | None = None
    high: float | None = None


@torch.inference_mode()
def right_calls(head: ClassHead, seen: Sequence[Seen], material: Material, predictor: Predictor) -> dict[int, bool]:
    """For each held-out object that was seen, whether most of its pixels are called by its class."""
    head.eval()
    votes: dict[int, npt.NDArray[np.int64]] = {}
    for one in seen:
        ids = np.unique(one.measured[one.measured > 0])
        if not len(ids):
            continue
        logits: Tensor = head(one.encoding.map(lambda x: x.to(predictor.device).float()))
        called = logits[0].argmax(dim=0).cpu().numpy()
        for i in ids:
            counts = np.bincount(called[one.measured == i], minlength=len(material.names))
            votes[int(i)] = votes.get(int(i), np.zeros(len(material.names), np.int64)) + counts
    return {i: int(counts.argmax()) == material.numbers[i] for i, counts in votes.items()}


def accuracy_of(right: dict[int, bool], numbers: dict[int, int]) -> tuple[float | None, float | None]:
    """Accuracy, classes counting the same, and that of chance; None with fewer than two classes."""
    by_class: dict[int, list[bool]] = {}
    for i, value in right.items():
        by_class.setdefault(numbers[i], []).append(value)
    if len(by_class) < 2:
        return None, None
    return float(np.mean([np.mean(values) for values in by_class.values()])), 1 / len(by_class)


def halves_of(seen: Sequence[Seen], numbers: dict[int, int]) -> tuple[list[int], list[int]]:
    """The objects that taught, dealt out to two halves, class by class; classes of few objects left out."""
    ids = {int(i) for one in seen for i in np.unique(one.taught) if i > 0}
    halves: tuple[list[int], list[int]] = [], []
    for number in sorted(set(numbers.values())):
        members = [i for i in sorted(ids) if numbers[i] == number]
        if len(members) >= HALVED:
            halves[0].extend(members[::2])
            halves[1].extend(members[1::2])
    return halves


def without(seen: Sequence[Seen], away: Sequence[int]) -> list[Seen]:
    """The views with some of the objects that taught measuring instead."""
    changed = []
    for one in seen:
        gone = np.isin(one.taught, away)
        target = np.where(gone, int(IGNORE), one.target)
        changed.append(Seen(one.encoding, target, np.where(gone, one.taught, 0), np.where(gone, 0, one.taught)))
    return changed


def contradiction(agreed: dict[int, bool], numbers: dict[int, int], accuracy: float | None) -> str:
    """What speaks against a head that passed: the objects that taught it contradict each other; "" where they do not.

    Each half of them was called by a head that the other half taught. Where the classes are given at random such calls
    are right as often as by chance, while the calls for held-out objects, which are alike, may by luck all be right.

    Parameters
    ----------
    agreed : for each of those objects whether it was called as it was given. accuracy : on the held-out ones.
    """
    share, chance = accuracy_of(agreed, numbers)
    if share is None or chance is None or accuracy is None or share > (chance + accuracy) / 2:
        return ""
    return f"but of the objects that taught it only {share:.0%} fit the others: their classes contradict each other."


def verdict_of(right: dict[int, bool], before: dict[int, bool], numbers: dict[int, int], seed: int) -> ClassVerdict:
    """Whether a head is surely better than the one before (or than chance), and why."""
    accuracy, chance = accuracy_of(right, numbers)
    if accuracy is None or chance is None:
        return ClassVerdict(not before, "Nothing could be measured: too few objects of two classes are held out.")
    ids = sorted(right)
    gains = np.array([float(right[i]) - (float(before[i]) if before else chance) for i in ids])
    weights = np.array([1 / sum(numbers[j] == numbers[i] for j in ids) for i in ids])
    drawn = np.random.default_rng(seed).integers(len(ids), size=(BOOTSTRAP, len(ids)))
    means = (gains * weights)[drawn].sum(axis=1) / weights[drawn].sum(axis=1)
    low, high = (float(value) for value in np.quantile(means, (SURE, 1 - SURE)))
    than = f"{accuracy_of(before, numbers)[0]:.0%} before" if before else f"{chance:.0%} by chance"
    words = f"{accuracy:.0%} of {len(ids)} held-out objects right, {than}"
    sure = "surely better" if low > 0 else "not surely better"
    return ClassVerdict(low > 0, f"{words}: {sure}.", low, high)

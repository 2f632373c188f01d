"""The losses of learning: those of training, with recorded clicks, unknown area and rejected proposals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from napari_relay.model.network import Output
from relay_training.clicks import ABSENT, NEGATIVE, POSITIVE, ClickBatch, jitter
from relay_training.finetune.cache import Row
from relay_training.losses import mask_iou
from relay_training.objective import Objective, StepLosses, Weights
from relay_training.regions import Generators, deepest_pixel
from relay_training.tasks import Tasks

SIDE = 112
JITTER = 0.5
"""Recorded clicks move by up to so many pixels of 112: two of a view."""


@dataclass(frozen=True, slots=True, eq=False)
class LearnTasks(Tasks):
    """Tasks of a batch, of the project's objects and of replayed crops.

    known : bool [B, S, S], False where nobody knows what there is; the losses on likeness leave it out.
    refused : bool [B, S, S], a rejected proposal: its target ignores all, it only says what was not wanted.
    recorded : clicks of the annotator; absent ones are padding.
    use : bool [B], where the recorded first click takes the place of a drawn one.
    """

    known: Tensor
    refused: Tensor
    recorded: ClickBatch
    use: Tensor

    @property
    def likeness(self) -> Tensor:
        return torch.where(self.known, self.target, -1)

    @property
    def rejected(self) -> Tensor:
        """Which samples are rejected proposals, bool [B]."""
        return self.refused.flatten(1).any(1)

    def clicked(self, clicks: ClickBatch) -> ClickBatch:
        # Not super(): a dataclass with slots is made anew, and the bare call would look in the old one.
        clicks = Tasks.clicked(self, clicks)
        points, labels = clicks.points.clone(), clicks.labels.clone()
        points[self.use, 0] = self.recorded.points[self.use, 0]
        labels[self.use] = ABSENT
        labels[self.use, 0] = POSITIVE
        return ClickBatch(points, labels).packed()


def tasks_of(rows: Sequence[Row], rngs: Generators, recorded_p: float) -> LearnTasks:
    """Tasks of the project's objects; each recorded first click is used with `recorded_p`."""
    b, most = len(rows), max(1, *(len(row.clicks) for row in rows)) if rows else 1
    points, labels = torch.zeros(b, most, 2), torch.full((b, most), ABSENT)
    use = torch.zeros(b, dtype=torch.bool)
    for i, (row, rng) in enumerate(zip(rows, rngs, strict=True)):
        clicks = row.clicks
        if row.rejected and not len(clicks):
            clicks = np.array([[*deepest_pixel(row.refused), 1.0]], np.float32)
        u = rng.random()
        if len(clicks) and clicks[0, 2] == 1:
            points[i, : len(clicks)] = torch.from_numpy(clicks[:, :2])
            labels[i, : len(clicks)] = torch.from_numpy(np.where(clicks[:, 2] > 0, POSITIVE, NEGATIVE))
            use[i] = row.rejected or u < recorded_p
    target = torch.from_numpy(np.stack([row.target for row in rows])).long()
    recorded = jitter(ClickBatch(points, labels), target, rngs, JITTER)
    return LearnTasks(
        target,
        torch.from_numpy(np.stack([row.others for row in rows])),
        torch.zeros(b, 2, SIDE, SIDE, dtype=torch.bool),
        torch.zeros(b, dtype=torch.bool),
        torch.zeros(b, 3, SIDE, SIDE, dtype=torch.bool),
        torch.zeros(b, 3, dtype=torch.bool),
        torch.zeros(b, 2),
        torch.from_numpy(np.stack([row.known for row in rows])),
        torch.from_numpy(np.stack([row.refused for row in rows])),
        recorded,
        use,
    )


def replayed(tasks: Tasks) -> LearnTasks:
    """Tasks of base crops: all of them is known, nobody clicked them."""
    b = len(tasks.target)
    values = [getattr(tasks, field.name) for field in fields(Tasks)]
    nothing = torch.zeros(b, dtype=torch.bool)
    recorded = ClickBatch(torch.zeros(b, 1, 2), torch.full((b, 1), ABSENT))
    return LearnTasks(
        *values, torch.ones_like(tasks.target, dtype=torch.bool), torch.zeros_like(tasks.target, dtype=torch.bool),
        recorded, nothing,
    )  # fmt: skip


def joined(first: LearnTasks, second: LearnTasks) -> LearnTasks:
    """One batch of two."""
    width = max(first.recorded.labels.shape[1], second.recorded.labels.shape[1])

    def padded(clicks: ClickBatch) -> ClickBatch:
        missing = width - clicks.labels.shape[1]
        return ClickBatch(
            torch.cat([clicks.points, torch.zeros(len(clicks.points), missing, 2)], 1),
            torch.cat([clicks.labels, torch.full((len(clicks.labels), missing), ABSENT)], 1),
        )

    a, b = padded(first.recorded), padded(second.recorded)
    recorded = ClickBatch(torch.cat([a.points, b.points]), torch.cat([a.labels, b.labels]))
    names = [f.name for f in fields(LearnTasks) if f.name != "recorded"]
    return LearnTasks(
        **{name: torch.cat([getattr(first, name), getattr(second, name)]) for name in names}, recorded=recorded
    )


def part_of(tasks: LearnTasks, rows: slice) -> LearnTasks:
    """Some samples of a batch."""
    names = [f.name for f in fields(LearnTasks) if f.name != "recorded"]
    recorded = ClickBatch(tasks.recorded.points[rows], tasks.recorded.labels[rows])
    return LearnTasks(**{name: getattr(tasks, name)[rows] for name in names}, recorded=recorded)


class LearnObjective(Objective):
    """`Objective` on `LearnTasks`.

    recorded_p : how often clicks at once, before any prediction, are the annotator's own.
    """

    def __init__(
        self, weights: Weights | None = None, *, rounds: int = 3, first_p: float = 0.4, recorded_p: float = 0.3
    ) -> None:
        super().__init__(weights, rounds=rounds, first_p=first_p)
        self.recorded_p = recorded_p

    def _many_clicks(self, tasks: Tasks, rngs: Generators) -> ClickBatch:
        assert isinstance(tasks, LearnTasks)
        drawn = super()._many_clicks(tasks, rngs)
        recorded, rng = tasks.recorded, rngs[0]
        width = max(drawn.labels.shape[1], recorded.labels.shape[1])
        points = torch.zeros(len(drawn.labels), width, 2)
        labels = torch.full((len(drawn.labels), width), ABSENT)
        points[:, : drawn.points.shape[1]], labels[:, : drawn.labels.shape[1]] = drawn.points, drawn.labels
        for i, count in enumerate(recorded.count.tolist()):
            if count and (bool(tasks.rejected[i]) or rng.random() < self.recorded_p):
                most = int(rng.integers(1, count + 1))
                labels[i] = ABSENT
                points[i, :most], labels[i, :most] = recorded.points[i, :most], recorded.labels[i, :most]
        return ClickBatch(points, labels).packed()

    def _losses(self, output: Output, tasks: Tasks) -> StepLosses:
        assert isinstance(tasks, LearnTasks)
        found = super()._losses(output, tasks)
        rejected = tasks.rejected
        if not rejected.any():
            return found
        # Of a rejected proposal only this is known: whoever clicked there did not want that mask.
        refused = tasks.refused[rejected].float()
        logits = output.logits[rejected].float()
        same = (mask_iou(logits, refused[:, None].expand_as(logits)) >= 0.5).float()
        loss = self.weights.iou * (same * output.iou[rejected].float() ** 2).sum() / same.sum().clamp_min(1.0)
        return replace(found, total=found.total + loss, parts={**found.parts, "rejected": float(loss.detach())})

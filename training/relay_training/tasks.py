"""What is to be cut out in each view of a batch: an annotated object, or what the teacher sees under a point."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from relay_training.clicks import ABSENT, POSITIVE, VIEW_SIDE, ClickBatch
from relay_training.encodings import CachedBatch
from relay_training.losses import nearest_masks
from relay_training.regions import Generators
from relay_training.targets import TargetLaw, draw_target


@dataclass(frozen=True, slots=True, eq=False)
class Tasks:
    """Targets of a batch.

    target : int64 [B, S, S]: 1 object, 0 not, -1 ignore.
    others : bool [B, S, S], pixels of other objects; parts : bool [B, 2, S, S], the objects of a pair.
    taught : bool [B], where the teacher says what is there.
    masks : bool [B, 3, S, S], valid : bool [B, 3], points : float32 [B, 2] in view pixels; of those, its answers.
    """

    target: Tensor
    others: Tensor
    parts: Tensor
    taught: Tensor
    masks: Tensor
    valid: Tensor
    points: Tensor

    @property
    def likeness(self) -> Tensor:
        """Target of the losses on what looks like the object; int64 [B, S, S] as `target`."""
        return self.target

    def clicked(self, clicks: ClickBatch) -> ClickBatch:
        """First clicks, where the teacher answered replaced by the one that it was asked about."""
        side = self.target.shape[-1]
        points, labels = clicks.points.clone(), clicks.labels.clone()
        at = (self.points + 0.5) * (side / VIEW_SIDE) - 0.5
        points[self.taught, 0] = at[self.taught].to(points)
        labels[self.taught] = ABSENT
        labels[self.taught, 0] = POSITIVE
        return ClickBatch(points, labels).packed()

    def settled(self, logits: Tensor, quality: Tensor) -> Tasks:
        """The same, with the nearest of the teacher's masks as target where it answered.

        Parameters
        ----------
        logits, quality : the student's masks [B, M, S, S] and what it thinks of them, [B, M]; nearest to the mask
            that it would show.
        """
        # What is ignored stays ignored, in the teacher's masks too.
        teacher = torch.where(self.target[:, None] < 0, -1, self.masks.long())
        _, nearest = nearest_masks(logits.detach(), teacher, self.valid, quality)
        chosen = teacher[torch.arange(len(teacher)), nearest]
        return replace(self, target=torch.where(self.taught[:, None, None], chosen, self.target))


def draw_tasks(
    batch: CachedBatch, rngs: Generators, law: TargetLaw | None = None, *, teacher_p: float = 0.5
) -> Tasks:
    """Draw an object of each view, or with `teacher_p` one of the teacher's answers where there is any.

    A view without an object and without an answer has a target of zeros.
    """
    labels = batch.labels.numpy()
    b, height, width = labels.shape
    target = np.where(labels < 0, -1, 0)
    others, parts = np.zeros(labels.shape, bool), np.zeros((b, 2, height, width), bool)
    chosen = np.zeros(b, np.int64)
    taught = np.zeros(b, bool)
    for row, (rng, merge) in enumerate(zip(rngs, batch.merge, strict=True)):
        drawn = draw_target(labels[row], rng, merge, law)
        if drawn is not None:
            target[row], others[row], parts[row] = drawn.mask, drawn.others, drawn.parts
        answers = np.flatnonzero(batch.valid[row].any(1).numpy())
        u = rng.random(3)
        taught[row] = len(answers) > 0 and (u[0] < teacher_p or drawn is None)
        if taught[row]:
            chosen[row] = answers[int(u[1] * len(answers))]
            good = np.flatnonzero(batch.valid[row, chosen[row]].numpy())
            mask = batch.masks[row, chosen[row], good[int(u[2] * len(good))]].numpy()
            target[row], others[row], parts[row] = np.where(labels[row] < 0, -1, mask), False, False
    rows = np.arange(b)
    return Tasks(
        torch.from_numpy(target).long(),
        torch.from_numpy(others),
        torch.from_numpy(parts),
        torch.from_numpy(taught),
        batch.masks[rows, chosen],
        batch.valid[rows, chosen],
        batch.points[rows, chosen],
    )

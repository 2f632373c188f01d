"""What a training step computes: simulated clicks, the passes they need, and the losses of the last one."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_relay.model.network import FIRST, LATER, Head, Output, Prepared
from relay_training.clicks import ClickBatch, ClickLaw, initial_clicks, next_clicks
from relay_training.losses import boundary_weights, iou_prediction_loss, mask_iou, mask_loss, min_over_masks
from relay_training.prompts import previous_masks
from relay_training.regions import Generators
from relay_training.tasks import Tasks
from relay_training.token_losses import cell_shares, infonce, token_score_loss, triplet

SIDE = 112


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of the losses beside the mask loss, and of pixels near the outline."""

    iou: float = 0.1
    contrast: float = 0.2
    score: float = 0.2
    contrast_kind: str = "infonce"
    boundary: float = 2.0


@dataclass(frozen=True, eq=False, slots=True)
class StepLosses:
    """Sum to differentiate, its parts for the log, and the mean IoU of the last masks."""

    total: Tensor
    parts: dict[str, float] = field(default_factory=dict)


def soften(previous: Tensor, rng: np.random.Generator) -> Tensor:
    """Logits as they look when they come from a coarser view (the view follows the object after a click)."""
    factor = int(rng.integers(2, 5))
    small = F.interpolate(previous, scale_factor=1 / factor, mode="bilinear", align_corners=False)
    return F.interpolate(small, size=previous.shape[-2:], mode="bilinear", align_corners=False)


class Objective:
    """Plays clicks on a batch of prepared views and returns the losses of the last prediction."""

    def __init__(self, weights: Weights | None = None, *, rounds: int = 3, first_p: float = 0.4) -> None:
        self.weights = weights or Weights()
        self.rounds, self.first_p = rounds, first_p
        self._first = ClickLaw(single_p=1.0, centre_p=0.5, error_p=0.25, late_p=0.0)
        self._many = ClickLaw(single_p=0.0)

    def __call__(self, head: Head, prepared: Prepared, tasks: Tasks, rngs: Generators) -> StepLosses:
        """Play and judge a batch; the tasks' targets are 112 x 112."""
        rng = rngs[0]
        if rng.random() < self.first_p:
            _, tasks, output = self._first_click(head, prepared, tasks, rngs)
        else:
            tasks, clicks, previous, has_previous = self._played(head, prepared, tasks, rngs)
            output = head(prepared, clicks.as_input(SIDE), previous, has_previous, which=LATER)
        return self._losses(output, tasks)

    def _first_click(
        self, head: Head, prepared: Prepared, tasks: Tasks, rngs: Generators
    ) -> tuple[ClickBatch, Tasks, Output]:
        """One positive click and the three masks that it brings; the teacher's targets are settled by them."""
        clicks = tasks.clicked(initial_clicks(tasks.target, rngs, self._first))
        output = head(prepared, clicks.as_input(SIDE), which=FIRST)
        return clicks, tasks.settled(output.logits, output.iou), output

    def _many_clicks(self, tasks: Tasks, rngs: Generators) -> ClickBatch:
        """Several clicks at once, before any prediction."""
        return initial_clicks(tasks.target, rngs, self._many, others=tasks.others, parts=tasks.parts)

    @torch.no_grad()
    def _played(
        self, head: Head, prepared: Prepared, tasks: Tasks, rngs: Generators
    ) -> tuple[Tasks, ClickBatch, Tensor, Tensor]:
        """Settled tasks, clicks, previous logits and which samples have them, after one to `rounds` predictions."""
        rng = rngs[0]
        if rng.random() < 0.8:
            clicks, tasks, output = self._first_click(head, prepared, tasks, rngs)
            # The product shows the best predicted mask; now and then another, as after the Tab key.
            which = output.iou.argmax(1) if rng.random() < 0.8 else torch.randint(0, 3, (len(tasks.target),))
            previous = output.logits[torch.arange(len(which)), which][:, None]
        else:
            clicks = self._many_clicks(tasks, rngs)
            previous = head(prepared, clicks.as_input(SIDE), which=LATER).logits
        target = tasks.target
        last = int(rng.integers(1, self.rounds + 1))
        for round_ in range(1, last + 1):
            clicks = clicks.add(next_clicks(previous, target, rngs, centre_p=0.5))
            if round_ < last:
                previous = head(prepared, clicks.as_input(SIDE), previous, which=LATER).logits
        previous = previous.float()
        if rng.random() < 0.3:
            previous = soften(previous, rng)
        return tasks, clicks, *previous_masks(previous, rngs)

    def _losses(self, output: Output, tasks: Tasks) -> StepLosses:
        w = self.weights
        logits, target, alike = output.logits.float(), tasks.target.float(), tasks.likeness.float()
        edge = boundary_weights(target, factor=w.boundary) if w.boundary > 1 else None
        if logits.shape[1] > 1:
            chosen = min_over_masks(logits, target, edge, relax=0.05)
            mask, best = chosen.loss.mean(), logits[torch.arange(len(target)), chosen.index]
        else:
            best = logits[:, 0]
            mask = mask_loss(best, target, edge).mean()
        iou = iou_prediction_loss(output.iou.float(), logits, target[:, None].expand_as(logits))
        parts = {"mask": mask, "iou": w.iou * iou}
        if output.space is not None and w.contrast:
            parts["contrast"] = w.contrast * self._contrast(output, alike)
        if output.scores is not None and w.score:
            shares = (cell_shares(alike, 56), cell_shares(alike, 14))
            scores = (output.scores.small, output.scores.large)
            terms = [
                token_score_loss(s, share.share, token_valid=share.valid)
                for s, share in zip(scores, shares, strict=True)
            ]
            parts["score"] = w.score * sum(terms)
        total = torch.stack([p.float() for p in parts.values()]).sum()
        log = {name: float(p.detach()) for name, p in parts.items()}
        return StepLosses(total, {**log, "IoU": float(mask_iou(best, target).mean())})

    def _contrast(self, output: Output, target: Tensor) -> Tensor:
        assert output.space is not None
        assert output.kernels is not None
        kernels, share = output.kernels, cell_shares(target, 28)
        if self.weights.contrast_kind == "triplet":
            return triplet(output.space, share.share, kernels.kernel_positive, token_valid=share.valid)
        anchors = torch.cat([kernels.embeddings, kernels.kernel_positive[:, None]], dim=1)
        valid = torch.cat([kernels.positive, kernels.positive.any(1, keepdim=True)], dim=1)
        negative = torch.cat([kernels.negative, torch.zeros_like(kernels.negative[:, :1])], dim=1)
        return infonce(
            output.space, share.share, anchors, valid, anchors, negative, token_valid=share.valid, hard_negatives=256
        )

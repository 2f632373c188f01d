"""Simulated clicks for training, a batch at a time: first clicks, corrections, jitter.

The laws are those of RITM (Sofiiuk, Petrov, Konushin, arXiv 2102.06583: MultiPointSampler, iterative
clicks) with our first click beside them: one positive click alone, as a person starts. Lengths are given in
pixels of a 448 pixel view and scaled to the target's side. Targets are [B, H, W]: 1 object, 0 not, -1 ignore.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from relay_training.regions import (
    Generators,
    Masks,
    Numbers,
    Uniforms,
    areas,
    deep_half,
    deepest_pixel,
    dilate,
    draw_pixels,
    erode,
    uniforms,
)

POSITIVE, NEGATIVE, ABSENT = 1, 0, -1
VIEW_SIDE = 448
MAX_PARTS = 4
"""Most objects that one target merges."""


@dataclass(frozen=True, slots=True, eq=False)
class ClickBatch:
    """Clicks of a batch in the order in which they were made, padded.

    points : float32 [B, N, 2], (y, x) in pixels of the target (pixel centres on whole numbers).
    labels : int64 [B, N]: 1 positive, 0 negative, -1 no click.
    """

    points: Tensor
    labels: Tensor

    @property
    def count(self) -> Tensor:
        """Number of clicks of each sample, [B]."""
        return (self.labels != ABSENT).sum(1)

    def add(self, other: ClickBatch) -> ClickBatch:
        """These clicks and then the other ones, without empty columns."""
        both = ClickBatch(torch.cat([self.points, other.points], 1), torch.cat([self.labels, other.labels], 1))
        return both.packed()

    def to(self, device: torch.device | str) -> ClickBatch:
        return ClickBatch(self.points.to(device), self.labels.to(device))

    def packed(self) -> ClickBatch:
        """The same with the clicks of each sample first and no column that is empty for all."""
        order = (self.labels == ABSENT).int().argsort(dim=1, stable=True)
        width = max(int(self.count.max()), 1)
        order = order[:, :width]
        points = self.points.gather(1, order[..., None].expand(-1, -1, 2))
        return ClickBatch(points, self.labels.gather(1, order))

    def as_input(self, side: int, view_side: int = VIEW_SIDE) -> Tensor:
        """Click tensor of the model, float32 [B, N, 3] (y, x, label) in view pixels, of targets `side`
        pixels wide.
        """
        points = (self.points + 0.5) * (view_side / side) - 0.5
        absent = self.labels[..., None] == ABSENT
        return torch.cat([torch.where(absent, -1.0, points), self.labels[..., None].float()], dim=2)


@dataclass(frozen=True, slots=True)
class ClickLaw:
    """How first clicks are drawn; probabilities a sample.

    max_clicks, gamma : most clicks of each sign, and P(one more) / P(so many).
    single_p : one positive click alone. 0 is RITM.
    centre_p : the first positive click is the middle of the object, as the robot's.
    error_p : the first positive click is drawn as a correction of an empty mask (deeper half of the object).
    late_p : the numbers of clicks are uniform up to `max_clicks` instead.
    erode_p, erode_px : positive clicks keep this distance from the outline.
    expand : negative `border` clicks lie within this share of the square root of the area.
    background, other, border : weights of the places of negative clicks.
    jitter_px : clicks move by up to this much, but never across the outline.
    """

    max_clicks: int = 24
    gamma: float = 0.8
    single_p: float = 0.5
    centre_p: float = 0.2
    error_p: float = 0.05
    late_p: float = 0.05
    erode_p: float = 0.9
    erode_px: float = 3.0
    expand: float = 0.1
    background: float = 0.1
    other: float = 0.4
    border: float = 0.5
    jitter_px: float = 2.0


def initial_clicks(
    target: Tensor,
    rngs: Generators,
    law: ClickLaw | None = None,
    *,
    others: Tensor | None = None,
    parts: Tensor | None = None,
) -> ClickBatch:
    """Clicks to begin a training sample with: positives first, then negatives.

    Parameters
    ----------
    target : Tensor
        [B, H, W].
    rngs : one generator a sample.
    others : Tensor, optional
        bool [B, H, W], pixels of other annotated objects; without it `other` clicks become `background` ones.
    parts : Tensor, optional
        bool [B, P, H, W], P <= 4, the objects of a merged target: each gets one of the first positive clicks.
    """
    law = law or ClickLaw()
    n, side = law.max_clicks, target.shape[-1]
    u = uniforms(rngs, 6 + MAX_PARTS + 3 * n)
    truth = target.detach().cpu().numpy()
    inside = truth == 1
    shrink = np.where(u[:, 0] < law.erode_p, max(1, round(law.erode_px * side / VIEW_SIDE)), 0)
    positives, negatives = _counts(u[:, 1:5], law)
    slots = np.arange(n)[None]

    wanted = slots < positives[:, None]
    drawn = draw_pixels(_eroded(inside, shrink), u[:, -3 * n : -2 * n], wanted)
    _place_first(drawn, inside, u[:, 5], law)
    points = [drawn]
    if parts is not None:
        points = _one_a_part(drawn, parts.detach().cpu().numpy(), shrink, u[:, 6 : 6 + MAX_PARTS])
    elsewhere = None if others is None else others.detach().cpu().numpy().astype(bool)
    points.append(_negative_points(truth, elsewhere, u[:, -2 * n :], slots < negatives[:, None], law))

    where = np.concatenate(points, axis=1)
    labels = np.full(where.shape[:2], POSITIVE)
    labels[:, -n:] = NEGATIVE
    labels[where[..., 0] < 0] = ABSENT
    batch = ClickBatch(torch.from_numpy(where).float(), torch.from_numpy(labels)).packed()
    return jitter(batch, target, rngs, law.jitter_px * side / VIEW_SIDE).to(target.device)


def next_clicks(
    logits: Tensor, target: Tensor, rngs: Generators, *, centre_p: float = 0.0, threshold: float = 0.49
) -> ClickBatch:
    """One correction click a sample, [B, 1]: in the deeper half of the deeper kind of error.

    Of equally deep kinds the one with the larger deeper half is corrected, then the wrongly covered one.

    Parameters
    ----------
    logits : Tensor
        [B, H, W] or [B, 1, H, W], the mask shown.
    target : Tensor
        [B, H, W].
    centre_p : float
        Probability of the deepest pixel itself, as the robot clicks; 0 is RITM.
    threshold : float
        Probability at which a pixel is shown as object.

    Returns
    -------
    ClickBatch
        A sample without error has no click (label -1).
    """
    shown = logits.detach().reshape(target.shape).float()
    level = math.log(threshold / (1 - threshold))
    wrong = torch.stack([(target == 1) & (shown < level), (target == 0) & (shown > level)])
    b = target.shape[0]
    errors = wrong.cpu().numpy().reshape(2 * b, *target.shape[1:])
    depth, core = deep_half(errors)
    weight = depth * (errors[0].size + 1) + areas(core)
    positive = weight[:b] > weight[b:]
    chosen = np.where(positive, 0, b) + np.arange(b)
    u = uniforms(rngs, 2)
    point = draw_pixels(core[chosen], u[:, :1])[:, 0]
    for row in np.flatnonzero(u[:, 1] < centre_p):
        point[row] = deepest_pixel(errors[chosen[row]])
    label = np.where(point[:, 0] >= 0, positive.astype(np.int64), ABSENT)
    batch = ClickBatch(torch.from_numpy(point[:, None]).float(), torch.from_numpy(label[:, None]))
    return batch.to(target.device)


def jitter(batch: ClickBatch, target: Tensor, rngs: Generators, pixels: float) -> ClickBatch:
    """Move each click by up to `pixels` in y and x; one that would leave its side or the frame stays."""
    if pixels <= 0:
        return batch
    b, n = batch.labels.shape
    h, w = target.shape[-2:]
    # As many numbers whatever the batch's width, so that a sample does not depend on its neighbours.
    u = np.zeros((b, n, 2), np.float32)
    for row, (rng, count) in enumerate(zip(rngs, batch.count.tolist(), strict=True)):
        u[row, :count] = rng.random((count, 2))
    moved = batch.points + torch.from_numpy(u * 2 - 1).to(batch.points) * pixels
    low, high = moved.new_tensor(-0.5), moved.new_tensor([h - 0.5, w - 0.5]) - 1e-3
    moved = torch.minimum(torch.maximum(moved, low), high)
    truth = target.to(batch.points.device)
    same = _under(truth, moved) == _under(truth, batch.points)
    keep = same & (batch.labels != ABSENT)
    return ClickBatch(torch.where(keep[..., None], moved, batch.points), batch.labels)


def _counts(u: Uniforms, law: ClickLaw) -> tuple[Numbers, Numbers]:
    """Numbers of positive and negative clicks, [B] each, by `u` [B, 4]."""
    n = law.max_clicks
    weights = law.gamma ** np.arange(n + 1)
    up_to, all_of_them = np.cumsum(weights[:n]), np.cumsum(weights)
    positive = 1 + np.minimum(np.searchsorted(up_to / up_to[-1], u[:, 0], side="right"), n - 1)
    negative = np.minimum(np.searchsorted(all_of_them / all_of_them[-1], u[:, 1], side="right"), n)
    late, single = u[:, 2] < law.late_p, u[:, 3] < law.single_p
    positive = np.where(late, 1 + (u[:, 0] * n).astype(np.int64), positive)
    negative = np.where(late, (u[:, 1] * (n + 1)).astype(np.int64), negative)
    return np.where(single, 1, positive), np.where(single, 0, negative)


def _eroded(masks: Masks, radius: Numbers) -> Masks:
    """The masks without their rim; all of one where 10 pixels or less would remain."""
    smaller = erode(masks, radius)
    return np.where((areas(smaller) > 10)[:, None, None], smaller, masks)


def _one_a_part(points: Numbers, parts: Masks, shrink: Numbers, u: Uniforms) -> list[Numbers]:
    """Put one point of each part before the others of a merged target, as many in all as there is room for.

    Points of the union follow by the law of the negatives: one less than that of the positives.
    """
    merged = parts.any((2, 3)).sum(1) > 1  # [B]
    found = [draw_pixels(_eroded(parts[:, p], shrink), u[:, p : p + 1]) for p in range(parts.shape[1])]
    each = np.concatenate(found, axis=1)  # [B, P, 2]
    each[~merged] = -1
    taken = each[..., 0] >= 0
    points[merged, 0] = -1
    room = points.shape[1] - taken.sum(1)
    points[np.cumsum(points[..., 0] >= 0, axis=1) > room[:, None]] = -1
    return [each, points]


def _place_first(points: Numbers, inside: Masks, u: Uniforms, law: ClickLaw) -> None:
    """Move the first point where it is not to be drawn from the region: to the middle, or into the deeper
    half.
    """
    for row in np.flatnonzero((u < law.centre_p) & inside.any((1, 2))):
        points[row, 0] = deepest_pixel(inside[row])
    deep = (u >= law.centre_p) & (u < law.centre_p + law.error_p)
    if deep.any():
        # The rest of u after the choice is uniform again.
        again = ((u[deep] - law.centre_p) / law.error_p).clip(0, 1 - 1e-9)
        points[deep, 0] = draw_pixels(deep_half(inside[deep])[1], again[:, None])[:, 0]


def _negative_points(
    truth: npt.NDArray[np.integer], others: Masks | None, u: Uniforms, wanted: npt.NDArray[np.bool_], law: ClickLaw
) -> Numbers:
    """Negative points [B, n, 2] by `u` [B, 2 n]: the place of each, and the pixel in it."""
    n = u.shape[1] // 2
    points = np.full((*wanted.shape, 2), -1, np.int64)
    if not wanted.any():
        return points
    inside, background = truth == 1, truth == 0
    radius = np.ceil(law.expand * np.sqrt(areas(inside))).astype(np.int64)
    border = dilate(inside, radius) & background
    elsewhere = background if others is None else others & background
    elsewhere = np.where(elsewhere.any((1, 2))[:, None, None], elsewhere, background)
    limits = np.cumsum([law.background, law.other, law.border])
    place = np.minimum(np.searchsorted(limits / limits[-1], u[:, :n], side="right"), 2)
    for number, region in enumerate((background, elsewhere, border)):
        here = wanted & (place == number)
        points[here] = draw_pixels(region, u[:, n:], here)[here]
    return points


def _under(target: Tensor, points: Tensor) -> Tensor:
    """Value of the target under each point, [B, N]."""
    h, w = target.shape[-2:]
    y = (points[..., 0] + 0.5).floor().long().clamp(0, h - 1)
    x = (points[..., 1] + 0.5).floor().long().clamp(0, w - 1)
    return target.flatten(1).gather(1, y * w + x)

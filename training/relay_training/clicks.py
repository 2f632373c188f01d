"""Simulated clicks for training, a batch at a time: first clicks, corrections, jitter.

The laws are those of RITM (Sofiiuk, Petrov, Konushin, arXiv 2102.06583: MultiPointSampler, iterative
clicks) with our first click beside them: one positive click alone, as a person starts. Lengths are given in
pixels of a 448 pixel view and scaled to the target's side. Targets are [B, H, W]: 1 object, 0 not, -1 ignore.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from relay_training.regions import (
    Generators,
    deepest_pixel,
    dilate,
    distance_inside,
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
    u = uniforms(rngs, 6 + MAX_PARTS + 3 * n, target.device)
    inside = target == 1
    shrink = torch.where(u[:, 0] < law.erode_p, max(1, round(law.erode_px * side / VIEW_SIDE)), 0)
    wanted_positive, wanted_negative = _counts(u[:, 1:5], law)
    slots = torch.arange(n, device=target.device)[None]

    drawn = draw_pixels(_eroded(inside, shrink), u[:, -3 * n : -2 * n])
    first = _first_click(inside, u[:, 5], law)
    drawn[:, 0] = torch.where(first[:, :1] >= 0, first, drawn[:, 0])
    points, wanted = [drawn], [slots < wanted_positive[:, None]]
    if parts is not None:
        points, wanted = _one_a_part(drawn, wanted[0], parts, shrink, u[:, 6 : 6 + MAX_PARTS])
    points.append(_negative_points(target, others, u[:, -2 * n :], law))
    wanted.append(slots < wanted_negative[:, None])

    where = torch.cat(points, 1)
    labels = torch.full(where.shape[:2], POSITIVE, device=target.device)
    labels[:, -n:] = NEGATIVE
    labels = torch.where(torch.cat(wanted, 1) & (where[..., 0] >= 0), labels, ABSENT)
    batch = ClickBatch(torch.where(labels[..., None] == ABSENT, -1, where).float(), labels).packed()
    return jitter(batch, target, rngs, law.jitter_px * side / VIEW_SIDE)


def next_clicks(
    logits: Tensor, target: Tensor, rngs: Generators, *, centre_p: float = 0.0, threshold: float = 0.49
) -> ClickBatch:
    """One correction click a sample, [B, 1]: in the deeper half of the deeper kind of error.

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
    shown = logits.detach().reshape(target.shape).float().sigmoid()
    missed = distance_inside((target == 1) & (shown < threshold))
    extra = distance_inside((target == 0) & (shown > threshold))
    positive = missed.amax((1, 2)) > extra.amax((1, 2))
    distance = torch.where(positive[:, None, None], missed, extra)
    depth = distance.amax((1, 2))
    u = uniforms(rngs, 2, target.device)
    point = draw_pixels(distance > depth[:, None, None] / 2, u[:, :1])[:, 0]
    point = torch.where((u[:, 1] < centre_p)[:, None], deepest_pixel(distance), point)
    label = torch.where(depth > 0, positive.long(), ABSENT)
    return ClickBatch(torch.where(label[:, None] == ABSENT, -1, point).float()[:, None], label[:, None])


def jitter(batch: ClickBatch, target: Tensor, rngs: Generators, pixels: float) -> ClickBatch:
    """Move each click by up to `pixels` in y and x; one that would leave its side or the frame stays."""
    if pixels <= 0:
        return batch
    b, n = batch.labels.shape
    h, w = target.shape[-2:]
    # As many numbers whatever the batch's width, so that a sample does not depend on its neighbours.
    u = torch.zeros(b, n, 2, dtype=torch.float64)
    for row, (rng, count) in enumerate(zip(rngs, batch.count.tolist(), strict=True)):
        u[row, :count] = torch.from_numpy(rng.random((count, 2)))
    moved = batch.points + ((u * 2 - 1) * pixels).to(batch.points)
    low, high = moved.new_tensor(-0.5), moved.new_tensor([h - 0.5, w - 0.5]) - 1e-3
    moved = torch.minimum(torch.maximum(moved, low), high)
    same = _under(target, moved) == _under(target, batch.points)
    keep = same & (batch.labels != ABSENT)
    return ClickBatch(torch.where(keep[..., None], moved, batch.points), batch.labels)


def _counts(u: Tensor, law: ClickLaw) -> tuple[Tensor, Tensor]:
    """Numbers of positive and negative clicks, [B] each, by `u` [B, 4]."""
    n = law.max_clicks
    weights = law.gamma ** torch.arange(n + 1, dtype=torch.float64, device=u.device)
    up_to, all_of_them = weights[:n].cumsum(0), weights.cumsum(0)
    positive = 1 + torch.searchsorted(up_to / up_to[-1], u[:, 0].contiguous(), right=True).clamp_max(n - 1)
    negative = torch.searchsorted(all_of_them / all_of_them[-1], u[:, 1].contiguous(), right=True).clamp_max(n)
    late, single = u[:, 2] < law.late_p, u[:, 3] < law.single_p
    positive = torch.where(late, 1 + (u[:, 0] * n).long(), positive)
    negative = torch.where(late, (u[:, 1] * (n + 1)).long(), negative)
    return torch.where(single, 1, positive), torch.where(single, 0, negative)


def _eroded(mask: Tensor, radius: Tensor) -> Tensor:
    """The mask without its rim, or all of it where 10 pixels or less would remain."""
    smaller = erode(mask, radius)
    return torch.where((smaller.sum((1, 2)) > 10)[:, None, None], smaller, mask)


def _one_a_part(
    points: Tensor, wanted: Tensor, parts: Tensor, shrink: Tensor, u: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """Put one point of each part before the others of a merged target, as many in all as there is room for.

    Points of the union follow by the law of the negatives: one less than that of the positives.
    """
    merged = parts.any(3).any(2).sum(1) > 1  # [B]
    found = [draw_pixels(_eroded(parts[:, p], shrink), u[:, p : p + 1]) for p in range(parts.shape[1])]
    each = torch.cat(found, 1)  # [B, P, 2]
    taken = (each[..., 0] >= 0) & merged[:, None]
    rest = wanted.clone()
    rest[:, 0] &= ~merged
    rest &= rest.cumsum(1) <= (wanted.shape[1] - taken.sum(1))[:, None]
    return [each, points], [taken, rest]


def _first_click(inside: Tensor, u: Tensor, law: ClickLaw) -> Tensor:
    """The first positive click where it is not drawn from the region, int64 [B, 2]; (-1, -1) elsewhere."""
    centre = u < law.centre_p
    deep = (u >= law.centre_p) & (u < law.centre_p + law.error_p)
    chosen = (centre | deep) & inside.any(2).any(1)
    first = torch.full((len(u), 2), -1, device=inside.device)
    if not bool(chosen.any()):
        return first
    distance = distance_inside(inside[chosen])
    middle = deepest_pixel(distance)
    # The rest of u after the choice is uniform again.
    again = ((u[chosen] - law.centre_p) / max(law.error_p, 1e-9)).clamp(0, 1 - 1e-9)
    drawn = draw_pixels(distance > distance.amax((1, 2), keepdim=True) / 2, again[:, None])[:, 0]
    first[chosen] = torch.where(centre[chosen][:, None], middle, drawn)
    return first


def _negative_points(target: Tensor, others: Tensor | None, u: Tensor, law: ClickLaw) -> Tensor:
    """Negative points [B, n, 2] by `u` [B, 2 n]: the place of each, and the pixel in it."""
    n = u.shape[1] // 2
    inside, background = target == 1, target == 0
    radius = torch.ceil(law.expand * inside.sum((1, 2)).double().sqrt()).long()
    border = dilate(inside, radius) & background
    elsewhere = background if others is None else others.bool() & background
    none_other = ~elsewhere.any(2).any(1)
    elsewhere = torch.where(none_other[:, None, None], background, elsewhere)
    weights = u.new_tensor([law.background, law.other, law.border]).cumsum(0)
    place = torch.searchsorted(weights / weights[-1], u[:, :n].contiguous(), right=True).clamp_max(2)
    drawn = torch.stack([draw_pixels(r, u[:, n:]) for r in (background, elsewhere, border)])  # [3, B, n, 2]
    return drawn.gather(0, place[None, ..., None].expand(1, *place.shape, 2))[0]


def _under(target: Tensor, points: Tensor) -> Tensor:
    """Value of the target under each point, [B, N]."""
    h, w = target.shape[-2:]
    y = (points[..., 0] + 0.5).floor().long().clamp(0, h - 1)
    x = (points[..., 1] + 0.5).floor().long().clamp(0, w - 1)
    return target.flatten(1).gather(1, y * w + x)

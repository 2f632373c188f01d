"""What goes in beside the clicks: disk maps of clicks, and previous masks that are dropped or damaged.

A model that only ever sees its own clean masks trusts them blindly; a person's previous mask may be of
another object's making, moved, or full of holes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from relay_training.clicks import VIEW_SIDE, ClickBatch
from relay_training.regions import Generators

DAMAGES = ("erode", "dilate", "shift", "hole", "island")


@dataclass(frozen=True, slots=True)
class PreviousLaw:
    """What happens to the previous mask; probabilities a sample.

    drop_p : it is not shown at all.
    corrupt_p : it is damaged in one of the ways of `DAMAGES`.
    reach_px : largest erosion, dilation and shift, in pixels of a 448 pixel view.
    """

    drop_p: float = 0.1
    corrupt_p: float = 0.1
    reach_px: float = 16.0


def previous_masks(logits: Tensor, rngs: Generators, law: PreviousLaw | None = None) -> tuple[Tensor, Tensor]:
    """The previous logits as the model gets them.

    Parameters
    ----------
    logits : Tensor
        [B, 1, H, W] or [B, H, W].

    Returns
    -------
    tuple of Tensor
        Logits of the same shape (detached), some damaged; bool [B], False where the mask is dropped.
    """
    law = law or PreviousLaw()
    draws = np.stack([rng.random(2) for rng in rngs])
    damaged = logits.detach().clone()
    for row in np.flatnonzero(draws[:, 1] < law.corrupt_p).tolist():
        mask = damaged[row].reshape(damaged.shape[-2:])
        damaged[row] = corrupt(mask, rngs[row], law.reach_px * mask.shape[-1] / VIEW_SIDE).reshape(damaged[row].shape)
    return damaged, torch.from_numpy(draws[:, 0] >= law.drop_p).to(logits.device)


def corrupt(logits: Tensor, rng: np.random.Generator, reach: float, damage: str | None = None) -> Tensor:
    """One previous mask, logits [H, W], damaged: eroded, dilated, shifted, with a hole or with an island.

    Parameters
    ----------
    reach : float
        Largest erosion, dilation and shift in pixels; holes and islands have up to a third of the mask's
        extent as radius.
    damage : one of `DAMAGES`, optional
        Which; drawn without it.
    """
    damage = damage or DAMAGES[int(rng.integers(len(DAMAGES)))]
    radius = int(rng.integers(1, max(2, round(reach) + 1)))
    if damage == "erode":
        return -_grow(-logits, radius)
    if damage == "dilate":
        return _grow(logits, radius)
    if damage == "shift":
        return _shifted(logits, *(int(v) for v in rng.integers(-radius, radius + 1, 2)))
    inside = logits > 0
    side = inside if damage == "hole" else ~inside
    places = side.flatten().nonzero()[:, 0]
    if len(places) == 0:
        return logits
    spot = int(places[int(rng.integers(len(places)))])
    limit = max(1.0, float(inside.sum()) ** 0.5 / 3)
    disk = _disk(logits.shape, divmod(spot, logits.shape[1]), float(rng.uniform(1.0, 1.0 + limit)), logits.device)
    strong = logits.abs().amax().clamp_min(1.0)
    return torch.where(disk, -strong if damage == "hole" else strong, logits)


def disk_maps(clicks: ClickBatch, height: int, width: int, radius: int = 5) -> Tensor:
    """Disks of the positive and the negative clicks, float32 [B, 2, height, width] of 0 and 1.

    A pixel is 1 when a click of the sign lies within `radius` (inclusive). Clicks are placed in a click
    image that is convolved with the disk, so the cost does not depend on their number; they count at whole
    pixels, and one outside the frame contributes the part of its disk that is inside.
    """
    b = clicks.labels.shape[0]
    y = (clicks.points[..., 0] + 0.5).floor().long() + radius
    x = (clicks.points[..., 1] + 0.5).floor().long() + radius
    near = (y >= 0) & (y < height + 2 * radius) & (x >= 0) & (x < width + 2 * radius)
    image = torch.zeros(b, 2, height + 2 * radius, width + 2 * radius, device=clicks.points.device)
    for channel, label in enumerate((1, 0)):
        row, slot = torch.nonzero(near & (clicks.labels == label), as_tuple=True)
        image[row, channel, y[row, slot], x[row, slot]] = 1
    step = torch.arange(-radius, radius + 1, device=image.device)
    kernel = ((step[:, None] ** 2 + step[None] ** 2) <= radius**2).float().expand(2, 1, -1, -1)
    return (F.conv2d(image, kernel, groups=2) > 0.5).float()


def _grow(logits: Tensor, radius: int) -> Tensor:
    """Largest logit in a square; the frame adds nothing."""
    return F.max_pool2d(logits[None, None].float(), 2 * radius + 1, stride=1, padding=radius)[0, 0].to(logits.dtype)


def _shifted(logits: Tensor, dy: int, dx: int) -> Tensor:
    """Moved by whole pixels; what comes in is the least logit (surely not the object)."""
    h, w = logits.shape
    out = torch.full_like(logits, float(logits.min()))
    out[max(dy, 0) : h + min(dy, 0), max(dx, 0) : w + min(dx, 0)] = logits[
        max(-dy, 0) : h + min(-dy, 0), max(-dx, 0) : w + min(-dx, 0)
    ]
    return out


def _disk(shape: torch.Size, centre: tuple[int, int], radius: float, device: torch.device) -> Tensor:
    y = torch.arange(shape[0], device=device)[:, None] - centre[0]
    x = torch.arange(shape[1], device=device)[None] - centre[1]
    return (y**2 + x**2) <= radius**2

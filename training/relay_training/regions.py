"""Regions of pixels, a batch at a time: boxes grown and shrunk, distances, uniform draws.

Masks are bool tensors [B, H, W] on any device. Nothing here draws numbers of its own: randomness comes in as
uniform numbers, one row a sample, so that a sample's clicks do not depend on who shares its batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

Generators = Sequence[np.random.Generator]
"""One generator a sample."""


def sample_generators(seed: int, epoch: int, indices: Sequence[int]) -> list[np.random.Generator]:
    """Generators that depend on (seed, epoch, index) only, whichever process or batch a sample lands in."""
    return [np.random.default_rng((seed, epoch, int(index))) for index in indices]


def uniforms(rngs: Generators, count: int, device: torch.device | str = "cpu") -> Tensor:
    """Numbers in [0, 1), float64 [B, count]; row b is drawn from generator b."""
    return torch.from_numpy(np.stack([rng.random(count) for rng in rngs])).to(device)


def dilate(mask: Tensor, radius: Tensor) -> Tensor:
    """Dilation by a square of side 2 r + 1, `radius` [B] of its own for each sample (= r times 3 x 3)."""
    return _box_sums(mask, radius) > 0


def erode(mask: Tensor, radius: Tensor) -> Tensor:
    """Erosion by a square of side 2 r + 1, `radius` [B]; the frame does not erode (as OpenCV's `erode`)."""
    return _box_sums(~mask, radius) == 0


def _box_sums(mask: Tensor, radius: Tensor) -> Tensor:
    """Number of True in the square of side 2 r + 1 round each pixel, by an integral image; int32 [B, H,
    W].
    """
    b, h, w = mask.shape
    sums = torch.zeros(b, h + 1, w + 1, dtype=torch.int32, device=mask.device)
    sums[:, 1:, 1:] = mask.int().cumsum(1, dtype=torch.int32).cumsum(2, dtype=torch.int32)
    r = radius.long().reshape(b, 1)
    rows, columns = torch.arange(h, device=mask.device), torch.arange(w, device=mask.device)
    top, bottom = (rows - r).clamp_min(0), (rows + r + 1).clamp_max(h)  # [B, H]
    left, right = (columns - r).clamp_min(0), (columns + r + 1).clamp_max(w)  # [B, W]
    strips = sums.gather(1, bottom[..., None].expand(b, h, w + 1))
    strips = strips - sums.gather(1, top[..., None].expand(b, h, w + 1))
    return strips.gather(2, right[:, None].expand(b, h, w)) - strips.gather(2, left[:, None].expand(b, h, w))


def distance_inside(mask: Tensor) -> Tensor:
    """Euclidean distance of each True pixel to the nearest False one, the frame counting as False; float32.

    On the CPU scipy's exact transform a sample, inside the box of the mask (measured faster than any form
    over the batch, see `benchmarks/click_simulation.py`); on a GPU a separable transform of the whole batch.
    """
    if mask.device.type == "cpu":
        return torch.from_numpy(_distance_scipy(mask.numpy()))
    return separable_distance(mask)


def _distance_scipy(masks: np.ndarray) -> np.ndarray:
    distance = np.zeros(masks.shape, np.float32)
    for mask, out in zip(masks, distance, strict=True):
        rows = np.flatnonzero(mask.any(1))
        if rows.size == 0:
            continue
        columns = np.flatnonzero(mask.any(0))
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        # Nothing outside the box is True, so one ring of False bounds every distance as the whole frame
        # would.
        out[box] = ndimage.distance_transform_edt(np.pad(mask[box], 1))[1:-1, 1:-1]
    return distance


def separable_distance(mask: Tensor) -> Tensor:
    """`distance_inside` over the whole batch: exact along columns, then the lower envelope along rows."""
    h = mask.shape[1]
    # Distance along the column to the nearest False above and below; the frame is one at -1 and at h.
    index = torch.arange(h, device=mask.device)[None, :, None].expand(mask.shape)
    above = torch.where(mask, -1, index).cummax(1).values
    below = torch.where(mask, h, index).flip(1).cummin(1).values.flip(1)
    square = torch.minimum(index - above, below - index).float() ** 2
    best = square.clone()
    reach = int(square.max().sqrt()) if mask.numel() else 0
    for step in range(1, reach + 1):  # no farther column can lower a distance that is at most `reach`
        cost = float(step * step)
        if step < mask.shape[2]:
            best[:, :, step:] = torch.minimum(best[:, :, step:], square[:, :, :-step] + cost)
            best[:, :, :-step] = torch.minimum(best[:, :, :-step], square[:, :, step:] + cost)
        best[:, :, step - 1].clamp_max_(cost)
        best[:, :, -step].clamp_max_(cost)
        if step >= mask.shape[2]:
            break
    return torch.where(mask, best, 0.0).sqrt()


def draw_pixels(region: Tensor, u: Tensor) -> Tensor:
    """Pixels drawn uniformly from each sample's region, with replacement.

    Parameters
    ----------
    region : Tensor
        bool [B, H, W].
    u : Tensor
        float64 [B, n] in [0, 1).

    Returns
    -------
    Tensor
        int64 [B, n, 2] (y, x); (-1, -1) where the region is empty.
    """
    counted = region.flatten(1).cumsum(1, dtype=torch.int64)
    total = counted[:, -1:]
    rank = torch.minimum((u * total).long(), total - 1) + 1
    flat = torch.searchsorted(counted, rank.contiguous())
    points = torch.stack([flat // region.shape[2], flat % region.shape[2]], dim=-1)
    return torch.where(total[..., None] > 0, points, -1)


def deepest_pixel(distance: Tensor) -> Tensor:
    """First pixel in row-major order with the largest distance, int64 [B, 2]."""
    flat = distance.flatten(1)
    first = (flat == flat.amax(1, keepdim=True)).int().argmax(1)
    return torch.stack([first // distance.shape[2], first % distance.shape[2]], dim=1)

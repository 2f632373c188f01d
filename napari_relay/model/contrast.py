"""The contrastive space of clicks: every token gets a unit vector, clicks of one sign get a kernel.

After "Adaptive multi-scale tokens for clicks" (MST, arXiv 2401.04403), whose click kernels serve positive clicks; here
negative clicks get one too. Cosines to the clicks and to the kernels become four maps that tell the rest of the head
what looks like the object and what looks like its surroundings.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_relay.model.layers import tokens_of
from napari_relay.model.prompt import NEGATIVE, POSITIVE


@dataclass(frozen=True, eq=False)
class ClickKernels:
    """Vectors of the clicks of each sign: embeddings [B, n, D] with their masks [B, n], and kernels [B, D].

    A kernel is 0 where there is no click of its sign.
    """

    embeddings: Tensor
    positive: Tensor
    negative: Tensor
    kernel_positive: Tensor
    kernel_negative: Tensor

    def maps(self, space: Tensor) -> Tensor:
        """Cosine maps [B, N, 4] of unit vectors [B, N, D]: nearest positive click, positive kernel, nearest negative
        click, negative kernel; 0 where there is no click of the sign."""
        columns = [self.embeddings, self.kernel_positive[:, None], self.kernel_negative[:, None]]
        cosines = cosine(space, torch.cat(columns, dim=1))  # [B, N, n + 2]
        clicks, positive, negative = cosines[..., :-2], cosines[..., -2], cosines[..., -1]
        return torch.stack([_best(clicks, self.positive), positive, _best(clicks, self.negative), negative], dim=-1)


def cosine(space: Tensor, vectors: Tensor) -> Tensor:
    """Cosines [B, N, n] of unit vectors [B, N, D] and [B, n, D], in float32 whatever precision surrounds them:
    two bfloat16 cosines near 1 differ by no less than 1/256."""
    with torch.autocast(space.device.type, enabled=False):
        return space.float() @ vectors.float().transpose(1, 2)


def _best(cosines: Tensor, which: Tensor) -> Tensor:
    """Largest cosine [B, N] over the clicks in `which` [B, n]; 0 without any."""
    best = cosines.masked_fill(~which[:, None], -2.0).amax(dim=-1)
    return torch.where(which.any(dim=1, keepdim=True), best, torch.zeros_like(best))


def click_kernel(vectors: Tensor, which: Tensor) -> Tensor:
    """normalise(mean(softmax(T T' / sqrt d) T)) over the rows T in `which`: [B, n, D], [B, n] -> [B, D].

    Parameter-free self-attention (MST section on click kernels); 0 where no row counts.
    """
    scores = cosine(vectors, vectors) / vectors.shape[-1] ** 0.5
    weights = scores.masked_fill(~which[:, None], -1e4).softmax(dim=-1)
    mixed = cosine(weights, vectors.transpose(1, 2)) * which[..., None]
    total = mixed.sum(dim=1) / which.sum(dim=1, keepdim=True).clamp(min=1)
    return F.normalize(total, dim=-1) * which.any(dim=1, keepdim=True)


class ContrastSpace(nn.Module):
    """E = normalise(MLP(LN [f16a ; f16b ; image])): [B, 784, D]; click independent, cached per head."""

    def __init__(self, in_width: int, out_width: int, hidden: int = 192) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(in_width)
        self.hidden, self.out = nn.Linear(in_width, hidden), nn.Linear(hidden, out_width)

    def forward(self, *features: Tensor) -> Tensor:
        x = self.norm(torch.cat([tokens_of(f) for f in features], dim=-1))
        return F.normalize(self.out(F.gelu(self.hidden(x))).float(), dim=-1)

    @staticmethod
    def kernels(space: Tensor, clicks: Tensor, view_side: int) -> ClickKernels:
        """Sample the space [B, N, D] bilinearly at clicks [B, n, 3] (y, x, label) and build the kernels."""
        side = round(space.shape[1] ** 0.5)
        grid_map = space.transpose(1, 2).unflatten(2, (side, side))
        at = (clicks[..., :2].float() + 0.5) / view_side * 2 - 1  # (y, x) in -1..1, pixel-area convention
        sampled = F.grid_sample(
            grid_map, at.flip(-1)[:, :, None], mode="bilinear", padding_mode="border", align_corners=False
        )
        vectors = F.normalize(sampled.squeeze(-1).transpose(1, 2), dim=-1)  # [B, n, D]
        positive, negative = clicks[..., 2] == POSITIVE, clicks[..., 2] == NEGATIVE
        return ClickKernels(
            vectors, positive, negative, click_kernel(vectors, positive), click_kernel(vectors, negative)
        )


def disks(clicks: Tensor, label: int, side: int, view_side: int, radius: float = 5.0) -> Tensor:
    """Map [B, 1, side, side] that is 1 within `radius` pixels (of the map) of a click of one sign."""
    at = torch.arange(side, device=clicks.device, dtype=torch.float32)
    points = (clicks[..., :2].float() + 0.5) * (side / view_side) - 0.5
    dy = (at[None, None, :] - points[..., 0, None]) ** 2  # [B, n, side]
    dx = (at[None, None, :] - points[..., 1, None]) ** 2
    far = (clicks[..., 2] != label) * 1e6
    distance = dy[..., :, None] + dx[..., None, :] + far[..., None, None]  # [B, n, side, side]
    return (distance.amin(dim=1, keepdim=True) <= radius**2).float()

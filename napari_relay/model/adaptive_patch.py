"""One patch embedding for several patch sizes: the kernel is resized, the tokens stay comparable.

FlexiViT (Beyer et al., CVPR 2023, arXiv 2212.08013), section on resizing the patch embedding, as MST (arXiv 2401.04403)
uses it for its small and large tokens. Let R (old^2 x new^2) hold in row i the resized i-th basis patch, so that
resize(u) = R' u. The resized kernel is pinv(R) w: for a larger patch <resize(u), w_new> = <u, w> exactly, for a smaller
one in the sense of least squares.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_relay.errors import UsageError
from napari_relay.model.layers import map_of, tokens_of


def resize(x: Tensor, side: int) -> Tensor:
    """Bicubic, antialiased: [B, C, h, w] -> [B, C, side, side]."""
    return F.interpolate(x, size=(side, side), mode="bicubic", antialias=True, align_corners=False)


@lru_cache(maxsize=32)
def resize_matrix(old: int, new: int) -> Tensor:
    """R [old^2, new^2], float64: the resized basis patches, one a row."""
    basis = torch.eye(old * old, dtype=torch.float64).view(old * old, 1, old, old)
    return resize(basis, new).flatten(1)


@lru_cache(maxsize=32)
def inverse_matrix(old: int, new: int) -> Tensor:
    """pinv(R) [new^2, old^2], float64."""
    return torch.linalg.pinv(resize_matrix(old, new))


def resize_kernel(weight: Tensor, size: int) -> Tensor:
    """Convolution kernel [out, in, p, p] for patches of another size; at its own size the kernel itself."""
    old = weight.shape[-1]
    if size == old:
        return weight
    inverse = inverse_matrix(old, size).to(weight.device, weight.dtype)
    return (weight.flatten(2) @ inverse.T).unflatten(2, (size, size))


def resize_positions(table: Tensor, side: int) -> Tensor:
    """Position table [1, n * n, C] of a square grid for a grid of `side` x `side`."""
    old = round(table.shape[1] ** 0.5)
    return table if side == old else tokens_of(resize(map_of(table, old), side))


class AdaptivePatchEmbed(nn.Module):
    """Tokens of any patch size from the convolution of a trained patch embedding (kernel = stride)."""

    def __init__(self, proj: nn.Conv2d) -> None:
        super().__init__()
        if proj.kernel_size != proj.stride or proj.kernel_size[0] != proj.kernel_size[1]:
            raise UsageError(
                f"A patch embedding with kernel {proj.kernel_size} and stride {proj.stride} cannot be resized.",
                "Give one with square patches that do not overlap.",
            )
        self.proj = proj

    @property
    def size(self) -> int:
        """Its own patch size."""
        return int(self.proj.kernel_size[0])

    def forward(self, image: Tensor, size: int | None = None) -> Tensor:
        """[B, 3, H, W] -> tokens [B, H / size * W / size, C]."""
        size = size or self.size
        if image.shape[-2] % size or image.shape[-1] % size:
            raise UsageError(
                f"An image of {image.shape[-2]} x {image.shape[-1]} pixels has no whole patches of {size}.",
                "Resize it, or choose a patch size that divides it.",
            )
        return tokens_of(F.conv2d(image, resize_kernel(self.proj.weight, size), self.proj.bias, stride=size))

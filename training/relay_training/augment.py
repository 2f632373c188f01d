"""How a training view looks: colour, grey, channels, blur, noise, JPEG; drawn once a view, applied to both
crops.

All colour changes are one affine map of RGB and one look-up table a channel, which Pillow applies in a
millisecond.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

LUMA = np.array([0.299, 0.587, 0.114])
PHOTOGRAPHIC = ("photo", "street")
"""Domains with an up and a down and natural colours; the others are turned by 90 degrees and coloured
freely.
"""


@dataclass(frozen=True, slots=True)
class LookLaw:
    """Probabilities a view and ranges of what is drawn.

    colour_p : brightness, contrast, saturation, hue and gamma change at all.
    brightness, contrast, saturation, hue : half widths (share of 255, factor, factor, radians).
    gamma : largest factor of the exponent in photographs; `free_gamma` elsewhere, a channel.
    grey_p : one channel, a random mix of the three, stands for all (microscopes, scanners).
    mix : deviation of the entries of the random colour matrix off photographs; stain_p its probability.
    permute_p, drop_p, invert_p : channels change places, one is empty, dark becomes light; off photographs
    only. blur_p, blur_px : Gaussian blur, up to this deviation in view pixels.
    noise_p, noise : Gaussian noise, up to this deviation of 255.
    jpeg_p, jpeg_quality : recompression, from this quality to 92.
    """

    colour_p: float = 0.75
    brightness: float = 0.2
    contrast: float = 0.3
    saturation: float = 0.4
    hue: float = 0.15
    gamma: float = 1.25
    free_gamma: float = 1.5
    grey_p: float = 0.1
    mix: float = 0.12
    stain_p: float = 0.3
    permute_p: float = 0.1
    drop_p: float = 0.05
    invert_p: float = 0.08
    blur_p: float = 0.15
    blur_px: float = 1.5
    noise_p: float = 0.1
    noise: float = 10.0
    jpeg_p: float = 0.15
    jpeg_quality: int = 40


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What was drawn: the affine map float [3, 4], the table uint8 [768], and what comes after them."""

    matrix: npt.NDArray[np.float64]
    table: npt.NDArray[np.uint8]
    blur: float = 0.0
    noise: float = 0.0
    noise_seed: int = 0
    jpeg: int | None = None


def draw_look(rng: np.random.Generator, domain: str, law: LookLaw | None = None) -> Look:
    """Draw how one view looks. `domain` decides what may change ("photo" and "street" keep natural
    colours).
    """
    law = law or LookLaw()
    free = domain not in PHOTOGRAPHIC
    matrix = np.eye(3, 4)
    exponents = np.ones(3)
    if rng.random() < law.colour_p:
        matrix = _natural(rng, law)
        limit = math.log(law.free_gamma if free else law.gamma)
        exponents = np.exp(rng.uniform(-limit, limit, 3 if free else 1)) * np.ones(3)
    if free:
        matrix = _free(rng, law, matrix)
    if rng.random() < law.grey_p:
        weights = rng.dirichlet(LUMA * 6)
        matrix = np.tile(weights @ matrix, (3, 1))
        exponents[:] = exponents[0]
    ramp = np.arange(256) / 255
    table = np.concatenate([np.rint(255 * ramp**e) for e in exponents]).astype(np.uint8)
    return Look(
        matrix,
        table,
        blur=float(rng.uniform(0.3, law.blur_px)) if rng.random() < law.blur_p else 0.0,
        noise=float(rng.uniform(1.0, law.noise)) if rng.random() < law.noise_p else 0.0,
        noise_seed=int(rng.integers(2**31)),
        jpeg=int(rng.integers(law.jpeg_quality, 93)) if rng.random() < law.jpeg_p else None,
    )


def apply_look(look: Look, image: Image.Image, ratio: float = 1.0) -> Image.Image:
    """The RGB picture with that look; `ratio` is how much coarser its pixels are than the local view's."""
    if not np.array_equal(look.matrix, np.eye(3, 4)):
        image = image.convert("RGB", tuple(look.matrix.ravel().tolist()))
    if not np.array_equal(look.table, np.tile(np.arange(256, dtype=np.uint8), 3)):
        image = image.point(look.table.tolist())
    if look.blur > 0.2 * ratio:
        image = image.filter(ImageFilter.GaussianBlur(look.blur / ratio))
    if look.noise > 0.5 * ratio:
        image = _noisy(image, look.noise / ratio, look.noise_seed)
    if look.jpeg is not None:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=look.jpeg)
        image = Image.open(stream).convert("RGB")
    return image


def _natural(rng: np.random.Generator, law: LookLaw) -> npt.NDArray[np.float64]:
    """Affine map of hue, saturation, contrast and brightness, float [3, 4]."""
    angle = rng.uniform(-law.hue, law.hue)
    factor = 1 + rng.uniform(-law.saturation, law.saturation)
    contrast = 1 + rng.uniform(-law.contrast, law.contrast)
    grey = np.tile(LUMA, (3, 1))
    # A turn about the grey axis (Rodrigues), then a step from or to grey.
    axis = np.full(3, 1 / math.sqrt(3))
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    turn = np.cos(angle) * np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * np.outer(axis, axis)
    linear = contrast * (grey + factor * (turn - grey @ turn))
    offset = 128 * (1 - contrast) + 255 * rng.uniform(-law.brightness, law.brightness)
    return np.column_stack([linear, np.full(3, offset)])


def _free(rng: np.random.Generator, law: LookLaw, matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Changes that only pictures without natural colours bear: stains, channels in other places,
    negatives.
    """
    stain, permute, drop, invert = rng.random(4) < (law.stain_p, law.permute_p, law.drop_p, law.invert_p)
    mixing, order, empty = rng.normal(0, law.mix, (3, 3)), rng.permutation(3), int(rng.integers(3))
    if stain:
        mixing -= mixing.mean(1, keepdims=True)  # keeps grey grey, so that the picture does not leave 0..255
        matrix = (np.eye(3) + mixing) @ matrix
    if permute:
        matrix = matrix[order]
    if drop:
        matrix = matrix.copy()
        matrix[empty] = 0
    if invert:
        matrix = -matrix
        matrix[:, 3] += 255
    return matrix


def _noisy(image: Image.Image, deviation: float, seed: int) -> Image.Image:
    values = np.asarray(image)
    noise = np.random.default_rng(seed).standard_normal(values.shape, dtype=np.float32) * deviation
    return Image.fromarray(np.clip(values + noise + 0.5, 0, 255).astype(np.uint8))

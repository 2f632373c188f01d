"""Training views: a crop of 448 x 448 pixels with its labels, drawn from an index by number.

Half of the views are whole pictures, as the product shows a photo; half are round one object, as it follows a
proposal. A view is a pure function of (index, law, seed, number): workers and restarts do not change it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from napari_relay.geometry import Box
from napari_relay.views import policy
from napari_relay.views.values import LOGIT_SIDE, VIEW_SIDE, View, ViewPair
from relay_training.augment import PHOTOGRAPHIC, Look, LookLaw, apply_look, draw_look
from relay_training.bench_data import read_rgb
from relay_training.index import Index
from relay_training.labels import block_mode, crop_labels
from relay_training.sampler import ObjectLaw, ObjectSampler, SetRule
from relay_training.teach import TaughtView, TeacherCache, view_taught

MEAN_COLOUR = (124, 116, 104)
"""Colour outside the picture: ImageNet's mean, which the encoder sees as 0."""
LEAST_SIDE = 56
"""Finest view in level-0 pixels a side, as in the product."""


@dataclass(frozen=True, slots=True)
class ViewLaw:
    """How views are placed; probabilities a view.

    whole_p : the whole picture.
    low, high : the object's longest side as a share of the view, log-uniform.
    random_p, random_low, random_high : instead, a window at this many view pixels a picture pixel, anywhere
    over the
        middle of the object (random resizing and cropping as RITM).
    cut_p, cut : the view is smaller than the object (share up to `cut`) and holds a part of it.
    global_p : the wider view is read where there is one.
    flip_p : mirrored, and off photographs also turned by 90 degrees and upside down.
    alike, tens : so many consecutive views differ in the picture only, each another one of the same `tens` of its set
        (as in a context set, where such pictures have the same middle).
    """

    whole_p: float = 0.5
    low: float = 0.2
    high: float = 0.9
    random_p: float = 0.0
    random_low: float = 0.75
    random_high: float = 1.4
    cut_p: float = 0.1
    cut: float = 2.0
    global_p: float = 1.0
    flip_p: float = 0.5
    alike: int = 1
    tens: int = 10


@dataclass(frozen=True, slots=True, eq=False)
class TrainingView:
    """A view and all that can be clicked in it.

    image : uint8 [448, 448, 3].
    labels : int32 [448, 448], 0 nothing, 1.. objects, -1 ignore or outside the picture.
    labels_small : int32 [112, 112], the label that covers most of each 4 x 4 block.
    ids, areas : int32 [n], objects visible in `labels`, and their pixels there.
    global_image : uint8 [448, 448, 3], the wider view, or None.
    pair : the views in level-0 pixels of the (perhaps mirrored) picture.
    focus : object that the view was placed for; 0 for a whole picture.
    picture, set, merge, domain : where it comes from, and what holds there.
    taught : what the teacher sees in it, or None.
    """

    image: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int32]
    labels_small: npt.NDArray[np.int32]
    ids: npt.NDArray[np.int32]
    areas: npt.NDArray[np.int32]
    global_image: npt.NDArray[np.uint8] | None
    pair: ViewPair
    focus: int
    picture: int
    set: str
    merge: str
    domain: str
    taught: TaughtView | None = None

    @property
    def geometry(self) -> tuple[float, float, float, float]:
        """`ViewPair.geometry`: (dy, dx, log2 k, log2 scale); zeros but for the scale without a global
        view.
        """
        return self.pair.geometry


class ViewSampler:
    """Draws training views by number. Picklable; holds no open file.

    Parameters
    ----------
    index : what there is.
    rules : set name -> rule.
    seed : views are a function of (seed, number).
    teacher : the teacher's masks of the same pictures; `answers` of them go with a view.
    """

    def __init__(
        self,
        index: Index,
        rules: Mapping[str, SetRule] | None = None,
        *,
        seed: int = 0,
        law: ViewLaw | None = None,
        look: LookLaw | None = None,
        objects: ObjectLaw | None = None,
        teacher: TeacherCache | None = None,
        answers: int = 6,
    ) -> None:
        self.index = index
        self.teacher, self.answers = teacher, answers
        self.objects = ObjectSampler(index, rules, objects)
        self.seed = seed
        self.law = law or ViewLaw()
        self.look = look or LookLaw()

    def view(self, number: int) -> TrainingView:
        """The view of that number."""
        rng = np.random.default_rng((self.seed, number // self.law.alike))
        picture, focus, box = self._choose(rng)
        if self.law.alike > 1:
            picture = self._other(picture, number % self.law.alike)
        rule = self.objects.rule(picture)
        turn = self._draw_turn(rng, rule.domain)
        height, width = (int(v) for v in self.index.shapes[picture])
        turned = turned_shape((height, width), turn)
        if box is None:
            local = policy.whole_view(turned)
        else:
            local = self._place(rng, turned_box(box, (height, width), turn), turned)
        wide = policy.global_view(turned, local) if rng.random() < self.law.global_p else None
        look = draw_look(rng, rule.domain, self.look)

        pixels = Image.fromarray(turn_array(read_rgb(Path(str(self.index.images[picture]))), turn))
        values = turn_array(self.index.read_labels(picture), turn)
        labels = crop_labels(values, local.box.y0, local.box.x0, local.box.height, VIEW_SIDE)
        counts = np.bincount(np.maximum(labels, 0).ravel())
        counts[0] = 0
        ids = np.flatnonzero(counts)
        return TrainingView(
            image=view_image(pixels, local, look),
            labels=labels,
            labels_small=block_mode(labels, VIEW_SIDE // LOGIT_SIDE),
            ids=ids.astype(np.int32),
            areas=counts[ids].astype(np.int32),
            global_image=None if wide is None else view_image(pixels, wide, look, local.box.height),
            pair=ViewPair(local, wide),
            focus=0 if box is None else focus,
            picture=picture,
            set=self.index.set_name(picture),
            merge=rule.merge,
            domain=rule.domain,
            taught=self._taught(number, picture, local, turn),
        )

    def _taught(self, number: int, picture: int, local: View, turn: int) -> TaughtView | None:
        if self.teacher is None:
            return None
        taught = self.teacher.read(self.index.set_name(picture), Path(str(self.index.images[picture])))
        if taught is None:
            return None
        # Its own numbers, so that the view is the same with and without a teacher.
        rng = np.random.default_rng((self.seed, number, 1))
        return view_taught(taught, local, lambda array: turn_array(array, turn), self.answers, rng)

    def _choose(self, rng: np.random.Generator) -> tuple[int, int, Box | None]:
        """Picture, object and the object's box; 0 and None for a whole picture."""
        whole, u = rng.random(2)
        if whole < self.law.whole_p:
            picture = self.objects.draw_picture(u)
            if int(self.index.shapes[picture].max()) <= policy.WHOLE_IMAGE_LIMIT:
                return picture, 0, None
        row = self.objects.draw_object(u)
        y0, x0, y1, x1 = (int(v) for v in self.index.boxes[row])
        return int(self.index.picture[row]), int(self.index.label[row]), Box(y0, x0, y1, x1)

    def _other(self, picture: int, step: int) -> int:
        """Another picture of the same ten of its set; the picture itself for step 0."""
        of_set = np.flatnonzero(self.index.set_of == self.index.set_of[picture])
        ten, place = divmod(picture - int(of_set[0]), self.law.tens)
        same = of_set[ten * self.law.tens : (ten + 1) * self.law.tens]
        return int(same[(place + step) % len(same)])

    def _draw_turn(self, rng: np.random.Generator, domain: str) -> int:
        """One of the eight turns and mirrorings; photographs are only mirrored."""
        mirror, quarter = rng.random() < self.law.flip_p, int(rng.integers(4))
        return (4 if mirror else 0) + (0 if domain in PHOTOGRAPHIC else quarter)

    def _place(self, rng: np.random.Generator, box: Box, shape: tuple[int, int]) -> View:
        """A view round the object at a drawn scale and offset, inside the picture as the product's views
        are.
        """
        law, u = self.law, rng.random(6)
        anywhere = u[0] < law.random_p
        if anywhere:
            share, longest = law.random_low + (law.random_high - law.random_low) * u[2], VIEW_SIDE
        else:
            low, high = (law.high, law.cut) if u[1] < law.cut_p else (law.low, law.high)
            share, longest = low * (high / low) ** u[2], max(box.shape)
        side = 4 * math.ceil(max(LEAST_SIDE, longest / share) / 4)
        if side * 2**0.25 >= max(shape):
            return policy.whole_view(shape)
        corner = []
        for start, extent, limit, where in zip((box.y0, box.x0), box.shape, shape, u[3:5], strict=True):
            if anywhere:
                start, extent = start + extent // 2, 0
            # All of the object (or its middle) is inside, or (cut) all of the view lies on it.
            first = math.floor(start - where * (side - extent))
            # The product's grid lets a view hang over the far border by up to a quarter of its side.
            corner.append(min(max(first, 0), max(0, limit - side + int(side // 4 * u[5]))))
        y0, x0 = corner
        return View(Box(y0, x0, y0 + side, x0 + side))


def view_image(
    pixels: Image.Image, view: View, look: Look | None = None, local_side: int | None = None
) -> npt.NDArray[np.uint8]:
    """A view of an RGB picture, uint8 [side, side, 3]; the mean colour outside the picture, whatever the
    look.

    Bilinear, averaging over what a pixel covers when it shrinks (Pillow's reducing filter), as `views`
    reads crops. `local_side` tells that this is the wider view of a local one with that side: it looks the
    same, only coarser.
    """
    box, step, side = view.box, view.scale, view.side
    spans = []
    for start, limit in ((box.x0, pixels.width), (box.y0, pixels.height)):
        first = max(0, math.ceil(-start / step - 1e-9))
        spans.append((first, max(first + 1, min(side, math.floor((limit - start) / step + 1e-9)))))
    (left, right), (top, bottom) = spans
    window = (
        box.x0 + left * step,
        box.y0 + top * step,
        min(box.x0 + right * step, pixels.width),
        min(box.y0 + bottom * step, pixels.height),
    )
    part = pixels.resize((right - left, bottom - top), Image.Resampling.BILINEAR, box=window)
    if look is not None:
        wide = local_side is not None
        part = apply_look(replace(look, jpeg=None) if wide else look, part, box.height / (local_side or box.height))
    if part.size == (side, side):
        return np.asarray(part)
    # A pixel that the border cuts behind its centre belongs to the picture: it looks like its neighbour.
    known = np.asarray(part)
    known = np.pad(
        known, [_cut_pixels(box.y0, pixels.height, view), _cut_pixels(box.x0, pixels.width, view), (0, 0)], "edge"
    )
    canvas = np.empty((side, side, 3), np.uint8)
    canvas[:] = MEAN_COLOUR
    top -= _cut_pixels(box.y0, pixels.height, view)[0]
    left -= _cut_pixels(box.x0, pixels.width, view)[0]
    canvas[top : top + known.shape[0], left : left + known.shape[1]] = known
    return canvas


def _cut_pixels(start: int, limit: int, view: View) -> tuple[int, int]:
    """How many pixels (0 or 1) before and after the whole ones have their centre in the picture."""
    first, last = -start / view.scale, (limit - start) / view.scale
    before = first > 0 and math.ceil(first - 1e-9) - 0.5 >= first
    after = last < view.side and math.floor(last + 1e-9) + 0.5 < last
    return int(before), int(after)


def turned_shape(shape: tuple[int, int], turn: int) -> tuple[int, int]:
    return (shape[1], shape[0]) if turn % 2 else shape


def turned_box(box: Box, shape: tuple[int, int], turn: int) -> Box:
    """The box in the picture after `turn_array`; `shape` is that before."""
    height, width = shape
    for _ in range(turn % 4):
        box = Box(width - box.x1, box.y0, width - box.x0, box.y1)
        height, width = width, height
    return Box(box.y0, width - box.x1, box.y1, width - box.x0) if turn >= 4 else box


def turn_array(values: npt.NDArray[Any], turn: int) -> npt.NDArray[Any]:
    """[y, x, ...] turned by turn % 4 quarters to the left and then, from 4 on, mirrored."""
    turned = np.rot90(values, turn % 4)
    return np.ascontiguousarray(turned[:, ::-1] if turn >= 4 else turned)

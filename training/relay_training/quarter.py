"""Objects in local views of at most a quarter of their picture's side, where the global view has most to say."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_relay.geometry import Plane
from napari_relay.sources import open_image
from napari_relay.views import Crops, View, ViewClick, default_mix, first_view, measure_stretch, read_crops, view_pair
from napari_relay.views.policy import MIN_STEP, step_side
from napari_relay.views.values import LOGIT_SIDE, VIEW_SIDE
from relay_training.bench_data import ObjectRule, Picture, PictureSet, read_label_map
from relay_training.context_set import read_cores
from relay_training.index import IGNORE, read_labels
from relay_training.labels import block_mode, crop_labels
from relay_training.robot import Robot, mask_box

SHARE = 4
"""A local view is at most this part of the picture's longer side."""
SEEN = 0.95
"""Least share of an object's pixels that its view must show."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class Sample:
    """An object in a small view.

    name : set/picture label. crops : both views. click : the first click, in view pixels.
    truth, ignore : bool [112, 112]. group : equal for samples whose local view and click are the same.
    """

    name: str
    crops: Crops
    click: ViewClick
    truth: Mask
    ignore: Mask
    group: str


def quarter_view(shape: tuple[int, int], centre: tuple[float, float]) -> View | None:
    """The product's largest local view round a place whose side is at most a quarter of the picture's; None in a
    picture so small that there is none."""
    limit = max(shape) / SHARE
    if step_side(MIN_STEP) > limit:
        return None
    step = MIN_STEP
    while step_side(step + 1) <= limit:
        step += 1
    return first_view(shape, centre, step_side(step) / VIEW_SIDE)


def samples(pictures: PictureSet, rule: ObjectRule | None = None) -> Iterator[Sample]:
    """Objects of a set that fit into such a view; the first click is the core of a context set's flower, else the
    robot's."""
    cores = read_cores(pictures.pictures[0].image.parent.parent)
    for picture in pictures.pictures:
        core = None if cores is None else cores[picture.id]
        for label in read_label_map(picture.label).objects(rule):
            found = _sample(pictures.name, picture, label, core)
            if found is not None:
                yield found


def _sample(set_name: str, picture: Picture, label: int, core: tuple[int, int] | None) -> Sample | None:
    values = read_labels(picture.label)
    truth = values == label
    where = core or mask_box(truth).centre
    local = quarter_view(truth.shape, where)
    if local is None:
        return None
    pair = view_pair(truth.shape, local)
    shown = np.count_nonzero(truth[local.box.clip(truth.shape).slices])
    if pair.global_ is None or shown < SEEN * np.count_nonzero(truth):
        return None
    first = Robot(truth, values == IGNORE).next_click(np.zeros_like(truth))
    if first is None:
        return None
    y, x = local.to_view(*(core or (first.y, first.x)))
    seen = crop_labels(values, local.box.y0, local.box.x0, local.box.height, VIEW_SIDE)
    small = block_mode(seen, VIEW_SIDE // LOGIT_SIDE)
    with open_image(picture.image) as source:
        crops = read_crops(source, pair, Plane(), default_mix(source), measure_stretch(source))
    look = hashlib.blake2b(crops.local.tobytes() + repr((y, x)).encode(), digest_size=16).hexdigest()
    return Sample(f"{set_name}/{picture.id} {label}", crops, ViewClick(y, x), small == label, small == IGNORE, look)

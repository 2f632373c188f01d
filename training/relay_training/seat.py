"""A model in front of one view: encoded once, clicked in batches. What `checks` asks its questions through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_relay.geometry import Plane
from napari_relay.model.network import FIRST, LATER, ClickModel, Output, Prepared
from napari_relay.model.pixels import Fine
from napari_relay.predictor.device import Compute
from napari_relay.sources import open_image
from napari_relay.views import Crops, View, default_mix, follow_view, measure_stretch, read_crops, view_pair, whole_view
from napari_relay.views.values import LOGIT_SIDE, VIEW_SIDE, Float32
from relay_training.bench_data import Task
from relay_training.index import IGNORE, read_labels
from relay_training.labels import block_mode, crop_labels
from relay_training.robot import Robot, intersection_over_union, mask_box

CELL = VIEW_SIDE // LOGIT_SIDE
Mask = npt.NDArray[np.bool_]
Clicks = Float32
"""[n, 3]: y, x in view pixels, 1 positive or 0 negative."""


@dataclass(frozen=True, eq=False, slots=True)
class Subject:
    """One object in one view: bool [112, 112] what is the object and what does not count there; `shape` of the
    picture."""

    image: Path
    label_map: Path
    label: int
    crops: Crops
    truth: Mask
    ignore: Mask
    shape: tuple[int, int]

    def whole(self) -> Subject:
        """The same object in a view of the whole picture."""
        return self.moved(whole_view(self.shape))

    def moved(self, view: View) -> Subject:
        """The same object in another view."""
        return _subject(self.image, self.label_map, self.label, view)

    def mirrored(self) -> Subject:
        """Left and right exchanged, in both views."""
        crops = self.crops
        wide = None if crops.global_ is None else np.ascontiguousarray(crops.global_[..., ::-1])
        crops = replace(crops, key="", local=np.ascontiguousarray(crops.local[..., ::-1]), global_=wide)
        return replace(self, crops=crops, truth=self.truth[:, ::-1], ignore=self.ignore[:, ::-1])


def subjects(tasks: Sequence[Task], count: int) -> Iterator[Subject]:
    """`count` objects, evenly from all that are planned, each in the view that follows its mask."""
    objects = [(task, label) for task in tasks for label in task.labels]
    for row in np.unique(np.linspace(0, len(objects) - 1, min(count, len(objects))).astype(int)).tolist():
        task, label = objects[row]
        values = read_labels(task.picture.label)
        shape = (values.shape[0], values.shape[1])
        view = follow_view(shape, whole_view(shape), mask_box(values == label), touches_border=False)
        yield _subject(task.picture.image, task.picture.label, label, view)


def _subject(image: Path, label_map: Path, label: int, view: View) -> Subject:
    values = read_labels(label_map)
    seen = crop_labels(values, view.box.y0, view.box.x0, view.box.height, VIEW_SIDE)
    small = block_mode(seen, CELL)
    with open_image(image) as source:
        pair = view_pair(source.shape, view)
        crops = read_crops(source, pair, Plane(), default_mix(source), measure_stretch(source))
    return Subject(image, label_map, label, crops, small == label, small == IGNORE, source.shape)


@dataclass(frozen=True, eq=False, slots=True)
class Round:
    """Clicks so far, and the logits [112, 112] that they led to."""

    clicks: Clicks
    logits: Float32

    @property
    def mask(self) -> Mask:
        shown: Mask = self.logits > 0
        return shown


class Seat:
    """One model before one subject."""

    def __init__(self, model: ClickModel, compute: Compute, subject: Subject) -> None:
        self.subject, self._model, self._compute = subject, model, compute
        crops = subject.crops
        with torch.inference_mode(), self._autocast():
            local = model.encoder.stem(self._tensor(crops.local)[None])
            seen = crops.global_ is not None and model.encoder.reads_global()
            wide = model.encoder.stem(self._tensor(crops.global_)[None]).f16 if seen else None  # type: ignore[arg-type]
            mirrored = not crops.key  # the global view lies on the other side
            dy, dx, k, scale = crops.pair.geometry
            geometry = self._tensor(np.array([[dy, -dx if mirrored else dx, k, scale]], np.float32))
            self._prepared = model.head.prepare(model.encoder.pair(local, wide, geometry))

    def ask(self, clicks: npt.NDArray[np.floating], previous: Float32 | None, which: slice = LATER) -> Output:
        """One request a row: clicks [B, n, 3], previous logits [112, 112] for all, or [B, 112, 112]."""
        batch = len(clicks)
        known = None
        if previous is not None:
            known = self._tensor(previous).clamp(-32, 32).expand(batch, LOGIT_SIDE, LOGIT_SIDE)[:, None]
        with torch.inference_mode(), self._autocast():
            return self._model.head(_repeated(self._prepared, batch), self._tensor(clicks), known, which=which)

    def first(self, clicks: Clicks) -> Round:
        """What the product shows for a first click: of three masks the one that is predicted to be best."""
        output = self.ask(clicks[None], None, FIRST if len(clicks) == 1 else LATER)
        return Round(clicks, _numpy(output.logits[0, int(output.iou[0].argmax())]))

    def later(self, clicks: Clicks, previous: Float32) -> Round:
        """What it shows for clicks with the logits before."""
        return Round(clicks, _numpy(self.ask(clicks[None], previous).logits[0, 0]))

    def replay(self, clicks: Clicks) -> Round:
        """The given clicks, one after the other."""
        shown = self.first(clicks[:1])
        for n in range(2, len(clicks) + 1):
            shown = self.later(clicks[:n], shown.logits)
        return shown

    def play(self, count: int) -> Round | None:
        """Up to `count` clicks of the robot on the grid of logits; None where it finds nothing to click."""
        robot, shown = Robot(self.subject.truth, self.subject.ignore), None
        for _ in range(count):
            mask = np.zeros_like(self.subject.truth) if shown is None else shown.mask
            click = robot.next_click(mask)
            if click is None or (shown is None and not click.positive):
                break
            row = at_cells(np.array([[click.y, click.x]]), positive=click.positive)
            clicks = row if shown is None else np.concatenate([shown.clicks, row])
            shown = self.first(clicks) if shown is None else self.later(clicks, shown.logits)
        return shown

    def iou(self, shown: Round) -> float:
        return intersection_over_union(shown.mask, self.subject.truth, self.subject.ignore)

    def _tensor(self, values: npt.NDArray[np.floating]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(self._compute.device)

    def _autocast(self) -> torch.autocast:
        dtype = self._compute.dtype
        return torch.autocast(self._compute.device.type, dtype, enabled=dtype != torch.float32)


def at_cells(cells: npt.NDArray[np.integer | np.floating], *, positive: bool) -> Clicks:
    """Clicks [n, 3] at the centres of logit cells [n, 2]."""
    places = np.asarray(cells, np.float32) * CELL + (CELL - 1) / 2
    return np.insert(places, 2, float(positive), axis=1).astype(np.float32)


def _repeated(prepared: Prepared, batch: int) -> Prepared:
    def many(x: Tensor) -> Tensor:
        return x.expand(batch, *x.shape[1:])

    return Prepared(
        many(prepared.base),
        None if prepared.space is None else many(prepared.space),
        None if prepared.scales is None else (many(prepared.scales[0]), many(prepared.scales[1])),
        None if prepared.fine is None else Fine(many(prepared.fine.stride8), many(prepared.fine.stride4)),
    )


def _numpy(logits: Tensor) -> Float32:
    values: Float32 = logits.float().cpu().numpy()
    return values

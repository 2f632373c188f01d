"""How many objects a search for every object finds, before and after some were accepted, and where the others get lost.

    python benchmarks/proposals.py [--accepted 5] [--data FOLDER] [--images NAME ...] [--dtype auto]

The bundled pictures that have masks, or those of a folder (`images/NAME.jpg|png`, `labels/NAME.png`: 0 ground, then
the objects, 255 unknown). In the second arm every so-many-th object is accepted before, and counts no more, but the
search is not taught by them: what it finds of the same objects by itself. In the third it is taught. A proposal is
right where its IoU with an object that has none yet is above 0.5.

What is lost: objects without a click; without a mask of IoU 0.5 among all answers; with one that predicted IoU or
stability throws out; the rest, which the borders, the size or another mask (each object once) has cost.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from scipy import ndimage

from napari_relay.fullimage.candidates import Filters, shared_area, stability
from napari_relay.fullimage.direct import DirectSees
from napari_relay.fullimage.job import LocalPool, find_candidates, write_proposals
from napari_relay.fullimage.jobfile import JobFile
from napari_relay.fullimage.request import Request, plan_work, teach
from napari_relay.fullimage.sees import Mask, Masks
from napari_relay.geometry import Box, Plane
from napari_relay.predictor import load_predictor
from napari_relay.samples import sample_path
from napari_relay.session.fields import Field
from napari_relay.sources import Source, open_image
from napari_relay.store import Project
from napari_relay.views import measure_stretch
from napari_relay.views.values import Crops, Float32
from recording import Figure, argument_parser, parse, print_table, publish, run

BUNDLED = ("coins.png", "nuclei.jpg", "stained_nuclei.jpg")
LEAST_PX, UNKNOWN, RIGHT = 100, 255, 0.5
LOST = ("no click", "no mask", "predicted IoU", "stability", "other")


@dataclass(frozen=True, eq=False, slots=True)
class Truth:
    """An object: its number, box and mask."""

    number: int
    box: Box
    mask: Mask

    def iou(self, box: Box, mask: Mask) -> float:
        shared = shared_area(box, mask, self.box, self.mask)
        return shared / max(1, int(mask.sum()) + int(self.mask.sum()) - shared)


class Watched:
    """A model whose answers are compared with the truth as they come. See `fullimage.Sees`."""

    def __init__(self, sees: DirectSees, shape: tuple[int, int], truth: list[Truth]) -> None:
        self._sees, self._shape, self._truth = sees, shape, truth
        self.clicked: set[int] = set()
        self.best: dict[int, tuple[float, float, float]] = {}
        self.clicks = 0

    @property
    def checkpoint(self) -> str:
        return self._sees.checkpoint

    def look(self, crops: Crops, /) -> Float32:
        return self._sees.look(crops)

    def kernel(self, crops: Crops, clicks: Float32, /) -> Float32:
        return self._sees.kernel(crops, clicks)

    def classify(self, crops: Crops, head: str, /) -> Float32:
        return self._sees.classify(crops, head)

    def ask(self, crops: Crops, clicks: Float32, /) -> Masks:
        masks = self._sees.ask(crops, clicks)
        view = crops.pair.local
        self.clicks += len(clicks)
        for number, (y, x, _) in enumerate(clicks[:, 0]):
            at = view.box.y0 + (y + 0.5) * view.scale - 0.5, view.box.x0 + (x + 0.5) * view.scale - 0.5
            for one in self._truth:
                if one.box.contains(*at) and one.mask[int(at[0]) - one.box.y0, int(at[1]) - one.box.x0]:
                    self.clicked.add(one.number)
                    self._compare(one, view, masks.logits[number], masks.scores[number])
        return masks

    def _compare(self, one: Truth, view: Any, logits: Float32, scores: Float32) -> None:
        for mask, score in zip(logits, scores, strict=True):
            answer = Field(view, mask)
            box = answer.positive_box().clip(self._shape)
            iou = 0.0 if box.empty else one.iou(box, answer.at(box) > 0)
            if iou > self.best.get(one.number, (0.0,))[0]:
                self.best[one.number] = iou, float(score), float(stability(mask))

    def lost_to(self, one: Truth, filters: Filters) -> str:
        """What cost an object that was not found."""
        if one.number not in self.clicked:
            return "no click"
        iou, score, steady = self.best.get(one.number, (0.0, 0.0, 0.0))
        if iou <= RIGHT:
            return "no mask"
        if score <= filters.min_iou:
            return "predicted IoU"
        return "stability" if steady <= filters.min_stability else "other"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one picture: objects to find, found ones, proposals, clicks, seconds, what the others were lost to."""

    objects: int
    found: int
    proposals: int
    clicks: int
    seconds: float
    lost: dict[str, int]


def main() -> None:
    """Measure, print, append."""
    parser = argument_parser(__doc__, "proposals")
    parser.add_argument("--accepted", type=int, default=5, help="objects that are accepted before the second arm")
    parser.add_argument("--data", type=Path, help="folder with images/ and labels/")
    parser.add_argument("--images", nargs="*", help="names of pictures; all")
    parser.add_argument("--dtype", default="auto")
    args: argparse.Namespace = parse(parser)
    torch.set_num_threads(1)
    sees = DirectSees(load_predictor(device="cpu", dtype=args.dtype, threads=1))
    figures, details, rows = [], {}, []
    for image, labels in pictures(args.data, args.images):
        for accepted, taught in ((0, False), (args.accepted, False), (args.accepted, True)):
            out = searched(image, labels, accepted, sees, taught=taught)
            recall, precision = out.found / max(1, out.objects), out.found / max(1, out.proposals)
            arm = f"{accepted} accepted{', taught by them' if taught else ''}"
            lost = ", ".join(f"{name} {out.lost[name]}" for name in LOST if out.lost.get(name))
            rows.append((image.name, arm, f"{recall:.2f}", f"{precision:.2f}", str(out.objects), lost))
            text = f"precision {precision:.2f}, {out.objects} objects, {out.clicks} clicks"
            if args.data is None:
                figures.append(Figure(f"proposals: recall on {image.name}, {arm}", recall, "", None, text))
            details[f"{image.name}, {arm}"] = {
                "recall": recall, "precision": precision, "objects": out.objects, "proposals": out.proposals,
                "clicks": out.clicks, "seconds": round(out.seconds, 1), "lost": out.lost,
            }  # fmt: skip
            print_table(("picture", "arm", "recall", "precision", "objects", "lost to"), rows[-1:])
    publish(args, figures, details)


def pictures(folder: Path | None, names: list[str] | None) -> Iterator[tuple[Path, Path]]:
    """Image and label map of each picture."""
    if folder is None:
        for name in BUNDLED:
            if not names or name in names:
                yield sample_path(name), sample_path(f"{name.partition('.')[0]}_labels.png")
        return
    for image in sorted((folder / "images").iterdir()):
        if not names or image.stem in names:
            yield image, folder / "labels" / f"{image.stem}.png"


def searched(image: Path, labels: Path, accepted: int, sees: DirectSees, *, taught: bool) -> Outcome:
    """Search one picture with so many of its objects accepted."""
    with tempfile.TemporaryDirectory() as scratch, open_image(image) as source:
        truth = truth_of(np.asarray(Image.open(labels)))
        first = truth[:: max(1, len(truth) // accepted)][:accepted] if accepted else []
        wanted = [one for one in truth if one not in first]
        watched = Watched(sees, source.shape, wanted)
        place = Path(scratch) / "a.relay"
        with Project.open(place, fingerprint=source.fingerprint, shape=source.shape) as project:
            for one in first:
                project.accept(one.box, one.mask)
            return _searched(source, project, wanted, watched, Path(scratch), taught=taught)


def _searched(
    source: Source, project: Project, wanted: list[Truth], watched: Watched, scratch: Path, *, taught: bool
) -> Outcome:
    request, start = Request(), time.perf_counter()
    work = plan_work(source, project, lambda: measure_stretch(source), request)
    if taught:
        work = teach(source, project, request, work, watched)
    whole = Box(0, 0, *source.shape)
    with JobFile(scratch / "job") as job:
        steps = find_candidates(job, work, LocalPool(work, source, watched), whole)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                candidates = end.value[0]
                break
        ids, _ = write_proposals(
            project, candidates, class_name=None, plane=Plane(), checkpoint=watched.checkpoint, summary="all"
        )
    seconds, found = time.perf_counter() - start, set()
    for stored in project.rows(ids):
        best = max(wanted, key=lambda one: one.iou(stored.box, stored.mask), default=None)
        if best is not None and best.number not in found and best.iou(stored.box, stored.mask) > RIGHT:
            found.add(best.number)
    lost = Counter(watched.lost_to(one, work.filters) for one in wanted if one.number not in found)
    return Outcome(len(wanted), len(found), len(ids), watched.clicks, seconds, dict(lost))


def truth_of(labels: npt.NDArray[Any]) -> list[Truth]:
    """The objects of a label map, but for tiny ones."""
    labels = np.where(labels == UNKNOWN, 0, labels).astype(np.int64) if labels.dtype == np.uint8 else labels
    found = []
    for number, place in enumerate(ndimage.find_objects(labels.astype(np.int64)), 1):
        if place is not None and (mask := labels[place] == number).sum() >= LEAST_PX:
            found.append(Truth(number, Box(place[0].start, place[1].start, place[0].stop, place[1].stop), mask))
    return found


if __name__ == "__main__":
    run(main)

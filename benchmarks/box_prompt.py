"""What a box is worth as a prompt: its mask against the truth, with and without negative clicks outside its sides.

    python benchmarks/box_prompt.py --data BENCH [--quick benchmarks/quick.txt]

The network knows clicks and masks, no boxes, so a box becomes a click in its middle, and what the mask has outside it
is taken away. Measured is the mean IoU of that mask for objects of the quick list, the box being the object's own: as
above, with one more negative click outside each side, and without the cut.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from napari_relay.errors import UsageError
from napari_relay.geometry import Box, Click
from napari_relay.predictor import load_predictor
from napari_relay.session import ClickSession
from napari_relay.session.drawing import BOX_FIELD
from napari_relay.sources import open_image
from napari_relay.views.values import VIEW_SIDE
from recording import Figure, argument_parser, parse, publish, run
from relay_training.bench_data import ObjectRule, find_sets, plan_tasks, read_label_map, read_quick_list
from relay_training.metrics import Mask
from relay_training.product import DirectPredicts, KeepsNothing
from relay_training.robot import intersection_over_union, mask_box

MARGIN = 0.06
"""How far outside a box a negative click stands, over its shorter side."""
CUT, NEGATIVE, PLAIN = "middle, cut", "middle and four negatives, cut", "middle alone"


def main() -> None:
    """Measure, print, append."""
    parser = argument_parser(__doc__, "box_prompt")
    folder = os.environ.get("NAPARI_RELAY_DATA")
    parser.add_argument("--data", type=Path, default=Path(folder) / "bench" if folder else None,
                        help="folder of sets (default: bench in the folder that NAPARI_RELAY_DATA names)")  # fmt: skip
    parser.add_argument("--quick", type=Path, default=Path(__file__).parent / "quick.txt", help="the objects")
    parser.add_argument("--per-set", type=int, default=20, help="at most so many objects of one set")
    parser.add_argument("--checkpoint", default=None)
    parser.add_argument("--threads", type=int, default=1)
    args: argparse.Namespace = parse(parser)
    if args.data is None or not args.data.is_dir():
        raise UsageError("There are no pictures to measure on.", "Give --data BENCH.")
    predictor = load_predictor(args.checkpoint, threads=args.threads)
    found = list(measured(args.data, args.quick, args.per_set, DirectPredicts(predictor)))
    if not found:
        raise UsageError(f"No object of {args.quick} is in {args.data}.", "Give the sets of the list.")
    figures = []
    for way in (CUT, NEGATIVE, PLAIN):
        values = np.array([row[way] for row in found])
        error = values.std() / np.sqrt(len(values))
        text = f"{len(values)} objects, standard error {error:.3f}, median {np.median(values):.3f}"
        figures.append(Figure(f"box prompt, {way}", float(values.mean()), "IoU", text=text))
    details = {"checkpoint": predictor.card.name, "head_hash": predictor.head_hash, "objects": found}
    publish(args, figures, details)


def measured(data: Path, quick: Path, per_set: int, predicts: DirectPredicts) -> Iterator[dict[str, float | str]]:
    """IoU of each way, of one object after the other."""
    listed = read_quick_list(quick)
    for pictures in find_sets(data):
        left = per_set
        for task in plan_tasks(pictures, ObjectRule(), listed):
            labels = read_label_map(task.picture.label)
            with open_image(task.picture.image) as source:
                for label in task.labels[:left]:
                    left -= 1
                    truth = labels.values == label
                    box = mask_box(truth)
                    if min(box.shape) < 2:
                        continue
                    ious = {
                        way: intersection_over_union(prompted(source, predicts, box, way), truth, labels.ignore)
                        for way in (CUT, NEGATIVE, PLAIN)
                    }
                    yield {"picture": f"{pictures.name}/{task.picture.id}", **{w: round(v, 4) for w, v in ious.items()}}
        print(f"{pictures.name}: {per_set - left} objects", file=sys.stderr)


def prompted(source: object, predicts: DirectPredicts, box: Box, way: str) -> Mask:
    """The mask of a box, bool [y, x] over the picture."""
    session = ClickSession(source, predicts, KeepsNothing())  # type: ignore[arg-type]
    session.prepare()
    shape = session.source.shape
    clicks = [Click(*box.centre), *(outside(box, shape) if way == NEGATIVE else [])]
    within = None if way == PLAIN else box
    session.add_clicks(clicks, BOX_FIELD * max(box.shape) / VIEW_SIDE, within=within)
    proposal = session.compute()
    mask = np.zeros(shape, bool)
    if proposal is not None:
        mask[proposal.box.slices] = proposal.mask
    return mask


def outside(box: Box, shape: tuple[int, int]) -> list[Click]:
    """A negative click outside each side of a box that is not the picture's border."""
    y, x = box.centre
    margin = max(1.0, MARGIN * min(box.shape))
    places = [(box.y0 - margin, x), (box.y1 - 1 + margin, x), (y, box.x0 - margin), (y, box.x1 - 1 + margin)]
    return [Click(a, b, False) for a, b in places if 0 <= a <= shape[0] - 1 and 0 <= b <= shape[1] - 1]


if __name__ == "__main__":
    run(main)

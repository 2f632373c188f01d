"""Borders of large objects before and after they are predicted again at native resolution (`session.refine`).

    python benchmarks/edges.py --data BENCH [--objects 20] [--clicks 3]

The largest pictures of the sets are taken, and in them the objects whose mask after some clicks of the robot comes
from a view coarser than the picture; other masks are native already. IoU, and boundary IoU (Cheng et al., CVPR 2021)
with bands of 2 % of the picture's diagonal, as published, and of 0.5 %, where half a view pixel counts. The clicks are
the same before and after: refining takes none.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from napari_relay.errors import UsageError
from napari_relay.predictor import load_predictor
from napari_relay.session import ClickSession, Proposal
from napari_relay.sources import open_image
from napari_relay.views import VIEW_SIDE
from napari_relay.views.policy import EXPANSION
from recording import Figure, argument_parser, parse, publish, run
from relay_training.bench_data import LabelMap, ObjectRule, Picture, find_sets, read_label_map
from relay_training.metrics import Mask, boundary_iou, boundary_width
from relay_training.product import DirectPredicts, KeepsNothing
from relay_training.robot import Robot, intersection_over_union, mask_box

SHARES = {"2 %": 0.02, "0.5 %": 0.005}
"""Widths of the bands as shares of the picture's diagonal."""
METRICS = ("IoU", *(f"boundary IoU, {share}" for share in SHARES))


@dataclass(frozen=True, slots=True)
class Edge:
    """One object: its picture and scale, its numbers before and after, and the seconds that refining took."""

    picture: str
    label: int
    scale: float
    before: dict[str, float]
    after: dict[str, float]
    tiles: int
    seconds: float


def main() -> None:
    """Measure, print, append."""
    parser = argument_parser(__doc__, "edges")
    folder = os.environ.get("NAPARI_RELAY_DATA")
    parser.add_argument("--data", type=Path, default=Path(folder) / "bench" if folder else None,
                        help="folder of sets (default: bench in the folder that NAPARI_RELAY_DATA names)")  # fmt: skip
    parser.add_argument("--objects", type=int, default=20, help="so many objects with a coarse mask")
    parser.add_argument("--per-set", type=int, default=5, help="at most so many of them from one set")
    parser.add_argument("--clicks", type=int, default=3, help="clicks of the robot")
    parser.add_argument("--checkpoint", default=None)
    parser.add_argument("--threads", type=int, default=1)
    args: argparse.Namespace = parse(parser)
    if args.data is None:
        raise UsageError("There are no pictures to measure on.", "Give --data BENCH.")
    predictor = load_predictor(args.checkpoint, threads=args.threads)
    edges = list(measured(args.data, DirectPredicts(predictor), args.objects, args.per_set, args.clicks))
    if not edges:
        raise UsageError(f"No mask in {args.data} is coarser than its picture.", "Give larger pictures.")
    details = {
        "checkpoint": predictor.card.name,
        "head_hash": predictor.head_hash,
        "clicks": args.clicks,
        "objects": [asdict(edge) for edge in edges],
    }
    publish(args, figures(edges), details, f"{len(edges)} objects of {len({e.picture for e in edges})} pictures.")


def figures(edges: list[Edge]) -> list[Figure]:
    """Mean gains, and how many objects gained."""
    found = []
    for name in METRICS:
        before = np.array([edge.before[name] for edge in edges])
        after = np.array([edge.after[name] for edge in edges])
        better, worse = int((after > before).sum()), int((after < before).sum())
        text = f"{before.mean():.3f} to {after.mean():.3f}; {better} better, {worse} worse of {len(edges)}"
        found.append(Figure(f"edges, gain of {name}", float((after - before).mean()), text=text))
    seconds = [edge.seconds for edge in edges]
    text = f"{np.mean([edge.tiles for edge in edges]):.0f} tiles"
    found.append(Figure("edges, time an object", float(np.mean(seconds)), "s", text=text))
    return found


def measured(data: Path, predicts: DirectPredicts, count: int, per_set: int, clicks: int) -> Iterator[Edge]:
    """Objects with a coarse mask, from the largest pictures on."""
    left, taken = count, dict[str, int]()
    for name, picture in largest(data):
        if left == 0:
            return
        if taken.get(name, 0) >= per_set:
            continue
        labels = read_label_map(picture.label)
        for label in labels.objects(ObjectRule(per_picture=1)):
            if EXPANSION * max(mask_box(labels.values == label).shape) <= VIEW_SIDE:
                continue  # the view that follows its mask is as fine as the picture
            edge = refined(f"{name}/{picture.id}", picture, labels, label, predicts, clicks)
            if edge is not None:
                taken[name] = taken.get(name, 0) + 1
                left -= 1
                yield edge


def largest(data: Path) -> list[tuple[str, Picture]]:
    """(set, picture) of all sets, the most pixels first."""
    pictures = [(found.name, picture) for found in find_sets(data) for picture in found.pictures]
    return sorted(pictures, key=lambda pair: -pixels(pair[1]))


def pixels(picture: Picture) -> int:
    """Number of a picture's pixels, from its header."""
    with Image.open(picture.image) as file:
        return file.width * file.height


def refined(
    name: str, picture: Picture, labels: LabelMap, label: int, predicts: DirectPredicts, clicks: int
) -> Edge | None:
    """Click an object, refine it, compare; None where the mask is native or empty."""
    truth, ignore = labels.values == label, labels.ignore
    with open_image(picture.image) as source:
        session = ClickSession(source, predicts, KeepsNothing())
        session.prepare()
        robot, shown = Robot(truth, ignore), np.zeros_like(truth)
        for _ in range(clicks):
            click = robot.next_click(shown)
            if click is None:
                break
            shown = whole(session.click(click.y, click.x, positive=click.positive), truth.shape)
        proposal = session.proposal
        if proposal is None or proposal.native or proposal.empty:
            return None
        begun, tiles = time.perf_counter(), 0
        steps = session.refine()
        while True:
            try:
                tiles = max(tiles, next(steps).total)
            except StopIteration as stop:
                fine: Proposal = stop.value
                break
        seconds = time.perf_counter() - begun
    before, after = (numbers(mask, truth, ignore) for mask in (shown, whole(fine, truth.shape)))
    return Edge(name, label, round(proposal.views.local.scale, 3), before, after, tiles, round(seconds, 2))


def whole(proposal: Proposal, shape: tuple[int, ...]) -> Mask:
    """The mask of a proposal in its picture."""
    mask = np.zeros(shape, bool)
    mask[proposal.box.slices] = proposal.mask
    return mask


def numbers(mask: Mask, truth: Mask, ignore: Mask) -> dict[str, float]:
    """IoU and boundary IoUs, by name."""
    shape = (truth.shape[0], truth.shape[1])
    values = [intersection_over_union(mask, truth, ignore)]
    values += [boundary_iou(mask, truth, boundary_width(shape, share), ignore) for share in SHARES.values()]
    return {name: round(value, 4) for name, value in zip(METRICS, values, strict=True)}


if __name__ == "__main__":
    run(main)

"""Clicks saved by learning: the robot plays the user on copies of bench sets, learns, and measures.

    .venv/bin/python benchmarks/learn.py --data BENCH --work FOLDER --seeds 3 --json benchmarks/results/learn.json

Of each set the pictures of the first half (by name) teach: the robot clicks 50 objects of them in projects of their
own, as a person would, draws by hand what it cannot get by clicks, and accepts. `relay_training finetune` learns from
these projects, from the bundled checkpoint each time. The pictures of the second half measure: clicks to an IoU of
85 % before and after. Without the folder of the sets the script says so and ends.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_relay.engine import InProcessEngine
from napari_relay.geometry import Box
from napari_relay.workspace import open_workspace
from napari_relay.workspace.opening import SERVICE
from relay_training.bench_data import ObjectRule, Picture, PictureSet, read_label_map
from relay_training.robot import Robot, intersection_over_union, mask_box

SETS = ("nuclei_a", "phase_a", "aerial_a")
DRAWN_BELOW = 0.8
"""An object whose mask is no better after 20 clicks is drawn by hand (its true mask, without clicks)."""
CONTENT = 0.95


@dataclass(frozen=True, slots=True)
class Wanted:
    """Objects of one picture that teach."""

    picture: Picture
    labels: tuple[int, ...]


def halves(pictures: PictureSet) -> tuple[tuple[Picture, ...], tuple[Picture, ...]]:
    """Pictures that teach and pictures that measure, by name."""
    middle = len(pictures.pictures) // 2
    return pictures.pictures[:middle], pictures.pictures[middle:]


def choose(pictures: Sequence[Picture], count: int, seed: int) -> list[Wanted]:
    """`count` objects of at least 100 pixels, drawn evenly over the pictures."""
    rng = np.random.default_rng(seed)
    rule = ObjectRule(per_picture=1_000_000)
    queues = {p: list(rng.permutation(read_label_map(p.label).objects(rule))) for p in pictures}
    chosen: dict[Picture, list[int]] = {p: [] for p in pictures}
    while sum(map(len, chosen.values())) < count and any(queues.values()):
        for index in rng.permutation(len(pictures)):
            picture = pictures[index]
            if queues[picture] and sum(map(len, chosen.values())) < count:
                chosen[picture].append(int(queues[picture].pop()))
    return [Wanted(p, tuple(labels)) for p, labels in chosen.items() if labels]


def annotate(wanted: Wanted, folder: Path, engine: InProcessEngine) -> Path:
    """Click and accept objects in a project of a copy of the picture; returns the copy."""
    folder.mkdir(parents=True, exist_ok=True)
    image = folder / wanted.picture.image.name
    if (folder / f"{image.name}.done").exists():
        return image
    for old in folder.glob(f"{image.name}*"):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    shutil.copyfile(wanted.picture.image, image)
    labels = read_label_map(wanted.picture.label)
    with open_workspace(image, engine=engine) as workspace:
        for label in wanted.labels:
            truth = (labels.values == label) & ~labels.ignore
            session, robot, shown, iou = workspace.session(), Robot(truth, labels.ignore), np.zeros_like(truth), 0.0
            for _ in range(20):
                click = robot.next_click(shown)
                if click is None:
                    break
                proposal = session.click(click.y, click.x, positive=click.positive)
                shown[:] = False
                shown[proposal.box.slices] = proposal.mask
                iou = intersection_over_union(shown, truth, labels.ignore)
                if iou >= CONTENT:
                    break
            if iou >= DRAWN_BELOW:
                session.accept("object")
            else:
                session.reset()
                box: Box = mask_box(truth)
                workspace.project.accept(box, truth[box.slices], class_name="object", overlap="allow")
    (folder / f"{image.name}.done").touch()
    return image


def teach(pictures: PictureSet, work: Path, count: int, seed: int, threads: int) -> list[Path]:
    """Projects of the teaching half, annotated by the robot with the bundled checkpoint."""
    folder = work / pictures.name / f"seed{seed}"
    with InProcessEngine(SERVICE, threads=threads) as engine:
        return [annotate(wanted, folder, engine) for wanted in choose(halves(pictures)[0], count, seed)]

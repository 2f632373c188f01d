"""Clicks saved by learning: the robot plays the user on copies of bench sets, learns, and measures.

    python benchmarks/learn.py --data BENCH --work FOLDER --seeds 3

Of each set the pictures of the first half (by name) teach: the robot clicks 50 objects of them in projects of their
own, as a person would, draws by hand what it cannot get by clicks, and accepts. `relay_training finetune` learns from
these projects, from the bundled checkpoint each time. The pictures of the second half measure: clicks to an IoU of
85 % before and after. Everything that was learned or played is kept in the work folder, so that the script resumes.
Without the folder of the sets it says so and ends.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_relay.engine import InProcessEngine
from napari_relay.geometry import Box
from napari_relay.learn import JobFolder, LearnJob, Material
from napari_relay.model.checkpoint import content_hash, default_checkpoint, load_state, read_card
from napari_relay.predictor import load_predictor
from napari_relay.session import ClickSession
from napari_relay.sources import Source
from napari_relay.workspace import open_workspace
from napari_relay.workspace.opening import SERVICE
from recording import Figure, argument_parser, parse, publish, run
from relay_training.bench_data import ObjectRule, Picture, PictureSet, Task, find_sets, read_label_map
from relay_training.contest import Limits, play_task
from relay_training.finetune.judge import difference
from relay_training.finetune.run import run_job
from relay_training.metrics import ObjectRun, clicks_to_reach
from relay_training.product import DirectPredicts, KeepsNothing, SessionContender
from relay_training.robot import Robot, intersection_over_union, mask_box

SETS = ("nuclei_a", "phase_a", "aerial_a")
DRAWN_BELOW = 0.8
"""An object whose mask is no better after 20 clicks is drawn by hand (its true mask, without clicks)."""
CONTENT = 0.95
BAR = 0.8
"""Clicks after per click before."""
RESAMPLES = 2000


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


def job_of(images: Sequence[Path], arguments: argparse.Namespace, seed: int) -> LearnJob:
    """The job that learns from the projects of copies, from the bundled checkpoint."""
    materials = tuple(Material(image.with_name(f"{image.name}.relay"), str(image)) for image in images)
    recipe = dict(word.split("=", 1) for word in arguments.recipe)
    return LearnJob(materials, minutes=arguments.minutes, threads=arguments.threads, seed=seed, recipe=recipe)


def learned(pictures: PictureSet, arguments: argparse.Namespace, seed: int) -> tuple[dict[str, Any], Path]:
    """Learn from the teaching half; the job's result and its checkpoint (better or not)."""
    images = teach(pictures, arguments.work, arguments.objects, seed, arguments.threads)
    done = arguments.work / f"{pictures.name}-{seed}-{arguments.tag}.json"
    if done.exists():
        kept = json.loads(done.read_text())
        return kept["result"], Path(kept["checkpoint"])
    folder = JobFolder.make(job_of(images, arguments, seed))
    run_job(folder)
    result = folder.read("result.json")
    assert result is not None
    checkpoint = folder.path / result["checkpoints"]["all"]
    done.write_text(json.dumps({"result": result, "checkpoint": str(checkpoint)}))
    return result, checkpoint


def measure(pictures: PictureSet, checkpoint: Path | None, arguments: argparse.Namespace) -> list[ObjectRun]:
    """The robot on the measuring half with the bundled checkpoint, or a learned one and the size in its card."""
    predictor = load_predictor(checkpoint, device="cpu", threads=arguments.threads)
    object_px = predictor.card.metrics.get("object_px") if arguments.size else None
    predicts, runs = DirectPredicts(predictor), []

    def session(source: Source) -> ClickSession:
        made = ClickSession(source, predicts, KeepsNothing(), object_px=lambda: object_px)
        made.prepare()
        return made

    contender = SessionContender("relay", session)
    rule = ObjectRule(per_picture=arguments.per_picture)
    for picture in halves(pictures)[1]:
        task = Task(picture, tuple(read_label_map(picture.label).objects(rule)))
        runs += [played.run for played in play_task(task, [contender], Limits(stop_iou=0.9))]
    return runs


def kept_runs(path: Path, play: Callable[[], list[ObjectRun]]) -> list[ObjectRun]:
    """What was played and kept in a file, else played now and kept."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([asdict(run) for run in play()]))
    return [ObjectRun(**{**run, "ious": tuple(run["ious"])}) for run in json.loads(path.read_text())]


def clicks(runs: Sequence[ObjectRun], target: float) -> list[int]:
    return [clicks_to_reach(run.ious, target) for run in runs]


def row_of(before: Sequence[ObjectRun], after: Sequence[ObjectRun], result: dict[str, Any]) -> dict[str, Any]:
    """Numbers of one set and seed."""
    numbers = {
        f"noc{percent}": asdict(difference(clicks(before, percent / 100), clicks(after, percent / 100)))
        for percent in (85, 90)
    }
    numbers["miou1"] = asdict(difference([run.ious[0] for run in before], [run.ious[0] for run in after]))
    return {
        "objects": len(before), **numbers, "reduction": 1 - numbers["noc85"]["after"] / numbers["noc85"]["before"],
        "job": {key: result[key] for key in ("better", "reason", "seconds", "objects")},
        "plan": result["heads"]["click"]["plan"],
    }  # fmt: skip


def mean_ratio(pairs: Sequence[tuple[list[int], list[int]]]) -> tuple[float, float, float]:
    """Clicks after per click before, the mean over the runs, and its middle 90 % over draws of objects."""
    rng, draws = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        ratios = []
        for before, after in pairs:
            drawn = rng.integers(0, len(before), len(before))
            ratios.append(np.asarray(after)[drawn].sum() / np.asarray(before)[drawn].sum())
        draws.append(np.mean(ratios))
    mean = float(np.mean([sum(after) / sum(before) for before, after in pairs]))
    low, high = np.quantile(draws, (0.05, 0.95))
    return mean, float(low), float(high)


def figure(key: str, pairs: Sequence[tuple[list[int], list[int]]]) -> Figure:
    ratio, low, high = mean_ratio(pairs)
    sure = f"90 % sure: {1 - high:.0%} to {1 - low:.0%}"
    return Figure(f"learn: {key}", ratio, "x", BAR, f"{1 - ratio:.0%} saved ({sure}), {len(pairs)} runs")


def main() -> None:
    """Learn, measure, print, append."""
    parser = argument_parser(__doc__, "learn")
    parser.add_argument("--data", type=Path, required=True, help="folder of the bench sets")
    parser.add_argument("--work", type=Path, required=True, help="folder of the copies and jobs; kept, resumes")
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--objects", type=int, default=50, help="objects that teach")
    parser.add_argument("--per-picture", type=int, default=5, help="objects measured in each picture")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--recipe", nargs="*", default=[], metavar="NAME=VALUE")
    parser.add_argument("--no-size", dest="size", action="store_false", help="leave the learned size out")
    parser.add_argument("--tag", default="default", help="names this recipe's results in the work folder")
    arguments = parse(parser)
    missing = [name for name in arguments.sets if not (arguments.data / name / "images").is_dir()]
    if missing:
        sys.exit(f"Skipped: {arguments.data} has no {', '.join(missing)} (images/ and labels/).")
    rows: dict[str, dict[str, Any]] = {}
    pairs: dict[str, list[tuple[list[int], list[int]]]] = {}
    base = content_hash(load_state(read_card(default_checkpoint())))[:8]
    for seed in range(arguments.seeds):  # each set once, then each again: what there is after an hour says something
        for pictures in find_sets(arguments.data, arguments.sets):
            name, tail = pictures.name, f"{arguments.per_picture}.json"
            before = kept_runs(
                arguments.work / f"{name}-before-{base}-{tail}", lambda p=pictures: measure(p, None, arguments)
            )
            result, checkpoint = learned(pictures, arguments, seed)
            after = kept_runs(
                arguments.work / f"{name}-{seed}-{arguments.tag}-after-{tail}",
                lambda p=pictures, c=checkpoint: measure(p, c, arguments),
            )
            pairs.setdefault(name, []).append((clicks(before, 0.85), clicks(after, 0.85)))
            rows[f"{name}, seed {seed}"] = row_of(before, after, result)
            print(name, seed, json.dumps(rows[f"{name}, seed {seed}"]), flush=True)
    figures = [figure(name, found) for name, found in pairs.items()]
    figures.append(figure("all sets", [pair for found in pairs.values() for pair in found]))
    settings = {key: value for key, value in vars(arguments).items() if isinstance(value, int | float | list | str)}
    publish(arguments, figures, {"settings": settings, "checkpoint": base, "runs": rows})


if __name__ == "__main__":
    run(main)

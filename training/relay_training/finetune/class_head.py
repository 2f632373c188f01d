"""The class head in a learning job: learned from each project's own classes, judged and promoted by itself.

    <job>/class-0.safetensors     the head of the first project, where it is surely better
    <job>/class-0.json            what was measured, so that a job that goes on does not learn it again

It leaves the network as it is: no click gets other answers for it.
"""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from safetensors import safe_open

from napari_relay.errors import CheckpointError, UsageError
from napari_relay.fullimage.plan import step_for
from napari_relay.fullimage.request import class_head_path
from napari_relay.learn.job import LearnJob
from napari_relay.model.class_card import BACKGROUND, read_class_card
from napari_relay.store import ObjectFilter, Project
from relay_training.class_head import ClassReport, train_class_head
from relay_training.class_head_material import SHOWN, ClassLesson
from relay_training.finetune.context import Context, HeadResult
from relay_training.finetune.material import OpenMaterial

NAME = "class"
STEPS, VIEWS = 60, 24
"""In a job of five minutes: about a sixth of its time on two cores. Longer jobs take more steps."""
LEAST_STEPS, MOST_STEPS = 40, 240
MOST_ASKED = 500
"""Objects whose sizes tell the scale."""


def wanted(job: LearnJob, materials: Sequence[OpenMaterial]) -> bool:
    """Whether a job trains the class head: it was not told not to, and a project has something to tell apart.

    Not where the job, or the checkpoint in use, has another encoder than the start: a class head reads the features of
    one encoder.
    """
    one_encoder = not job.deep and not (job.current is not None and has_encoder(Path(job.current)))
    return job.classes and one_encoder and any(has_classes(material) for material in materials)


def has_encoder(checkpoint: Path) -> bool:
    """Whether a learned checkpoint changes the encoder."""
    with safe_open(checkpoint, "numpy") as file:
        return any(name.startswith("encoder.") for name in file.keys())  # noqa: SIM118 (no mapping)


def has_classes(material: OpenMaterial) -> bool:
    """Whether a project has objects of two classes, or painted background beside those of one."""
    used = {name for (name, state), count in material.project.totals().items() if count and state in SHOWN}
    return len(used | {BACKGROUND}) >= 3 or (BACKGROUND in used and len(used) >= 2)


def run(context: Context) -> HeadResult:
    """Learn the classes of each project that has some; see `heads`."""
    found = [
        _learned(context, number, material)
        for number, material in enumerate(context.materials)
        if has_classes(material)
    ]
    reasons = [f"Classes: {one['reason']}" for one in found]
    first = found[0] if found else {}
    metrics: dict[str, Any] = {"projects": found}
    metrics.update({key: first[key] for key in ("accuracy", "objects") if key in first})
    return HeadResult(NAME, any(one["better"] for one in found), " ".join(reasons), metrics, {}, apart=True)


def _learned(context: Context, number: int, material: OpenMaterial) -> dict[str, Any]:
    """What came of one project, JSON values."""
    folder = context.folder
    kept = folder.read(f"{NAME}-{number}.json")
    if kept is not None:
        return kept
    place = folder.path / f"{NAME}-{number}.safetensors"
    before = class_head_path(material.project.path)
    place.unlink(missing_ok=True)
    if before.exists():
        shutil.copyfile(before, place)  # what the new one must beat
    try:
        report = _train(context, number, place, _lesson(context, material, before))
    except UsageError as error:
        place.unlink(missing_ok=True)
        return {"project": str(material.project.path), "better": False, "reason": str(error), "file": None}
    better = report.better and report.accuracy is not None  # what nobody could measure is not promoted unasked
    if not better:
        place.unlink(missing_ok=True)
    values: dict[str, Any] = {
        "project": str(material.project.path), "better": better, "reason": report.reason,
        "file": place.name if better else None, "names": list(report.names), "taught": report.taught,
        "objects": report.measured,
    }  # fmt: skip
    if report.accuracy is not None:
        was = report.chance if report.before is None else report.before
        values["accuracy"] = {"before": was, "after": report.accuracy, "low": report.low, "high": report.high}
    folder.write(f"{NAME}-{number}.json", values)
    return values


def _train(context: Context, number: int, place: Path, lesson: ClassLesson) -> ClassReport:
    material, control = context.materials[number], context.control
    with ExitStack() as opened:
        truth = None
        if context.job.truth:
            truth = opened.enter_context(Project.open(context.job.truth[number], create=False, read_only=True))
        learning = train_class_head(
            material.project, material.source, place, predictor=context.predictor, lesson=lesson, truth=truth
        )
        while True:
            control.check()
            try:
                at = next(learning)
            except StopIteration as end:
                report: ClassReport = end.value
                return report
            control.tell("learning", at.done, at.total, "classes")


def _lesson(context: Context, material: OpenMaterial, before: Path) -> ClassLesson:
    """Scale of the head that is there, else of the objects, never finer than the image; the plane of most of them."""
    project = material.project
    ids = project.find(ObjectFilter(states=SHOWN))[:MOST_ASKED]
    objects = [stored for stored in project.rows([int(i) for i in ids]) if stored.class_name != BACKGROUND]
    plane = Counter(stored.plane for stored in objects).most_common(1)[0][0]
    try:
        step = read_class_card(before).step
    except CheckpointError:
        fitting = step_for([max(stored.box.shape) for stored in objects], material.source.shape)
        step = max(0, 2 * math.floor(fitting / 2))  # whole numbers of pixels only
    steps = max(LEAST_STEPS, min(round(STEPS * context.job.minutes / 5), MOST_STEPS))
    return ClassLesson(step=step, views=VIEWS, steps=steps, seed=context.job.seed, plane=plane)

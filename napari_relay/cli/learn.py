"""`napari-relay learn PROJECT`: learn from accepted objects, promote what is better, go back."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from napari_relay.cli.console import err, out, print_json
from napari_relay.cli.options import CheckpointOption, JsonOption
from napari_relay.errors import CancelledError, UsageError

if TYPE_CHECKING:
    from napari_relay.learn import LearnResult, Material, Progress, RunningJob

NOT_BETTER = 3
INTERRUPTED = 130
ROWS = (
    ("clicks to 85 %", "noc85", "{:.2f}"),
    ("clicks to 90 %", "noc90", "{:.2f}"),
    ("IoU, 1 click", "miou1", "{:.3f}"),
    ("classes right", "accuracy", "{:.3f}"),
)


def learn(
    projects: Annotated[list[Path], typer.Argument(help="Projects (IMAGE.relay), or their images.")],
    images: Annotated[
        list[str] | None, typer.Option("--image", help="Image of each project, where it is not beside it.")
    ] = None,
    minutes: Annotated[float, typer.Option("--minutes", "-m", min=0.1, help="How long it may take.")] = 5.0,
    deep: Annotated[
        bool, typer.Option("--deep", help="Adapt the encoder too: for unusual images; give it --minutes 20.")
    ] = False,
    checkpoint: CheckpointOption = None,
    force: Annotated[
        bool, typer.Option("--force", "--yes", "-y", help="Promote what was learned even when it is not better.")
    ] = False,
    keep: Annotated[bool, typer.Option("--no-promote", help="Only learn and tell; promote nothing.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Start it and return; see --status.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the last job, if it was interrupted.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Tell how far the last job is.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Give the running job up.")] = False,
    promote: Annotated[bool, typer.Option("--promote", help="Promote what the last job learned.")] = False,
    rollback: Annotated[bool, typer.Option("--rollback", help="Use the checkpoint that was used before.")] = False,
    threads: Annotated[int, typer.Option("--threads", min=0, help="CPU threads; 0: all cores.")] = 0,
    seed: Annotated[int, typer.Option("--seed", help="Of every draw.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Learn from a project's accepted objects, so that the next ones need fewer clicks.

    A process of its own trains at low priority, on the objects that were accepted or reviewed and their clicks. Before
    and after it lets a robot click objects that it did not learn from. What is surely better is promoted: it is used
    from then on wherever the project is opened. All checkpoints stay beside the project. Several projects teach
    together.

    Exit code 0: promoted (or told). 3: learned, but not better, so nothing was promoted. 130: interrupted.

    \b
    Examples:
      napari-relay learn slide.svs.relay
      napari-relay learn slide.svs.relay --minutes 20 --no-promote
      napari-relay learn slide.svs.relay --minutes 20 --deep
      napari-relay learn a.tif.relay b.tif.relay --json
      napari-relay learn slide.svs.relay --detach          and later --status, --resume or --cancel
      napari-relay learn slide.svs.relay --promote --force although it is not better
      napari-relay learn slide.svs.relay --rollback
    """
    from napari_relay.learn import LearnJob, start
    from napari_relay.workspace.learning import promote_classes

    if sum((resume, status, cancel, promote, rollback)) > 1:
        raise UsageError("Only one of --resume, --status, --cancel, --promote and --rollback can be done at a time.")
    materials = find_materials(projects, images or [])
    if rollback:
        _report(_rolled_back(materials), as_json)
        return
    if status or cancel or promote or resume:
        running = _last_job(materials[0].project)
    else:
        current = _current(materials[0])
        job = LearnJob(
            materials, start=checkpoint, current=None if current is None or checkpoint else str(current),
            minutes=minutes, deep=deep, threads=threads, seed=seed,
        )  # fmt: skip
        running = start(job)
    if cancel:
        running.cancel()
    if resume:
        running = running.resume()
    if status or cancel or detach:
        _report({"job": str(running.folder.path), "status": str(running.status), **_last_progress(running)}, as_json)
        return
    result = _result_of(running) if promote else _watched(running)
    promoted = [] if keep else _promoted(materials, result, force=force)
    classes = [] if keep else promote_classes(result)
    _tell(running, result, [*promoted, *classes], as_json=as_json)
    if not promoted and not classes and not keep:
        raise typer.Exit(NOT_BETTER)


def find_materials(projects: Sequence[Path], images: Sequence[str]) -> tuple[Material, ...]:
    """Projects with their images; an image's name stands for the project beside it.

    Raises
    ------
    UsageError
        A project or its image is not there.
    """
    from napari_relay.learn import Material
    from napari_relay.store import Project

    if images and len(images) != len(projects):
        raise UsageError(f"There are {len(projects)} projects and {len(images)} images.", "Give --image once for each.")
    found = []
    for number, given in enumerate(projects):
        path = given if given.name.endswith(".relay") else given.with_name(f"{given.name}.relay")
        if not path.is_file():
            raise UsageError(f"There is no project {path}.", "Accept objects first: `napari-relay open IMAGE`.")
        with Project.open(path, create=False, read_only=True) as project:
            beside = path.with_name(project.image_name)
        image = images[number] if images else str(given if given != path else beside)
        if not images and not Path(image).exists():
            raise UsageError(f"The image {image} of {path} is not there.", "Say where it is: --image.")
        found.append(Material(path.absolute(), image if "://" in image else str(Path(image).absolute())))
    return tuple(found)


def _current(material: Material) -> Path | None:
    from napari_relay.learn import Shelf
    from napari_relay.store import Project

    with Project.open(material.project, create=False, read_only=True) as project:
        return Shelf(project).current()


def _rolled_back(materials: Sequence[Material]) -> dict[str, Any]:
    """Take back what each project learned last, and tell what that was."""
    from napari_relay.store import Project
    from napari_relay.workspace.learning import roll_back_project

    done = []
    for material in materials:
        with Project.open(material.project, create=False) as project:
            done.append(roll_back_project(project))
    return {"rolled_back_to": [_name(one.path) for one in done], "class_head_too": [one.classes for one in done]}


def _last_job(project: Path) -> RunningJob:
    from napari_relay.learn import JobFolder, RunningJob

    folder = JobFolder.latest(project)
    if folder is None:
        raise UsageError(f"{project} has no learning job.", "Start one: `napari-relay learn PROJECT`.")
    return RunningJob(folder)


def _last_progress(running: RunningJob) -> dict[str, Any]:
    from dataclasses import asdict

    from napari_relay.learn import Follower

    lines = Follower(running.folder.progress).read()
    return {"progress": asdict(lines[-1])} if lines else {}


def _result_of(running: RunningJob) -> LearnResult:
    result = running.result()
    if result is None:
        raise UsageError("The last job has no result yet.", "Look with --status, go on with --resume.")
    return result


def _watched(running: RunningJob) -> LearnResult:
    """Follow a job to its end with a progress bar."""
    from rich.progress import BarColumn, Progress, TextColumn

    from napari_relay.learn import follow

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[left]}"))
    try:
        with Progress(*columns, console=err, transient=True) as bar:
            task = bar.add_task("Learning", total=1.0, left="")
            for step in follow(running):
                bar.update(task, completed=step.share, description=_words(step), left=_time_left(step.left_s))
                if step.note:
                    err.print(step.note, highlight=False)
    except KeyboardInterrupt:
        _interrupt(running)
        raise typer.Exit(INTERRUPTED) from None
    result = _result_of(running)
    if result.status == "cancelled":
        raise CancelledError(result.reason)
    return result


def _interrupt(running: RunningJob) -> None:
    """Ctrl+C: let the process save and end; wait a moment for it."""
    known = running.folder.read("process.json")
    if known is not None and running.alive:
        os.kill(known["pid"], signal.SIGTERM)
        for _ in range(100):
            if not running.alive:
                break
            time.sleep(0.1)
    err.print("Interrupted. Go on with --resume.", highlight=False)


def _words(step: Progress) -> str:
    count = f" {step.done}/{step.total}" if step.total else ""
    return f"{step.stage.capitalize()}{f' ({step.part})' if step.part else ''}{count}"


def _time_left(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"about {seconds / 60:.0f} min left" if seconds >= 90 else f"about {max(1, round(seconds))} s left"


def _promoted(materials: Sequence[Material], result: LearnResult, *, force: bool) -> list[Path]:
    from napari_relay.learn import Shelf
    from napari_relay.store import Project

    path = result.anyway if force else result.checkpoint
    if path is None:
        return []
    kept = []
    for material in materials:
        with Project.open(material.project, create=False) as project:
            kept.append(Shelf(project).promote(path, f"learn: {result.reason}"))
    return kept


def _name(path: Path | None) -> str:
    return "the checkpoint of the program" if path is None else str(path)


def _report(values: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(values)
        return
    for key, value in values.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        out.print(f"{key.replace('_', ' ')}: {escape(str(shown))}", highlight=False, soft_wrap=True)


def _tell(running: RunningJob, result: LearnResult, promoted: Sequence[Path], *, as_json: bool) -> None:
    if as_json:
        print_json({
            "job": str(running.folder.path), "better": result.better, "reason": result.reason,
            "objects": result.objects, "measured": result.measured, "seconds": result.seconds, "heads": result.heads,
            "promoted": [str(path) for path in promoted], "gallery": [str(path) for path in result.gallery],
        })  # fmt: skip
        return
    for name, head in result.heads.items():
        on = f"measured on {head.get('objects', 0)} ({result.measured})"
        table = Table(title=f"{name}, {result.objects} objects, {on}")
        for column in ("", "before", "after", "change, 90 % sure"):
            table.add_column(column, justify="left" if not column else "right")
        for label, key, form in ROWS:
            if key in head:
                d = head[key]
                if d["before"] is None or d["low"] is None:
                    continue
                sure = f"{d['low']:+.2f} to {d['high']:+.2f}"
                table.add_row(label, form.format(d["before"]), form.format(d["after"]), sure)
        out.print(table)
    out.print(result.reason, highlight=False, markup=False, soft_wrap=True)
    if result.gallery:
        out.print(f"Pictures of what changed most: {result.gallery[0].parent}", highlight=False, soft_wrap=True)
    for path in promoted:
        out.print(f"In use from now on: {path}", highlight=False, soft_wrap=True)
    if not promoted and result.anyway is not None:
        out.print("Nothing was promoted. Promote it all the same: --promote --force.", highlight=False, soft_wrap=True)

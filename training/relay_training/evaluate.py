"""`evaluate`: sets of pictures, clicked by the robot through the product's own path.

A picture is opened as a source, every object gets a fresh session, clicks come in order, each proposal is the
previous mask of the next, and the IoU is measured on the whole picture at level 0.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from napari_relay.errors import UsageError
from relay_training.bench_data import ObjectRule, PictureSet, Task, find_sets, plan_tasks, read_quick_list
from relay_training.contest import Contender, Limits, play_task
from relay_training.metrics import ObjectRun
from relay_training.product import SessionContender, SessionFactory, product_contender, set_threads
from relay_training.report import ContenderReport, Report, describe_machine


@dataclass(frozen=True, slots=True)
class Progress:
    """One object was played: `done` of `total` over all sets and contenders still to do."""

    done: int
    total: int
    set_name: str
    contender: str
    run: ObjectRun


@dataclass(frozen=True, slots=True)
class Contest:
    """What is played: the sets, which of their objects, until when, and where the result is kept.

    data_dir : one set, or a folder of sets. quick : path of a list `set/id label`; only these objects.
    sets : names of the sets; all by default. rule : which objects are clicked where no list is given.
    threads : for the record. json_path : where the report is kept; written after each set, and gone on from.
    """

    data_dir: Path
    quick: Path | None = None
    sets: Collection[str] | None = None
    rule: ObjectRule = field(default_factory=ObjectRule)
    limits: Limits = field(default_factory=Limits)
    threads: int | None = None
    json_path: Path | None = None
    overwrite: bool = False

    def settings(self) -> dict[str, Any]:
        """What two results must share to stand in one file."""
        listed = sha256(Path(self.quick).read_bytes()).hexdigest()[:16] if self.quick else None
        limits, rule = asdict(self.limits), asdict(self.rule)
        return {**limits, **rule, "threshold": 0.5, "quick": listed, "threads": self.threads}

    def plan(self) -> list[tuple[PictureSet, list[Task]]]:
        """The sets and what is clicked in them.

        Raises
        ------
        UsageError
            Wrong folder, list or set name, or nothing to click.
        """
        quick = read_quick_list(self.quick) if self.quick else None
        planned = [(s, plan_tasks(s, self.rule, quick)) for s in find_sets(self.data_dir, self.sets)]
        planned = [(s, tasks) for s, tasks in planned if any(task.labels for task in tasks)]
        if not planned:
            raise UsageError(f"Nothing in {self.data_dir} is to be clicked.", "Check the list and the label maps.")
        return planned


def run_contest(contest: Contest, contenders: Sequence[Contender]) -> Generator[Progress, None, Report]:
    """Play a contest, object by object; the return value is the report.

    Sets that the file of `contest.json_path` already holds for a contender are not played again.

    Raises
    ------
    UsageError
        Wrong folder, list or set name, or the file holds another evaluation.
    """
    planned = contest.plan()
    report = Report(contest.settings())
    for contender in contenders:
        report.contenders[contender.name] = ContenderReport(contender.card, describe_machine())
    if contest.json_path and contest.json_path.exists() and not contest.overwrite:
        report.resume(contest.json_path)

    def pending(name: str) -> list[Contender]:
        return [c for c in contenders if name not in report.contenders[c.name].sets]

    total = sum(len(task.labels) * len(pending(s.name)) for s, tasks in planned for task in tasks)
    done = 0
    for pictures, tasks in planned:
        players = pending(pictures.name)
        runs: dict[str, list[ObjectRun]] = {contender.name: [] for contender in players}
        for task in tasks:
            for played in play_task(task, players, contest.limits):
                runs[played.contender].append(played.run)
                done += 1
                yield Progress(done, total, pictures.name, played.contender, played.run)
        for name, kept in runs.items():
            report.contenders[name].sets[pictures.name] = kept
        if contest.json_path and players:
            report.save(contest.json_path)
    return report


def evaluate(
    data_dir: Path,
    model: Any,
    *,
    quick: Path | None = None,
    sets: Collection[str] | None = None,
    rule: ObjectRule | None = None,
    limits: Limits | None = None,
    json_path: Path | None = None,
    overwrite: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Let the robot click a model through sets of pictures.

    Parameters
    ----------
    data_dir : Path
        One set, or a folder of sets, in the layout of `bench_data`.
    model : Predictor, Contender or SessionFactory
        A predictor is clicked through the product's own session; a factory makes a session on a source, once an
        object.
    quick, sets, rule, limits, json_path, overwrite
        See `Contest`.
    progress : callable, optional
        Called after each object.

    Returns
    -------
    Report

    Raises
    ------
    UsageError
        Wrong folder, list or set name, or the file holds another evaluation.
    """
    contest = Contest(Path(data_dir), quick, sets, rule or ObjectRule(), limits or Limits(), None, json_path, overwrite)
    steps = run_contest(contest, [as_contender(model)])
    while True:
        try:
            step = next(steps)
        except StopIteration as stop:
            report: Report = stop.value
            return report
        if progress is not None:
            progress(step)


def as_contender(model: Any) -> Contender:
    """A contender from a predictor, a session factory or a contender."""
    if hasattr(model, "card") and hasattr(model, "open"):
        contender: Contender = model
        return contender
    if hasattr(model, "encode_steps"):
        return product_contender(model)
    factory: SessionFactory = model
    return SessionContender(getattr(model, "__name__", type(model).__name__), factory)


def follow(contest: Generator[Progress, None, Report]) -> Report:
    """Run a contest with a progress bar on stderr; returns its report."""
    columns = (*Bar.get_default_columns()[:3], MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("evaluate", total=None)
        while True:
            try:
                step = next(contest)
            except StopIteration as stop:
                report: Report = stop.value
                return report
            line = f"{step.set_name} {step.contender}: IoU {step.run.ious[-1]:.3f} after {len(step.run.ious)}"
            bar.update(task, total=step.total, completed=step.done, description=line)


def command(
    data: Annotated[Path, typer.Option(help="One set, or a folder of sets.")],
    quick: Annotated[Path | None, typer.Option(help="Only the objects of this list (lines `set/id label`).")] = None,
    checkpoint: Annotated[str | None, typer.Option(help="A bundled checkpoint's name, or a file.")] = None,
    sets: Annotated[list[str] | None, typer.Option("--set", help="Only this set (repeatable).")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="Threads of the computation; all cores by default.")] = None,
    json: Annotated[Path | None, typer.Option(help="Keep the result here; a second call goes on from it.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start the file anew.")] = False,
    checks: Annotated[bool, typer.Option("--checks", help="Instead, what must hold for a trained model.")] = False,
    objects: Annotated[int, typer.Option(min=1, help="Of --checks: so many objects.")] = 50,
    trials: Annotated[int, typer.Option(min=1, help="Of --checks: so many added clicks of each sign.")] = 2000,
    context: Annotated[Path | None, typer.Option(help="Of --checks: a set made by `context-set`.")] = None,
) -> None:
    """Clicks needed, failures, IoU and times of a checkpoint on sets of pictures.

    Example: python -m relay_training evaluate --data bench --quick benchmarks/quick.txt --threads 1 --json out.json
    """
    from napari_relay.predictor import load_predictor

    set_threads(threads)
    contest = Contest(data, quick, sets, threads=threads, json_path=json, overwrite=overwrite)
    if checks:
        from relay_training.checks import report_checks

        report_checks(
            contest,
            checkpoint,
            device=device,
            dtype=dtype,
            threads=threads,
            objects=objects,
            trials=trials,
            context=context,
        )
        return
    contender = product_contender(load_predictor(checkpoint, device=device, dtype=dtype, threads=threads))
    report = follow(run_contest(contest, [contender]))
    console = Console()
    for table in report.tables():
        console.print(table)

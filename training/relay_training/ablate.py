"""`ablate`: the model's parts taken away one by one, at one equal budget.

    CONFIGS/base.toml      what all rows share: the keys of `FitConfig` under [fit]; budget and seed stand only here
    CONFIGS/NAME.toml      one row: title, group, judge; [model] changes `ModelConfig`, [fit] adds to `FitConfig`
    OUT/starts, OUT/NAME   start checkpoints with changed parts, and the runs; both resume
    RESULTS.json           what was measured of each row; `benchmarks/ablation.py` makes the table of it

A row is judged by clicks (the robot on a list of objects, as `evaluate`) or by context (one click in views of a quarter
of the picture, as `blank`, on a context set and on the objects of the bench that fit). `step0` is judged by both.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from napari_relay.errors import UsageError
from napari_relay.model.checkpoint import load_checkpoint, save_checkpoint
from napari_relay.model.config import ModelConfig
from napari_relay.model.network import ClickModel
from relay_training.fit import FitConfig, fit
from relay_training.judge import Bench, Judge, judge
from relay_training.report import describe_machine

FORMAT = "napari-relay ablation 1"
BUDGET = ("samples", "batch", "seed")
"""Equal for all rows."""
STEP0 = "step0"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    title, group : what stands in the table; rows of a group are compared with each other.
    of : judged is the checkpoint of this row, and nothing is trained (views fixed or following).
    model : changes to `ModelConfig`. fit : fields of `FitConfig`. judge : how it is measured.
    """

    name: str
    title: str
    group: str = ""
    of: str = ""
    model: dict[str, Any] = field(default_factory=dict)
    fit: dict[str, Any] = field(default_factory=dict)
    judge: Judge = field(default_factory=Judge)


def read_rows(folder: Path) -> list[Row]:
    """The rows of a folder, by name; `base.toml` gives what all share.

    Raises
    ------
    UsageError
        A file cannot be read, has an unknown key, or a budget of its own.
    """
    if not (folder / "base.toml").is_file():
        raise UsageError(f"{folder} has no base.toml.", "Give a folder such as training/configs/ablation.")
    base = _read(folder / "base.toml").get("fit", {})
    rows = [_row(path, base) for path in sorted(folder.glob("*.toml")) if path.stem != "base"]
    names = {row.name for row in rows}
    for row in rows:
        if row.of and row.of not in names:
            raise UsageError(f"{row.name}.toml is of {row.of!r}, which is not there.", "Name another row.")
    return rows


def _row(path: Path, base: dict[str, Any]) -> Row:
    values = _read(path)
    judged = {key: values.pop(key) for key in [f.name for f in fields(Judge)] if key in values}
    own, changes = values.pop("fit", {}), values.pop("model", {})
    known = {"title", "group", "of"}
    odd = sorted(set(values) - known) + sorted(set(own) - {f.name for f in fields(FitConfig)})
    odd += sorted(set(changes) - {f.name for f in fields(ModelConfig)})
    if odd:
        raise UsageError(f"{path} has an unknown key {odd[0]}.", "See ablate.py for what a row may hold.")
    extra = sorted(set(own) & set(BUDGET))
    if extra:
        raise UsageError(f"{path} has its own {extra[0]}.", "The budget is equal for all rows: set it in base.toml.")
    values.setdefault("title", path.stem)
    return Row(path.stem, model=changes, fit={**base, **own}, judge=Judge(**judged), **values)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"Cannot read the configuration {path}: {error}.", "Check the file.") from error


def fit_config(row: Row, out: Path, **budget: Any) -> FitConfig:
    """The run of a row; its start has the parts that the row asks for."""
    values = {**row.fit, **{key: value for key, value in budget.items() if value is not None}}
    start = str(values.pop("start", STEP0))
    if row.model:
        start = str(derive_start(start, row.model, out / "starts" / f"{row.name}.safetensors"))
    card = {"name": row.name, "title": f"Ablation: {row.title}", **values.pop("card", {})}
    return FitConfig(**{**values, "cache": Path(values["cache"]), "out": out / row.name, "start": start, "card": card})


def derive_start(start: str, changes: dict[str, Any], path: Path) -> Path:
    """A checkpoint like `start` with another `ModelConfig`: what both have is kept, what is new begins as at step 0.

    Raises
    ------
    CheckpointError
        A change is none that the model knows.
    """
    model, card = load_checkpoint(start)
    config = ModelConfig.from_dict({**card.config, **changes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        changed = ClickModel(config)
    wanted = changed.state_dict()
    kept = {n: v for n, v in model.state_dict().items() if n in wanted and wanted[n].shape == v.shape}
    changed.load_state_dict(kept, strict=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    card = replace(card, name=path.stem, config=config.to_dict(), shards=(), path=Path())
    save_checkpoint(path, changed.state_dict(), card)
    return path


def run_row(row: Row, out: Path, bench: Bench, *, minutes: float | None = None, **budget: Any) -> dict[str, Any] | None:
    """Train and judge one row; None when it is not trained to its end yet."""
    about: dict[str, Any] = {"title": row.title, "group": row.group, "views": row.judge.views}
    if row.name == STEP0:
        return {**about, "samples": 0, "measured": judge(STEP0, row.judge, bench)}
    if row.of:
        checkpoint = out / row.of / "ema.safetensors"
        if not checkpoint.is_file():
            raise UsageError(f"{row.of} is not trained, and {row.name} is judged on it.", f"Run {row.of} first.")
        return {**about, "of": row.of, "measured": judge(str(checkpoint), row.judge, bench)}
    run = fit(fit_config(row, out, **budget), minutes=minutes)
    if run.step < run.steps:
        return None
    measured = judge(str(run.config.out / "ema.safetensors"), row.judge, bench)
    return {
        **about,
        "samples": run.step * run.config.batch,
        "seed": run.config.seed,
        "hours": round(run.seconds / 3600, 3),
        "measured": measured,
    }


def read_results(path: Path) -> dict[str, Any]:
    """What was measured so far: row name -> result.

    Raises
    ------
    UsageError
        The file holds something else.
    """
    if not path.exists():
        return {}
    try:
        data = json.loads(path.read_text())
        if data["format"] != FORMAT:
            raise ValueError(f"its format is {data['format']!r}")
        rows: dict[str, Any] = data["rows"]
        return rows
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} holds no ablation: {error}.", "Give another file for --results.") from error


def keep(path: Path, name: str, result: dict[str, Any]) -> None:
    """Put a row's result into the file of results, which is written whole."""
    rows = {**read_results(path), name: {**result, "machine": describe_machine()}}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps({"format": FORMAT, "rows": rows}, indent=1) + "\n")
    partial.replace(path)


def ablate(
    rows: list[Row],
    out: Path,
    bench: Bench,
    results: Path,
    *,
    minutes: float | None = None,
    tell: Callable[[str], None] = print,
    **budget: Any,
) -> None:
    """Run what has no result yet, trained rows before those that are judged on them."""
    done = read_results(results)
    for row in sorted(rows, key=lambda row: bool(row.of)):
        if row.name in done:
            tell(f"{row.name}: done")
            continue
        result = run_row(row, out, bench, minutes=minutes, **budget)
        if result is None:
            tell(f"{row.name}: not at its end yet; the next call goes on")
        else:
            keep(results, row.name, result)
            tell(f"{row.name}: measured")


def command(
    configs: Annotated[Path, typer.Argument(help="Folder of rows, such as training/configs/ablation.")],
    data: Annotated[Path, typer.Option(help="Folder of bench sets.")],
    quick: Annotated[Path, typer.Option(help="The objects that rows are judged by.")],
    context: Annotated[Path, typer.Option(help="A context set of a seed that was not trained on.")],
    out: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs/ablation"),
    results: Annotated[Path, typer.Option(help="File of the results.")] = Path("benchmarks/results/ablation.json"),
    only: Annotated[list[str] | None, typer.Option(help="Only this row (repeatable).")] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop a row after this time; the next call resumes.")] = None,
    samples: Annotated[int | None, typer.Option(help="Another budget than base.toml's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed than base.toml's; use another --out too.")] = None,
    limit: Annotated[int | None, typer.Option(help="Judge by context on so many objects a set.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    threads: Annotated[int, typer.Option(help="Threads of torch; 0 = its own choice.")] = 0,
) -> None:
    """Take the model's parts away one by one: train each row at an equal budget, measure, keep the results. Resumes.

    Example: python -m relay_training ablate training/configs/ablation --data bench --quick benchmarks/quick.txt
    --context runs/context_eval
    """
    rows = [Row(STEP0, "step 0, untrained", judge=Judge("both")), *read_rows(configs)]
    unknown = sorted(set(only or ()) - {row.name for row in rows})
    if unknown:
        raise UsageError(f"There is no row {unknown[0]}.", f"There are: {', '.join(row.name for row in rows)}.")
    chosen = [row for row in rows if not only or row.name in only]
    bench = Bench(data, quick, context, limit=limit, device=device, threads=threads)
    budget = {"samples": samples, "seed": seed, "threads": threads or None}
    ablate(chosen, out, bench, results, minutes=minutes, tell=typer.echo, **budget)

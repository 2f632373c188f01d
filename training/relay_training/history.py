"""The landing rule of checkpoints, and the file that remembers which landed.

A checkpoint lands when the mean over the sets of NoC@85 on the quick list is lower than the last landed one's, and no
set got worse by more than 10 %. `benchmarks/history.csv` has a line for each set of each checkpoint that landed.
"""

from __future__ import annotations

import csv
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from napari_relay.errors import UsageError
from relay_training.report import Report

COLUMNS = ("date", "checkpoint", "hours", "samples", "set", "NoC@85", "NoC@90", "mIoU@1", "mIoU@3")
WORSE_BY = 1.10


def rows_of(report: Report, name: str, hours: float, samples: int) -> list[dict[str, str]]:
    """One row a set, and one of the means (`all`)."""
    numbers = {
        key: (m.noc[85], m.noc[90], m.miou[1], m.miou[3]) for key, m in sorted(report.metrics().items())
    }
    if not numbers:
        raise UsageError("The report holds no set.", "Run `evaluate --json` to its end first.")
    means = [sum(column) / len(numbers) for column in zip(*numbers.values(), strict=True)]
    numbers["all"] = (means[0], means[1], means[2], means[3])
    head = {"date": date.today().isoformat(), "checkpoint": name, "hours": f"{hours:.2f}", "samples": str(samples)}
    return [
        {**head, "set": key, **dict(zip(COLUMNS[5:], (f"{v:.3f}" for v in values), strict=True))}
        for key, values in numbers.items()
    ]


def reasons_against(new: list[dict[str, str]], last: list[dict[str, str]]) -> list[str]:
    """Why a checkpoint may not land after the last one; empty when it may."""
    before = {row["set"]: float(row["NoC@85"]) for row in last}
    after = {row["set"]: float(row["NoC@85"]) for row in new}
    if not before:
        return []
    reasons = [
        f"{key}: NoC@85 {after[key]:.2f} instead of {value:.2f}"
        for key, value in before.items()
        if key != "all" and key in after and after[key] > WORSE_BY * value
    ]
    if "all" in before and after["all"] >= before["all"]:
        reasons.append(f"mean NoC@85 {after['all']:.3f} is not below {before['all']:.3f}")
    return reasons


def last_landed(path: Path) -> list[dict[str, str]]:
    """Rows of the newest checkpoint in the history."""
    if not path.exists():
        return []
    rows = list(csv.DictReader(path.open(newline="")))
    return [row for row in rows if row["checkpoint"] == rows[-1]["checkpoint"]] if rows else []


def command(
    report: Annotated[Path, typer.Argument(help="JSON of `evaluate` on the quick list.")],
    name: Annotated[str, typer.Option(help="Name of the checkpoint.")],
    hours: Annotated[float, typer.Option(help="Hours of training so far.")] = 0.0,
    samples: Annotated[int, typer.Option(help="Samples seen so far.")] = 0,
    history: Annotated[Path, typer.Option(help="The file to add to.")] = Path("benchmarks/history.csv"),
) -> None:
    """Add a checkpoint to the history, if the landing rule lets it (exit code 1 and the reasons otherwise).

    Example: python -m relay_training land quick.json --name small-1 --hours 1.5 --samples 20400
    """
    new = rows_of(Report.load(report), name, hours, samples)
    reasons = reasons_against(new, last_landed(history))
    if reasons:
        typer.echo("It does not land:\n" + "\n".join(f"  {reason}" for reason in reasons))
        raise typer.Exit(1)
    fresh = not history.exists()
    with history.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if fresh:
            writer.writeheader()
        writer.writerows(new)
    typer.echo(f"{name} landed: mean NoC@85 {new[-1]['NoC@85']}, mean mIoU@3 {new[-1]['mIoU@3']}.")

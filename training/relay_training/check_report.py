"""The report of `checks`: kept as JSON, shown as a table, compared with that of the last checkpoint that landed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.table import Table

from napari_relay.errors import UsageError

FORMAT = "napari-relay checks 1"
Side = Literal["at least", "at most", "above"]


@dataclass(frozen=True, slots=True)
class Check:
    """One invariant of a trained model. `value` is None where the pictures gave no case of it.

    bar, better : the value that is wanted, and on which side of it. cases : how many things were tried.
    """

    name: str
    value: float | None
    bar: float
    better: Side
    cases: int

    @property
    def met(self) -> bool | None:
        if self.value is None:
            return None
        return {"at least": self.value >= self.bar, "at most": self.value <= self.bar, "above": self.value > self.bar}[
            self.better
        ]

    def worse_than(self, landed: Check) -> float:
        """By how much it is worse than the landed value; below 0 where it is better."""
        if self.value is None or landed.value is None:
            return 0.0
        return (landed.value - self.value) * (-1 if self.better == "at most" else 1)


def fallen(checks: Sequence[Check], landed: Sequence[Check], tolerance: float = 0.02) -> list[str]:
    """Sentences about the values that are worse than the landed ones by more than `tolerance`."""
    before = {check.name: check for check in landed}
    return [
        f"{check.name}: {check.value:.3f}, landed {before[check.name].value:.3f}"
        for check in checks
        if check.name in before and check.worse_than(before[check.name]) > tolerance
    ]


def to_json(checks: Sequence[Check], about: dict[str, Any]) -> str:
    """A report of checks; `about` says of what and by whom."""
    rows = [
        asdict(check) | {"value": None if check.value is None else round(check.value, 4), "met": check.met}
        for check in checks
    ]
    return json.dumps({"format": FORMAT, **about, "checks": rows}, indent=1) + "\n"


def from_json(text: str) -> list[Check]:
    """Checks of a report. Raises UsageError for another kind of text."""
    try:
        data = json.loads(text)
        if data["format"] != FORMAT:
            raise ValueError(f"its format is {data['format']!r}")
        return [Check(**{k: v for k, v in row.items() if k != "met"}) for row in data["checks"]]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"This is no report of checks: {error}.", "Make one: evaluate --checks.") from error


def table(checks: Sequence[Check]) -> Table:
    """A line a check."""
    shown = Table(title="What holds for this checkpoint", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for column in ("what", "cases", "wanted", "value", ""):
        shown.add_column(column, justify="left" if column in ("what", "") else "right")
    for check in checks:
        verdict = {None: "not measured", True: "ok", False: "not ok"}[check.met]
        value = "-" if check.value is None else f"{check.value:.3f}"
        shown.add_row(check.name, str(check.cases), f"{check.better} {check.bar:g}", value, verdict)
    return shown

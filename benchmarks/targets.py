"""What the bundled checkpoint must reach, and what it reached: a table of `docs/model.md`.

Read are the reports of `evaluate` and `compare` and the lines of `click_latency.py`, all in `benchmarks/results/`. The
product's numbers are those of its newest weights, of each set the report with the most objects that the peer played;
the peer's are those on the same objects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_relay.errors import UsageError
from relay_training.metrics import ObjectRun, SetMetrics, summarise
from relay_training.report import ContenderReport, Report

PEER = "mobilesam"
NEVER = "not measured yet"


@dataclass(frozen=True, slots=True)
class Aim:
    """What a number must be: at most (or, where `more` is better, at least) each of the parts that are given.

    value : by itself. factor : times the peer's. added : more than the peer's.
    """

    value: float | None = None
    factor: float | None = None
    added: float | None = None
    more: bool = False

    def met(self, measured: float, peer: float | None) -> bool | None:
        """Whether all of it is reached; None where the peer's number is needed and missing."""
        if self.value is not None and self._worse(measured, self.value):
            return False
        if self.factor is None and self.added is None:
            return True
        if peer is None:
            return None
        limit = peer * (1.0 if self.factor is None else self.factor) + (self.added or 0.0)
        # "Below the peer's" is not reached by an equal number.
        equal_counts = self.factor not in (None, 1.0) or bool(self.added)
        return not self._worse(measured, limit) and (equal_counts or measured != limit)

    def _worse(self, measured: float, limit: float) -> bool:
        return measured < limit if self.more else measured > limit

    @property
    def words(self) -> str:
        side = ">=" if self.more else "<="
        parts = [] if self.value is None else [f"{side} {self.value:g}"]
        if self.factor == 1.0 or (self.factor is None and self.added == 0.0):
            parts.append("above the peer's" if self.more else "below the peer's")
        elif self.factor is not None:
            parts.append(f"{abs(1 - self.factor):.0%} {'above' if self.more else 'below'} the peer's")
        elif self.added:
            parts.append(f"the peer's + {self.added:g}")
        return " and ".join(parts)


@dataclass(frozen=True, slots=True)
class Target:
    """A row: a set, one of its numbers (noc or miou, at a percentage or after so many clicks), bar and stretch."""

    set: str
    kind: str
    at: int
    bar: Aim
    stretch: Aim

    @property
    def what(self) -> str:
        return f"NoC@{self.at}" if self.kind == "noc" else f"mIoU@{self.at}"

    def of(self, metrics: SetMetrics) -> float:
        values: dict[int, float] = getattr(metrics, self.kind)
        return values[self.at]


def _noc(name: str, at: int, bar: Aim, stretch: Aim) -> Target:
    return Target(name, "noc", at, bar, stretch)


TARGETS: tuple[Target, ...] = (
    _noc("grabcut", 90, Aim(1.9, factor=1.0), Aim(1.5)),
    _noc("berkeley", 90, Aim(2.3, factor=1.0), Aim(1.6)),
    _noc("pascal_a", 90, Aim(2.8, factor=1.0), Aim(2.2)),
    _noc("davis_a", 90, Aim(7.0), Aim(5.0)),
    _noc("coco_mval_a", 90, Aim(factor=0.9), Aim(factor=0.75)),
    *(
        _noc(name, 85, Aim(factor=0.75), Aim(factor=0.55))
        for name in ("nuclei_a", "phase_a", "histo_a", "em_a", "street_a")
    ),
    _noc("aerial_a", 85, Aim(factor=0.55), Aim(factor=0.45)),
    Target("thin_a", "miou", 5, Aim(0.26, more=True), Aim(0.5, more=True)),
)
FIRST_CLICK = (Aim(added=0.0, more=True), Aim(added=0.15, more=True))
"""mIoU after one click, of every set."""
TIMES: tuple[tuple[str, str, Aim, Aim], ...] = (
    ("first click, photo", "first click, local view cold: share of the peer's `set_image` + `predict`",
     Aim(1 / 4), Aim(1 / 6)),
    ("first click, both views cold", "first click, both views cold: the same", Aim(2 / 5), Aim(1 / 4)),
    ("further click", "further click: share of the peer's `predict`", Aim(1.0), Aim(1 / 2)),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Measured:
    """A set's numbers of the product, and of the peer on the same objects."""

    product: SetMetrics
    peer: SetMetrics | None

    @property
    def worth(self) -> tuple[bool, int]:
        """Which of two measurements of a set counts: that beside the peer, then that of more objects."""
        return self.peer is not None, self.product.objects


def read_reports(folder: Path) -> list[Report]:
    """All reports of evaluations in a folder; other files are left aside."""
    reports = []
    for path in sorted(folder.glob("*.json")):
        try:
            reports.append(Report.load(path))
        except UsageError:
            continue
    return reports


def measured_sets(reports: Sequence[Report]) -> dict[str, Measured]:
    """Set -> numbers of the product's newest weights, on as many objects as there are."""
    contenders = [contender for report in reports for contender in report.contenders.values()]
    ours = [c for c in contenders if c.card.get("kind") == "napari-relay" and c.card.get("checkpoint") != "step0"]
    if not ours:
        return {}
    weights = _weights(max(ours, key=lambda c: str(c.machine.get("date"))))
    theirs = [c for c in contenders if c.card.get("kind") == PEER]
    found: dict[str, Measured] = {}
    for contender in ours:
        for name, runs in contender.sets.items() if _weights(contender) == weights else ():
            candidate = Measured(summarise(runs), _on_the_same(theirs, name, runs))
            if name not in found or candidate.worth > found[name].worth:
                found[name] = candidate
    return found


def _on_the_same(theirs: Sequence[ContenderReport], name: str, runs: Sequence[ObjectRun]) -> SetMetrics | None:
    """The peer's numbers on the objects of `runs`; None where it was not asked about all of them."""
    wanted = {(run.picture, run.label) for run in runs}
    for contender in reversed(theirs):
        same = [run for run in contender.sets.get(name, ()) if (run.picture, run.label) in wanted]
        if len(same) == len(wanted):
            return summarise(same)
    return None


def _weights(contender: ContenderReport) -> tuple[Any, ...]:
    return tuple(contender.card.get(part) for part in ("encoder_hash", "pixel_hash", "head_hash"))


def table(sets: Mapping[str, Measured], figures: Mapping[str, dict[str, Any]]) -> str:
    """The table, in Markdown. `figures` : those of `click_latency.py`, by key."""
    head = ("set", "what", "bar", "stretch", "peer", "measured", "objects", "")
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    first = [Target(name, "miou", 1, *FIRST_CLICK) for name in sorted({t.set for t in TARGETS})]
    lines += [_line(_set_cells(target, sets.get(target.set))) for target in (*TARGETS, *first)]
    lines += [_line(_time_cells(what, bar, stretch, figures.get(key))) for key, what, bar, stretch in TIMES]
    return "\n".join(lines)


def _set_cells(target: Target, found: Measured | None) -> list[str]:
    cells = [target.set, target.what, target.bar.words, target.stretch.words]
    if found is None:
        return [*cells, "-", NEVER, "", ""]
    value, peer = target.of(found.product), None if found.peer is None else target.of(found.peer)
    shown = "-" if peer is None else f"{peer:.2f}"
    return [
        *cells,
        shown,
        f"{value:.2f}",
        str(found.product.objects),
        _verdict(target.bar, target.stretch, value, peer),
    ]


def _time_cells(what: str, bar: Aim, stretch: Aim, figure: dict[str, Any] | None) -> list[str]:
    cells = ["time", what, f"<= {bar.value:.2g}", f"<= {stretch.value:.2g}", "1"]
    if figure is None:
        return [*cells, NEVER, "", ""]
    value = float(figure["value"])
    return [*cells, f"{value:.2f}", "", _verdict(bar, stretch, value, None)]


def _verdict(bar: Aim, stretch: Aim, value: float, peer: float | None) -> str:
    met = bar.met(value, peer)
    if met is None:
        return "the peer is not measured on these objects"
    if not met:
        return "**missed**"
    return "stretch reached" if stretch.met(value, peer) else "reached"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"

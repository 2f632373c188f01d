"""The result of an evaluation: kept as JSON (whole after each set), shown as a table.

The file holds every object's run; the metrics in it are computed from them and written beside them for
reading.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from napari_relay import __version__
from napari_relay.errors import StorageError, UsageError
from relay_training.metrics import MIOU_CLICKS, NOC_TARGETS, ObjectRun, SetMetrics, summarise

FORMAT = "napari-relay evaluation 1"


@dataclass(slots=True)
class ContenderReport:
    """Results of one contender. sets : set name -> runs. peak_memory_mb : of its own process, where
    measured.
    """

    card: dict[str, Any]
    machine: dict[str, Any]
    sets: dict[str, list[ObjectRun]] = field(default_factory=dict)
    peak_memory_mb: float | None = None

    def metrics(self, max_clicks: int) -> dict[str, SetMetrics]:
        return {name: summarise(runs, max_clicks) for name, runs in self.sets.items()}


@dataclass(slots=True)
class Report:
    """Results of one or more contenders under the same settings.

    settings : limits of the robot, objects, threads; JSON values.
    """

    settings: dict[str, Any]
    contenders: dict[str, ContenderReport] = field(default_factory=dict)

    @property
    def max_clicks(self) -> int:
        return int(self.settings["max_clicks"])

    def metrics(self, contender: str | None = None) -> dict[str, SetMetrics]:
        """Set name -> metrics of a contender (of the only one by default)."""
        (name,) = [contender] if contender is not None else self.contenders
        return self.contenders[name].metrics(self.max_clicks)

    def mean_noc(self, percent: int, contender: str | None = None) -> float:
        """Mean over the sets of NoC at `percent`."""
        values = [metrics.noc[percent] for metrics in self.metrics(contender).values()]
        return sum(values) / len(values)

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "settings": self.settings,
            "contenders": {
                name: {
                    "card": report.card,
                    "machine": report.machine,
                    "peak_memory_mb": report.peak_memory_mb,
                    "metrics": {s: m.to_json() for s, m in report.metrics(self.max_clicks).items()},
                    "objects": {s: [run.to_json() for run in runs] for s, runs in report.sets.items()},
                }
                for name, report in self.contenders.items()
            },
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Report:
        report = cls(data["settings"])
        for name, kept in data["contenders"].items():
            sets = {s: [ObjectRun.from_json(run) for run in runs] for s, runs in kept["objects"].items()}
            report.contenders[name] = ContenderReport(kept["card"], kept["machine"], sets, kept["peak_memory_mb"])
        return report

    def save(self, path: Path) -> None:
        """Write the report; the file is either the old one or the whole new one.

        Raises
        ------
        StorageError
            It cannot be written.
        """
        partial = path.with_name(path.name + ".partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(_dump(self.to_json()), encoding="utf-8")
            os.replace(partial, path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise StorageError(f"Cannot write {path}: {error}.", "Choose another place.") from error

    @classmethod
    def load(cls, path: Path) -> Report:
        """Read a stored report.

        Raises
        ------
        UsageError
            The file cannot be read or is not one of these reports.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data["format"] != FORMAT:
                raise ValueError(f"its format is {data['format']!r}")
            return cls.from_json(data)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{path} is not a report of an evaluation: {error}.", "Give another file, or --overwrite."
            ) from error

    def resume(self, path: Path) -> None:
        """Take over from a stored report what was done under the same settings by the same contenders.

        Raises
        ------
        UsageError
            It was made with other settings, or a contender of that name was another one (other weights).
        """
        stored = Report.load(path)
        fix = "Give another file, or --overwrite."
        if stored.settings != self.settings:
            odd = sorted(k for k in stored.settings | self.settings if stored.settings.get(k) != self.settings.get(k))
            raise UsageError(f"{path} was made with another value of {', '.join(odd)}.", fix)
        for name, kept in stored.contenders.items():
            if name in self.contenders and kept.card != self.contenders[name].card:
                raise UsageError(f"{path} holds results of another {name} (its card differs).", fix)
            self.contenders[name] = kept

    def tables(self) -> list[Table]:
        """One table a set when several contenders are compared, else one table with a line a set."""
        rows = [(s, n, m) for n in self.contenders for s, m in self.metrics(n).items()]
        if len(self.contenders) == 1:
            (only,) = self.contenders
            return [_table(only, "set", [(s, m) for s, _, m in rows])]
        names = list(dict.fromkeys(s for s, _, _ in rows))
        return [_table(name, "model", [(n, m) for s, n, m in rows if s == name]) for name in names]


def describe_machine() -> dict[str, Any]:
    """Machine, versions, threads and date, for the record."""
    torch = sys.modules.get("torch")  # the classic methods run without
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "system": platform.platform(terse=True),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "napari_relay": __version__,
    } | ({"torch": torch.__version__, "torch_threads": torch.get_num_threads()} if torch else {})


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _dump(data: dict[str, Any]) -> str:
    """JSON with one line an object, so that a stored report stays readable and its changes show in a diff."""
    lines: list[str] = []

    def on_one_line(run: dict[str, Any]) -> str:
        lines.append(json.dumps(run))
        return f"@{len(lines) - 1}@"

    for contender in data["contenders"].values():
        contender["objects"] = {s: [on_one_line(r) for r in runs] for s, runs in contender["objects"].items()}
    return re.sub(r'"@(\d+)@"', lambda mark: lines[int(mark[1])], json.dumps(data, indent=1)) + "\n"


def _table(title: str, first: str, rows: Sequence[tuple[str, SetMetrics]]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first)
    columns = (
        ["objects"]
        + [f"NoC@{percent}" for percent in NOC_TARGETS]
        + [f"fail@{percent}" for percent in NOC_TARGETS]
        + [f"IoU@{clicks}" for clicks in MIOU_CLICKS]
        + ["AuC", "first ms", "further ms", "cached ms", "enc."]
    )
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for name, metrics in rows:
        table.add_row(name, *_cells(metrics))
    return table


def _cells(m: SetMetrics) -> list[str]:
    return [
        str(m.objects),
        *(f"{m.noc[percent]:.2f}" for percent in NOC_TARGETS),
        *(str(m.nof[percent]) for percent in NOC_TARGETS),
        *(f"{m.miou[clicks]:.3f}" for clicks in MIOU_CLICKS),
        f"{m.auc:.3f}",
        *("-" if ms is None else f"{ms:.0f}" for ms in (m.first_ms, m.further_ms, m.further_cached_ms)),
        f"{m.encodings:.1f}",
    ]

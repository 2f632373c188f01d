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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
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
        """What is needed to reach a mask, and what it costs; a line a set and contender, 80 characters wide."""
        rows = [(s, n, m) for n in self.contenders for s, m in self.metrics(n).items()]
        order = list(dict.fromkeys(s for s, _, _ in rows))
        rows.sort(key=lambda row: order.index(row[0]))
        return [_table(title, columns, rows) for title, columns in (_QUALITY, _COST)]


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


_Columns = dict[str, Callable[[SetMetrics], str]]


def _fixed(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _noc(percent: int) -> Callable[[SetMetrics], str]:
    return lambda m: f"{m.noc[percent]:.2f}"


def _failures(percent: int) -> Callable[[SetMetrics], str]:
    return lambda m: str(m.nof[percent])


def _miou(clicks: int) -> Callable[[SetMetrics], str]:
    return lambda m: f"{m.miou[clicks]:.3f}"


_QUALITY: tuple[str, _Columns] = (
    "Clicks to reach an IoU (NoC); objects that never did",
    {"n": lambda m: str(m.objects)}
    | {f"NoC\n@{percent}": _noc(percent) for percent in NOC_TARGETS}
    | {f"fail\n@{percent}": _failures(percent) for percent in NOC_TARGETS},
)
_COST: tuple[str, _Columns] = (
    "Mean IoU after some clicks; median wait and processor time in ms",
    {f"IoU\n@{clicks}": _miou(clicks) for clicks in MIOU_CLICKS}
    | {
        "AuC": lambda m: f"{m.auc:.3f}",
        "first\nclick": lambda m: _fixed(m.first_ms, 0),
        "next\nclick": lambda m: _fixed(m.further_ms, 0),
        "CPU\nfirst": lambda m: _fixed(m.first_cpu_ms, 0),
        "CPU\ncached": lambda m: _fixed(m.cached_cpu_ms, 0),
        "views\nenc.": lambda m: f"{m.encodings:.1f}",
    },
)


def _table(title: str, columns: _Columns, rows: Sequence[tuple[str, str, SetMetrics]]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=0)
    table.add_column("set", no_wrap=True)
    several = len({contender for _, contender, _ in rows}) > 1
    if several:
        table.add_column("model", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for set_name, contender, metrics in rows:
        cells = [show(metrics) for show in columns.values()]
        table.add_row(set_name, *([contender] if several else []), *cells)
    return table

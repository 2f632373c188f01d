"""How a benchmark is started, shown and kept: arguments, machine, a small table, one JSON line a run.

Each script measures, makes `Figure`s and calls `publish`. A figure names its row of `docs/performance.md` by `key`
(the rows stand in `report.py`), so that the page is made from the lines and never by hand.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from napari_relay import __version__
from napari_relay.errors import RelayError, UsageError

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "napari", "PyQt5", "PyQt6", "zarr", "numpy", "timm")
BUSY_SHARE = 0.2
"""Share of the processors that others may take before numbers are not to be believed."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number and what it must reach.

    Parameters
    ----------
    key : the row of `docs/performance.md` that it fills.
    value : in `unit`; compared with `limit`.
    limit : largest value that is good enough; None where there is nothing to reach.
    text : how it came about, such as "41 ms of 214 ms".
    """

    key: str
    value: float
    unit: str = ""
    limit: float | None = None
    text: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the bar is reached; None where there is none."""
        return None if self.limit is None else self.value <= self.limit

    @property
    def shown(self) -> str:
        """The value with its unit."""
        return f"{_number(self.value)} {self.unit}".strip()


def argument_parser(doc: str | None, name: str) -> argparse.ArgumentParser:
    """A parser with the script's own doc string as help, and the options that every script has."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=RESULTS / f"{name}.json", metavar="FILE",
        help=f"file that gets one JSON line more (default: benchmarks/results/{name}.json)",
    )  # fmt: skip
    parser.add_argument("--no-record", action="store_true", help="print only; append nothing")
    return parser


def parse(parser: argparse.ArgumentParser, words: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments, and in `busy` the share of the processors that others take just before the measurement."""
    args = parser.parse_args(words)
    args.busy = psutil.cpu_percent(interval=1.0) / 100
    if args.busy > BUSY_SHARE:
        print(f"Other work takes {args.busy:.0%} of the processors: these numbers will be worth little.")
    return args


def publish(args: argparse.Namespace, figures: Sequence[Figure], details: dict[str, Any], notes: str = "") -> None:
    """Print the figures and append them, with everything needed to repeat them, to the file of `args`.

    Parameters
    ----------
    details : JSON values: the single measurements and settings.
    notes : one sentence to print below the table.
    """
    rows = [(f.key, f.shown, "" if f.limit is None else _number(f.limit), _verdict(f.met), f.text) for f in figures]
    print_table(("what", "measured", "bar", "", "how"), rows)
    if notes:
        print(notes)
    if args.no_record:
        return
    line = {
        "benchmark": Path(sys.argv[0]).stem,
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": machine(),
        "busy": round(args.busy, 2),
        "command": command(),
        "versions": versions(),
        "figures": [
            {"key": f.key, "value": round(f.value, 4), "unit": f.unit, "limit": f.limit, "met": f.met, "text": f.text}
            for f in figures
        ],
        "details": details,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with args.out.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def run(main: Callable[[], None]) -> None:
    """Call `main`; what goes wrong for a known reason is said in one sentence, with the program's exit codes."""
    try:
        main()
    except RelayError as error:
        print(error, file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)


def keep_page(doc: str | None, page: Path, make: Callable[[str, Path], str]) -> None:
    """The main of a script that writes a page of the docs from `results/`; `make` : (old text, results) -> new text."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when the page is old")
    parser.add_argument("--page", type=Path, default=page)
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR")
    args = parser.parse_args()
    old = args.page.read_text(encoding="utf-8")
    new = make(old, args.results)
    if args.check:
        sys.exit(0 if new == old else f"{args.page} is old: run {Path(sys.argv[0]).name}.")
    args.page.write_text(new, encoding="utf-8")


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns that are as wide as what stands in them."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def spread(values: Sequence[float]) -> dict[str, float]:
    """Count, median and range of measurements, as JSON values."""
    return {
        "n": len(values),
        "median": round(median(values), 2),
        "least": round(min(values), 2),
        "most": round(max(values), 2),
    }


def machine() -> dict[str, Any]:
    """Processor, cores, memory and system, in words that mean something to a reader."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
    }


def command() -> str:
    """The command line, with paths cut to their last part: where things lie is nobody's business."""
    words = [Path(word).name if os.sep in word else word for word in sys.argv[1:]]
    return " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *words])


def versions() -> dict[str, str]:
    """Of this program, Python and the packages that make a difference."""
    found = {"napari-relay": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _verdict(met: bool | None) -> str:
    return {None: "", True: "yes", False: "NO"}[met]

"""The page of measured values: made from the results, the newest of each row, and up to date in the repository."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def report(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("report")


def a_run(date: str, value: float, *, busy: float = 0.0) -> str:
    figure = {"key": "window start", "value": value, "unit": "s over napari", "limit": 1.5, "met": value <= 1.5}
    machine = {"processor": "A", "cores": 2, "memory_gb": 8, "system": "Linux 6"}
    line = {"date": date, "machine": machine, "busy": busy, "command": "python benchmarks/x.py"}
    return json.dumps({**line, "figures": [{**figure, "text": ""}]})


def test_the_newest_line_of_a_row_counts(report: ModuleType, tmp_path: Path) -> None:
    lines = [a_run("2026-01-02 10:00 UTC", 1.25), a_run("2026-01-01 10:00 UTC", 3.0)]
    (tmp_path / "window_start.json").write_text("\n".join(lines) + "\n")
    (tmp_path / "something_else.json").write_text('{\n "of": "another kind"\n}')

    text = report.tables(report.newest(report.read_lines(tmp_path)))

    (row,) = [line for line in text.splitlines() if "until the image is shown" in line]
    assert "1.25 s over napari" in row
    assert "reached" in row
    assert "A, 2 cores, 8 GB, Linux 6" in row
    assert "2026-01-02" in row


def test_a_missed_bar_and_a_busy_machine_are_said(report: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "window_start.json").write_text(a_run("2026-01-01 10:00 UTC", 3.0, busy=0.9))

    text = report.tables(report.newest(report.read_lines(tmp_path)))

    assert "**missed**" in text
    assert "while other work ran" in text
    assert report.MISSING in text


def test_the_page_is_up_to_date(report: ModuleType) -> None:
    page = report.PAGE.read_text(encoding="utf-8")

    text = report.tables(report.newest(report.read_lines(BENCHMARKS / "results")))

    assert report.replaced(page, text, report.PAGE) == page, "run benchmarks/report.py"

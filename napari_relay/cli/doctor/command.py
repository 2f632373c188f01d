"""The command itself: gather, check, print."""

from __future__ import annotations

from dataclasses import asdict

import typer
from rich.markup import escape

from napari_relay.cli.console import err, out, print_json
from napari_relay.cli.doctor import checks_compute, checks_disk, checks_screen
from napari_relay.cli.doctor.facts import Facts, Finding, Verdict
from napari_relay.cli.doctor.gather import gather
from napari_relay.cli.options import JsonOption

MARKS = {Verdict.OK: "[green]ok[/]    ", Verdict.NOTE: "[yellow]note[/]  ", Verdict.BROKEN: "[red]broken[/]"}


def examine(facts: Facts) -> list[Finding]:
    """All findings about a machine, in the order in which they are printed."""
    return [
        checks_compute.check_python(facts),
        checks_compute.check_torch(facts),
        checks_compute.check_gpu(facts),
        checks_compute.check_cpu_dtype(facts),
        checks_compute.check_memory(facts),
        checks_compute.check_checkpoints(facts),
        checks_screen.check_window_packages(facts),
        checks_screen.check_screen(facts),
        checks_screen.check_fonts(facts),
        checks_screen.check_opengl(facts),
        checks_compute.check_sqlite(facts),
        checks_disk.check_shared_memory(facts),
        *checks_disk.check_places(facts),
    ]


def doctor(as_json: JsonOption = False) -> None:
    """Name what is wrong with this machine, and the command that mends it.

    Looks at Python, torch, GPU and driver, weights, Qt, OpenGL, fonts, disk and permissions. Exits with 1 when
    something is broken. Needs no network and changes nothing.

    \b
    Examples:
      napari-relay doctor
      napari-relay doctor --json > report.json      to send with a question
    """
    with err.status("Looking at this machine ..."):
        findings = examine(gather())
    broken = sum(finding.verdict is Verdict.BROKEN for finding in findings)
    if as_json:
        print_json({"broken": broken, "findings": [asdict(finding) for finding in findings]})
    else:
        _print(findings, broken)
    if broken:
        raise typer.Exit(1)


def _print(findings: list[Finding], broken: int) -> None:
    width = max(len(finding.topic) for finding in findings)
    for finding in findings:
        line = f"{MARKS[finding.verdict]} {finding.topic:<{width}}  {escape(finding.what)}"
        out.print(line, highlight=False, soft_wrap=True)
        if finding.fix:
            out.print(f"{'':<{width + 9}}[bold]fix:[/] {escape(finding.fix)}", highlight=False, soft_wrap=True)
    out.print()
    if broken:
        out.print(f"{broken} broken. Run the fixes above, then `napari-relay doctor` again.", highlight=False)
    else:
        out.print("Nothing is broken.", highlight=False)

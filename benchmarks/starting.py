"""Start a program with a window through `probe.py` and read what it tells; for scripts that compare starts."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from napari_relay.errors import RelayError

PROBE = Path(__file__).parent / "probe.py"
LIMIT_S = 400.0


@dataclass(frozen=True, slots=True)
class Started:
    """One start.

    Parameters
    ----------
    seconds : what was there -> seconds since the process was started: loop, frame (the first one), pixels (of the
        image), ready (to be clicked), usable (all of it, and the event loop quiet).
    rss_mb : resident memory of the window's process at the end.
    worker_mb : of its child processes.
    torch : whether the window's process has loaded torch.
    """

    seconds: dict[str, float]
    rss_mb: float
    worker_mb: float
    torch: bool


def start(
    program: str, environment: dict[str, str], report: Path, *options: str, arguments: tuple[str, ...] = ()
) -> Started:
    """Start `napari` or `relay` on the screen of `environment` and wait until it is usable.

    Raises
    ------
    RelayError
        It ended early, or never got there.
    """
    report.unlink(missing_ok=True)
    words = [sys.executable, str(PROBE), str(report), program, *options, "--", *arguments]
    began = time.time()
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=LIMIT_S)
    if not report.is_file():
        raise RelayError(f"{program} ended with code {done.returncode}: {done.stderr[-2000:]}", "Start it by hand.")
    found = json.loads(report.read_text())
    if found["failure"]:
        raise RelayError(f"{program} was not usable: {found['failure']}; it got to {list(found['times'])}.")
    return Started(
        {name: at - began for name, at in found["times"].items()},
        found["rss"] / 1e6,
        found["children_rss"] / 1e6,
        found["torch"],
    )

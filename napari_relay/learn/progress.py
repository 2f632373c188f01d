"""How far a job is: lines that its process appends to a file, and that anybody may follow."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

STAGES = ("reading", "encoding", "measuring", "learning", "paused", "finished")


@dataclass(frozen=True, slots=True)
class Progress:
    """One step.

    stage : one of `STAGES`; done, total : within it. part : which part of the job, such as "fold 2 of 5".
    share : of the whole job, 0..1. left_s : estimated seconds until its end; None where nothing is known yet.
    step, loss, iou : of the curve, where this step has a point of it; the IoU is that of simulated clicks.
    note : something to tell the user once, such as that memory was short.
    """

    stage: str
    done: int = 0
    total: int = 0
    part: str = ""
    share: float = 0.0
    left_s: float | None = None
    step: int | None = None
    loss: float | None = None
    iou: float | None = None
    note: str = ""


def append(path: Path, progress: Progress) -> None:
    """Add a line; fields that say nothing are left out."""
    default = asdict(Progress(progress.stage))
    values = {k: v for k, v in asdict(progress).items() if k == "stage" or v != default[k]}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(values) + "\n")


class Follower:
    """Reads what was added to a progress file since the last look. Half a line is left for the next one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0

    def read(self) -> list[Progress]:
        """The new lines; none where there is no file yet."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._at)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._at += len(whole)
        return [Progress(**json.loads(line)) for line in whole.splitlines() if line.strip()]

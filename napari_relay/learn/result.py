"""What came of a job."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from napari_relay.learn.job import JobFolder


class LearnStatus(StrEnum):
    """How a job stands. `INTERRUPTED`: its process is gone without a result; it can be resumed."""

    RUNNING = "running"
    PAUSED = "paused"
    INTERRUPTED = "interrupted"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class LearnResult:
    """What came of a job.

    better : whether anything for clicks passed its gate. reason : why, in words.
    checkpoint : what may be promoted because it is better; None where nothing is.
    anyway : all that was learned, better or not.
    heads : numbers before and after of each head, JSON values.
    gallery : pictures of the objects that changed most.
    class_heads : by project, the file of a class head that passed its own gate.
    """

    status: LearnStatus
    better: bool = False
    reason: str = ""
    checkpoint: Path | None = None
    anyway: Path | None = None
    objects: int = 0
    measured: str = ""
    seconds: float = 0.0
    heads: dict[str, Any] = field(default_factory=dict)
    gallery: tuple[Path, ...] = ()
    class_heads: dict[Path, Path] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: JobFolder) -> LearnResult | None:
        """The result in a job's folder; None where there is none yet."""
        values = folder.read("result.json")
        if values is None:
            return None
        files = values.pop("checkpoints", {})

        def path(file: str) -> Path | None:
            return folder.path / files[file] if files.get(file) else None

        gallery = tuple(folder.path / name for name in values.pop("gallery", ()))
        values["class_heads"] = {
            Path(one["project"]): folder.path / one["file"]
            for one in values.get("heads", {}).get("class", {}).get("projects", ())
            if one["file"]
        }
        status = LearnStatus(values.pop("status"))
        return cls(status, checkpoint=path("better"), anyway=path("all"), gallery=gallery, **values)

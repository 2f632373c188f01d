"""What is to be learned, and the folder that tells how far it is: all that the window and the job's process share.

    <project>.learn/job-0003/job.json         what is asked for (`LearnJob`)
    <project>.learn/job-0003/process.json     which process works on it
    <project>.learn/job-0003/progress.jsonl   one line a step of progress (`progress.Progress`)
    <project>.learn/job-0003/pause, cancel    laid there by whoever wants it to wait, or to end
    <project>.learn/job-0003/state.pt         everything that going on needs
    <project>.learn/job-0003/result.json      written last (`result.LearnResult`), with checkpoint and pictures
    <project>.learn/encodings/                what the encoder made of the objects' views; shared by the jobs
    <project>.learn/checkpoints/              what was promoted; nothing here is ever overwritten
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from napari_relay.errors import StorageError, UsageError

PROJECT_SUFFIX = ".relay"
FOLDER_SUFFIX = ".learn"


@dataclass(frozen=True, slots=True)
class Material:
    """A project to learn from, and the image (path or address) that it belongs to."""

    project: Path
    image: str


@dataclass(frozen=True, slots=True)
class LearnJob:
    """One job.

    materials : the projects; what is learned is promoted in each.
    start : checkpoint that the weights start from (name or file); None for the default one.
    current : checkpoint that is in use now, which the new one must beat; None for `start`.
    minutes : how long it may take on this machine, encoding and measuring included.
    heads : what is trained in the job, see `relay_training.finetune.heads`.
    deep : adapt the encoder's last two stages too. Its steps take longer; give it 20 minutes.
    device, threads : as in `open_workspace`; 0 threads leave the choice to torch.
    seed : of every draw.
    classes : train the class head too, where a project has classes to tell apart.
    truth : projects in the order of `materials` whose objects of the same ids are the truth for measuring (for
        benchmarks); empty: the projects' own.
    recipe : settings of the training that differ from the default ones, by name.
    """

    materials: tuple[Material, ...]
    start: str | None = None
    current: str | None = None
    minutes: float = 5.0
    heads: tuple[str, ...] = ("click",)
    classes: bool = True
    deep: bool = False
    device: str = "auto"
    threads: int = 0
    seed: int = 0
    truth: tuple[Path, ...] = ()
    recipe: Mapping[str, float | int | str] | None = None

    def __post_init__(self) -> None:
        if not self.materials:
            raise UsageError("There is no project to learn from.", "Name at least one.")
        if not self.minutes > 0:
            raise UsageError(f"minutes is {self.minutes}.", "Give a positive number.")

    def to_json(self) -> dict[str, Any]:
        values = asdict(self)
        values["materials"] = [{"project": str(m.project), "image": m.image} for m in self.materials]
        values["truth"] = [str(path) for path in self.truth]
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> LearnJob:
        materials = tuple(Material(Path(m["project"]), m["image"]) for m in values["materials"])
        truth = tuple(Path(path) for path in values.get("truth", ()))
        return cls(**{**values, "materials": materials, "truth": truth, "heads": tuple(values["heads"])})


def learn_folder(project: Path) -> Path:
    """`<image file>.learn` beside a project `<image file>.relay`."""
    return project.with_name(project.name.removesuffix(PROJECT_SUFFIX) + FOLDER_SUFFIX)


class JobFolder:
    """The folder of one job. Files are written so that a reader sees the old or the new one, never half of one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def make(cls, job: LearnJob) -> JobFolder:
        """A new folder beside the first project.

        Raises
        ------
        StorageError
            It cannot be made there.
        """
        home = learn_folder(job.materials[0].project)
        try:
            home.mkdir(parents=True, exist_ok=True)
            numbers = [int(p.name[4:]) for p in home.glob("job-*") if p.name[4:].isdecimal()]
            folder = cls(home / f"job-{max(numbers, default=0) + 1:04d}")
            folder.path.mkdir()
            folder.write("job.json", job.to_json())
        except OSError as error:
            raise StorageError(f"{home} cannot be written to: {error.strerror}.", "Free some room there.") from error
        return folder

    @classmethod
    def latest(cls, project: Path) -> JobFolder | None:
        """The newest job of a project, or None."""
        found = sorted(learn_folder(project).glob("job-*/job.json"))
        return cls(found[-1].parent) if found else None

    def job(self) -> LearnJob:
        """Raises UsageError where there is none."""
        values = self.read("job.json")
        if values is None:
            raise UsageError(f"{self.path} is no folder of a learning job.", "Start one: `napari-relay learn`.")
        return LearnJob.from_json(values)

    @property
    def progress(self) -> Path:
        return self.path / "progress.jsonl"

    @property
    def encodings(self) -> Path:
        return self.path.parent / "encodings"

    def read(self, name: str) -> dict[str, Any] | None:
        """A JSON file of the folder; None where there is none."""
        try:
            values: dict[str, Any] = json.loads((self.path / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return values

    def write(self, name: str, values: Mapping[str, Any]) -> None:
        """Write a JSON file of the folder, durably."""
        partial = self.path / f"{name}.partial"
        with partial.open("w", encoding="utf-8") as file:
            json.dump(values, file, indent=1, default=str)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.path / name)

    def wish(self, name: str, *, on: bool = True) -> None:
        """Ask the process to `pause` or `cancel`, or no longer to."""
        path = self.path / name
        if on:
            path.touch()
        else:
            path.unlink(missing_ok=True)

    def wished(self, name: str) -> bool:
        return (self.path / name).exists()

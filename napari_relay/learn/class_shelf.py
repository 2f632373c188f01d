"""The class heads of a project: the one in use lies beside it, all that ever were stay in a folder, and so one can go
back. Nothing is overwritten.

    <project>.classes.safetensors                           in use
    <project>.learn/class-heads/0002-3f5a91c2.safetensors   kept
    <project>.learn/class-heads/trail.json                  what was promoted, the first first
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from napari_relay.errors import StorageError, UsageError
from napari_relay.learn.job import learn_folder

TRAIL = "trail.json"


@dataclass(frozen=True, slots=True)
class ClassStep:
    """A class head that was promoted.

    before : file name of the one that was in use, "" for none.
    beside : file name of the project's checkpoint in use from then on, "" for the program's.
    together : that checkpoint came from the same job, so that going back takes both.
    """

    before: str
    beside: str = ""
    together: bool = False


class ClassShelf:
    """The class heads of one project.

    Parameters
    ----------
    project : the project's file. place : where the head in use lies.
    """

    def __init__(self, project: Path, place: Path) -> None:
        self.place, self.folder = place, learn_folder(project) / "class-heads"

    def last(self) -> ClassStep | None:
        """The last promotion that was not taken back."""
        trail = self._trail()
        return trail[-1] if trail else None

    def promote(self, file: Path, *, beside: str = "", together: bool = False) -> Path:
        """Use a class head from now on (a copy); returns where it is.

        Raises
        ------
        StorageError
        """
        try:
            before = self._keep(self.place) if self.place.exists() else ""
            if self._keep(file) != before:
                self._put(file)
                self._write([*self._trail(), ClassStep(before, beside, together)])
        except OSError as error:
            raise StorageError(f"{self.place} cannot be written: {error.strerror}.", "Free some room there.") from error
        return self.place

    def roll_back(self) -> Path | None:
        """Use the head that was in use before the last promotion; None where there was none.

        Raises
        ------
        UsageError
            There is nothing to go back to.
        StorageError
        """
        trail = self._trail()
        if not trail:
            raise UsageError("No learned class head is in use.", "Learn first.")
        name = trail[-1].before
        try:
            if self.place.exists():
                self._keep(self.place)  # learned since by other ways, perhaps
            if name:
                self._put(self.folder / name)
            else:
                self.place.unlink(missing_ok=True)
            self._write(trail[:-1])
        except OSError as error:
            raise StorageError(f"{self.place} cannot be written: {error.strerror}.", "Free some room there.") from error
        return self.place if name else None

    def _put(self, file: Path) -> None:
        partial = self.place.with_name(f"{self.place.name}.partial")
        shutil.copyfile(file, partial)
        with partial.open("rb+") as copied:
            os.fsync(copied.fileno())
        partial.replace(self.place)

    def _keep(self, file: Path) -> str:
        """Name of a copy in the folder; the same content once."""
        self.folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
        known = sorted(self.folder.glob(f"*-{digest}.safetensors"))
        if known:
            return known[0].name
        path = self.folder / f"{len(list(self.folder.glob('*.safetensors'))) + 1:04d}-{digest}.safetensors"
        partial = path.with_suffix(".partial")
        shutil.copyfile(file, partial)
        partial.replace(path)
        return path.name

    def _trail(self) -> list[ClassStep]:
        path = self.folder / TRAIL
        return [ClassStep(**step) for step in json.loads(path.read_text())] if path.exists() else []

    def _write(self, trail: list[ClassStep]) -> None:
        partial = self.folder / f"{TRAIL}.partial"
        partial.write_text(json.dumps([asdict(step) for step in trail], indent=1))
        partial.replace(self.folder / TRAIL)

"""The class heads of a project: the one in use lies beside it, all that ever were stay in a folder, and so one can go
back. Nothing is overwritten.

    <project>.classes.safetensors                           in use
    <project>.learn/class-heads/0002-3f5a91c2.safetensors   kept
    <project>.learn/class-heads/trail.json                  what was promoted, the first first
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from napari_relay.errors import StorageError, UsageError
from napari_relay.learn.job import learn_folder
from napari_relay.learn.keeping import copy_durably, keep

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
            before = keep(self.place, self.folder).name if self.place.exists() else ""
            if keep(file, self.folder).name != before:
                self._write([*self._trail(), ClassStep(before, beside, together)])  # first: a way back is never missing
                copy_durably(file, self.place)
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
                keep(self.place, self.folder)  # learned since by other ways, perhaps
            if name:
                copy_durably(self.folder / name, self.place)
            else:
                self.place.unlink(missing_ok=True)
            self._write(trail[:-1])
        except OSError as error:
            raise StorageError(f"{self.place} cannot be written: {error.strerror}.", "Free some room there.") from error
        return self.place if name else None

    def _trail(self) -> list[ClassStep]:
        path = self.folder / TRAIL
        return [ClassStep(**step) for step in json.loads(path.read_text())] if path.exists() else []

    def _write(self, trail: list[ClassStep]) -> None:
        partial = self.folder / f"{TRAIL}.partial"
        partial.write_text(json.dumps([asdict(step) for step in trail], indent=1))
        partial.replace(self.folder / TRAIL)

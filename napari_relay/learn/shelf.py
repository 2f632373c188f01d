"""The learned checkpoints of a project: promote one, go back, know which is in use. Nothing is ever overwritten.

    <project>.learn/checkpoints/0002-3f5a91c2.safetensors

The project remembers which is in use under `checkpoint` of its settings, and each change in its history (kind `learn`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from napari_relay.errors import CheckpointError, StorageError, UsageError
from napari_relay.learn.job import learn_folder
from napari_relay.learn.keeping import keep
from napari_relay.model.checkpoint import Card, read_card
from napari_relay.store import Project, ProjectReader

CURRENT = "checkpoint"
BASE = ""
"""The value of a project that uses the checkpoint that ships with the program."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A checkpoint on the shelf: its file and its card."""

    path: Path
    card: Card

    @property
    def name(self) -> str:
        return self.path.stem


class Shelf:
    """The learned checkpoints of one project. Holds nothing open; the project stays its owner's to close."""

    def __init__(self, project: ProjectReader) -> None:
        self._project = project
        self.folder = learn_folder(project.path) / "checkpoints"

    def stored(self) -> list[Stored]:
        """All of them, the oldest first; files that cannot be read are left out."""
        found = []
        for path in sorted(self.folder.glob("*.safetensors")):
            try:
                found.append(Stored(path, read_card(path)))
            except CheckpointError:
                continue
        return found

    def current(self) -> Path | None:
        """The one in use; None for the checkpoint that ships with the program.

        Raises
        ------
        CheckpointError
            The project names one that is not there.
        """
        name = self._project.value(CURRENT) or BASE
        if name == BASE:
            return None
        path = self.folder / name
        if not path.is_file():
            raise CheckpointError(
                f"{path}, which this project learned, is gone.",
                "Put it back, or roll back: napari-relay learn PROJECT --rollback.",
            )
        return path

    def promote(self, checkpoint: Path, summary: str = "") -> Path:
        """Put a checkpoint on the shelf (a copy) and use it from now on; returns the copy.

        Raises
        ------
        CheckpointError
            It is none.
        StorageError
            It cannot be kept.
        """
        card, project = read_card(checkpoint), self._writable()
        path = self._kept(checkpoint)
        project.record_learning(path.name, summary or f"learn: {card.title}", value=path.name)
        return path

    def roll_back(self) -> Path | None:
        """Use the checkpoint that was in use before the present one; the one that is left stays on the shelf.

        Returns
        -------
        The one that is in use now; None for the one that ships with the program.

        Raises
        ------
        UsageError
            There is nothing to go back to.
        """
        project, before = self._writable(), self._trail()
        if len(before) < 2:
            raise UsageError("No learned checkpoint is in use.", "Learn first.")
        name = before[-2]
        words = f"roll back to {Path(name).stem}" if name else "roll back to the checkpoint of the program"
        project.record_learning(name, words, value=name, kind="learn-rollback")
        return self.current()

    def use(self, name: str) -> Path | None:
        """Use any checkpoint of the shelf, by file name; "" is the one of the program.

        Raises
        ------
        UsageError
            There is none of that name.
        """
        known = [stored.path.name for stored in self.stored()]
        if name and name not in known:
            raise UsageError(f"There is no learned checkpoint {name!r}.", f"There are: {', '.join(known) or 'none'}.")
        self._writable().record_learning(name, f"use {Path(name).stem or 'the checkpoint of the program'}", value=name)
        return self.current()

    def _writable(self) -> Project:
        if not isinstance(self._project, Project):
            raise UsageError("The project is open for reading only.", "Open it for writing.")
        return self._project

    def _trail(self) -> list[str]:
        """What was in use, the first first: promoted ones pushed, roll backs popped."""
        trail = [BASE]
        for action in reversed(self._project.history(None, everything=True)):
            if action.kind == "learn":
                trail.append(action.checkpoint or BASE)
            elif action.kind == "learn-rollback" and len(trail) > 1:
                trail.pop()
        return trail

    def _kept(self, checkpoint: Path) -> Path:
        """A durable copy under a name of its own; the same content is kept once."""
        try:
            return keep(checkpoint, self.folder)
        except OSError as error:
            raise StorageError(f"{self.folder} cannot be written to: {error.strerror}.", "Free some room.") from error

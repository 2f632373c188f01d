"""Learning from an open workspace: the job, and what becomes of its result."""

from __future__ import annotations

import filecmp
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_relay.errors import CheckpointError, UsageError
from napari_relay.learn import ClassShelf, LearnJob, LearnResult, Material, RunningJob, Shelf, start
from napari_relay.learn.shelf import BASE, CURRENT
from napari_relay.model.checkpoint import read_card
from napari_relay.store import Project

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_relay.workspace.workspace import Workspace

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RolledBack:
    """What a roll back did.

    path : the learned checkpoint in use now; None for the one of the program.
    checkpoint, classes : whether the checkpoint and the class head were taken back.
    """

    path: Path | None
    checkpoint: bool
    classes: bool


def learned_checkpoint(project: Project) -> Path | None:
    """The learned checkpoint that a project uses; None, with a word in the log, where it cannot be used."""
    try:
        path = Shelf(project).current()
        if path is not None:
            base = read_card(path).base
            if base:
                read_card(base["name"])
    except CheckpointError as error:
        log.warning("%s The checkpoint of the program is used.", error)
        return None
    return path


def learned_size(checkpoint: Path | None) -> float | None:
    """Longest side in level-0 pixels of the larger ones of the objects that a checkpoint learned from; None where its
    card tells none."""
    if checkpoint is None:
        return None
    size = read_card(checkpoint).metrics.get("object_px")
    return None if size is None else float(size)


def learn(workspace: Workspace, *, minutes: float, heads: Sequence[str], deep: bool, seed: int) -> RunningJob:
    """See `Workspace.learn`."""
    source = workspace.source
    if workspace.temporary or (source.path is None and source.format == "array"):
        raise UsageError(f"{source.name} is an array without a file.", "Save the image, open it, and learn from that.")
    image = str(source.path) if source.path is not None else source.where
    current = Shelf(workspace.project).current()
    return start(
        LearnJob(
            (Material(workspace.project.path, image),),
            current=None if current is None else str(current),
            minutes=minutes,
            heads=tuple(heads),
            deep=deep,
            seed=seed,
        )
    )


def promote(workspace: Workspace, result: LearnResult, *, anyway: bool) -> Path:
    """See `Workspace.promote`."""
    path = Shelf(workspace.project).promote(promotable(result, anyway=anyway), summary=f"learn: {result.reason}")
    workspace.set_checkpoint(str(path))
    workspace.object_px = learned_size(path)
    return path


def promotable(result: LearnResult, *, anyway: bool) -> Path:
    """The checkpoint of a result that may be promoted.

    Raises
    ------
    UsageError
        There is none, or it is not better and that was not overruled.
    """
    path = result.anyway if anyway else result.checkpoint
    if path is None:
        fix = "Look at before and after; `anyway=True` promotes it all the same." if result.anyway else "Learn first."
        raise UsageError(f"Nothing better was learned. {result.reason}".strip(), fix)
    return path


def promote_classes(result: LearnResult) -> list[Path]:
    """Put the class heads of a result that passed their gates beside their projects; each earlier one is kept.

    Call it after the checkpoint of the same result was promoted: going back takes both then.

    Returns
    -------
    Where they are; empty where none is better.

    Raises
    ------
    StorageError
    """
    places = []
    for path, file in result.class_heads.items():
        with Project.open(path, create=False, read_only=True) as project:
            current = Shelf(project).current()
        learned = [one for one in (result.checkpoint, result.anyway) if one is not None]
        together = current is not None and any(filecmp.cmp(current, one, shallow=False) for one in learned)
        beside = BASE if current is None else current.name
        places.append(class_shelf(path).promote(file, beside=beside, together=together))
    return places


def class_shelf(project: Path) -> ClassShelf:
    """The class heads of a project."""
    from napari_relay.fullimage.request import class_head_path  # slow to import, and a window opens with this file

    return ClassShelf(project, class_head_path(project))


def roll_back_project(project: Project) -> RolledBack:
    """Take back what was learned last: the checkpoint, or the class head that was promoted after it, or both where they
    came from one job.

    Raises
    ------
    UsageError
        There is nothing to go back to.
    """
    shelf, classes = Shelf(project), class_shelf(project.path)
    last = classes.last()
    heads = last is not None and last.beside == (project.value(CURRENT) or BASE)
    if heads:
        classes.roll_back()
    checkpoint = not heads or (last is not None and last.together)
    return RolledBack(shelf.roll_back() if checkpoint else shelf.current(), checkpoint, heads)


def roll_back(workspace: Workspace, fallback: str | None) -> RolledBack:
    """See `Workspace.roll_back`."""
    done = roll_back_project(workspace.project)
    if done.checkpoint:
        workspace.set_checkpoint(fallback if done.path is None else str(done.path))
        workspace.object_px = learned_size(done.path)
    return done

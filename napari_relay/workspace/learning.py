"""Learning from an open workspace: the job, and what becomes of its result."""

from __future__ import annotations

import hashlib
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from napari_relay.errors import CheckpointError, StorageError, UsageError
from napari_relay.learn import LearnJob, LearnResult, Material, RunningJob, Shelf, learn_folder, start
from napari_relay.model.checkpoint import read_card
from napari_relay.store import Project

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_relay.workspace.workspace import Workspace

log = logging.getLogger(__name__)


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


def learn(workspace: Workspace, *, minutes: float, heads: Sequence[str], seed: int) -> RunningJob:
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

    Returns
    -------
    Where they are; empty where none is better.

    Raises
    ------
    StorageError
    """
    from napari_relay.fullimage.request import class_head_path  # slow to import, and a window opens with this file

    places = []
    for project, file in result.class_heads.items():
        place = class_head_path(project)
        try:
            for known in (place, file):
                if known.exists():
                    _keep(known, learn_folder(project) / "class-heads")
            partial = place.with_name(f"{place.name}.partial")
            shutil.copyfile(file, partial)
            partial.replace(place)
        except OSError as error:
            raise StorageError(f"{place} cannot be written: {error.strerror}.", "Free some room there.") from error
        places.append(place)
    return places


def _keep(file: Path, folder: Path) -> None:
    """A copy under a name of its own; the same content once."""
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    if not list(folder.glob(f"*-{digest}.safetensors")):
        shutil.copyfile(file, folder / f"{len(list(folder.iterdir())) + 1:04d}-{digest}.safetensors")


def roll_back(workspace: Workspace, fallback: str | None) -> Path | None:
    """See `Workspace.roll_back`."""
    path = Shelf(workspace.project).roll_back()
    workspace.set_checkpoint(fallback if path is None else str(path))
    workspace.object_px = learned_size(path)
    return path

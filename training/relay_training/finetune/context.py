"""What every head of a learning job shares: material, time, progress, pause and cancel."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from torch import Tensor

from napari_relay.errors import CancelledError
from napari_relay.learn.job import JobFolder, LearnJob
from napari_relay.learn.progress import Progress, append
from napari_relay.model.network import ClickModel
from napari_relay.predictor import Predictor
from relay_training.finetune.cache import Encodings
from relay_training.finetune.material import OpenMaterial, Split

log = logging.getLogger(__name__)

POLL_S = 0.2


class InterruptedJobError(CancelledError):
    """The process was asked to end; the job can be gone on with."""


class Control:
    """Hears the folder's wishes and the system's signals, tells of progress, and keeps the time.

    `check` is called between any two steps. `budget_s` counts the time of the job's process without its pauses.
    """

    def __init__(self, folder: JobFolder, budget_s: float, spent_s: float = 0.0) -> None:
        self.folder, self.budget_s = folder, budget_s
        self._started = time.monotonic() - spent_s
        self._ending = False
        self.left_s: float | None = None
        """What the head that works estimates of its own steps and all that follows."""

    def listen(self) -> None:
        """End at the next check when the system asks for it (SIGTERM, Ctrl+C)."""
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, self._hear)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._ending = True

    @property
    def spent_s(self) -> float:
        return time.monotonic() - self._started

    def check(self, save: Callable[[], None] | None = None) -> None:
        """Wait while a pause is wished, `save` before.

        Raises
        ------
        CancelledError
            The user cancelled the job.
        InterruptedJobError
            The process has to end.
        """
        if self.folder.wished("pause") and not self._ending:
            if save is not None:
                save()
            self.tell("paused")
            since = time.monotonic()
            while self.folder.wished("pause") and not self.folder.wished("cancel") and not self._ending:
                time.sleep(POLL_S)
            self._started += time.monotonic() - since
        if self.folder.wished("cancel"):
            raise CancelledError("Learning was cancelled.", "Start it again with Learn.")
        if self._ending:
            if save is not None:
                save()
            raise InterruptedJobError("Learning was interrupted.", "It goes on where it stopped when it is resumed.")

    def tell(self, stage: str, done: int = 0, total: int = 0, part: str = "", **more: Any) -> None:
        """Add a line to the progress file."""
        spent = self.spent_s
        left = max(0.0, self.budget_s - spent) if self.left_s is None else self.left_s
        share = 1.0 if stage == "finished" else spent / max(1e-6, spent + left)
        append(self.folder.progress, Progress(stage, done, total, part, round(share, 4), round(left, 1), **more))


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """Handed to each head of a job.

    start : the weights that learning begins with, in float32, and `predictor`, which computes with them.
    before : what the new weights must beat; the start's, or the promoted checkpoint's that is in use.
    split : which objects teach and which measure.
    object_px, before_px : size of the objects that a first view is fitted to, after and before; see `views.first_view`.
    """

    job: LearnJob
    folder: JobFolder
    control: Control
    materials: Sequence[OpenMaterial]
    split: Split
    start: ClickModel
    predictor: Predictor
    before: Predictor
    encodings: Encodings
    object_px: float
    before_px: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class HeadResult:
    """What a head learned.

    better, reason : whether it passed its own gate, and why.
    metrics : numbers before and after, JSON values.
    tensors : what changed, under the names of the network's state.
    gallery : pictures of the objects that changed most.
    apart : what it learned is a file of its own and no part of the network's checkpoint.
    """

    name: str
    better: bool
    reason: str
    metrics: dict[str, Any]
    tensors: dict[str, Tensor]
    gallery: tuple[Path, ...] = field(default=())
    apart: bool = False

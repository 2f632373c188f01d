"""The model's side of the window: one worker process for all its images, so that this process never imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from napari_relay.sources import Source
from napari_relay.widgets.settings import WindowSettings

if TYPE_CHECKING:
    from napari_relay.workspace import Workspace


class Computing(Protocol):
    """What the dock needs. All of it may be slow and runs in the window's thread, one call at a time."""

    def open(self, source: Source, project: Path | None) -> Workspace:
        """A workspace on `source`, which stays its caller's to close."""

    def apply(self, settings: WindowSettings) -> None:
        """Use these settings from the next click on.

        Raises
        ------
        CheckpointError, EngineError
            The checkpoint cannot be loaded; the old one stays.
        """

    def close(self) -> None:
        """End the worker."""


class WorkerComputing:
    """Workspaces that share one worker process, made with the first of them.

    Device, threads and cache size are chosen when a worker starts, so changing them takes another worker (open
    images stay open, a click that runs is sent again); another checkpoint is loaded by the one that runs.
    """

    def __init__(self, settings: WindowSettings) -> None:
        self.settings = settings
        self._engine: Any = None

    def open(self, source: Source, project: Path | None) -> Workspace:
        from napari_relay.workspace import open_workspace

        if self._engine is None:
            self._engine = _new_engine(self.settings)
        workspace = open_workspace(source, project=project, engine=self._engine)
        self._use_learned(workspace)
        # Loading the model takes seconds: it begins now, not at the first click.
        self._engine.start()
        return workspace

    def apply(self, settings: WindowSettings) -> None:
        before, self.settings = self.settings, settings
        engine = self._engine
        if engine is None:
            return
        arguments = _arguments(settings)
        wanted = arguments.pop("checkpoint")
        engine.update(**arguments)
        # Another checkpoint only where another was chosen: what the image learned stays in use else.
        if settings.checkpoint != before.checkpoint and wanted != engine.argument("checkpoint"):
            if not settings.needs_new_worker(before) and str(engine.state) not in ("new", "failed"):
                engine.call("set_checkpoint", wanted, lane="control")
            engine.update(checkpoint=wanted)
        if settings.needs_new_worker(before):
            engine.restart()

    def _use_learned(self, workspace: Workspace) -> None:
        """What a project learned goes with its image; an image without gets the chosen checkpoint back."""
        from napari_relay.workspace.learning import learned_checkpoint

        learned = learned_checkpoint(workspace.project)
        wanted = (self.settings.checkpoint or None) if learned is None else str(learned)
        if wanted != self._engine.argument("checkpoint"):
            workspace.set_checkpoint(wanted)

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None


def _new_engine(settings: WindowSettings) -> Any:
    from napari_relay.engine import WorkerEngine
    from napari_relay.workspace.opening import SERVICE

    return WorkerEngine(SERVICE, dtype="auto", **_arguments(settings))


def _arguments(settings: WindowSettings) -> dict[str, Any]:
    return {
        "checkpoint": settings.checkpoint or None,
        "device": settings.device,
        "threads": settings.threads or None,
        "cache_bytes": settings.cache_mb << 20,
    }

"""Proposals for the rest of the image, through the engine: a click of the user comes first, also while a job runs."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from napari_relay.engine import Engine
from napari_relay.errors import EngineError, MissingEncodingError, SupersededError, UsageError, WorkerDiedError
from napari_relay.fullimage.job import (
    Does,
    LocalPool,
    Pool,
    Proposed,
    Step,
    find_candidates,
    job_folder,
    open_job,
    remove_job,
    write_proposals,
)
from napari_relay.fullimage.plan import Grid, checked_region
from napari_relay.fullimage.ranking import save_search
from napari_relay.fullimage.request import (
    ClassRequest,
    Request,
    class_facts,
    class_head_path,
    class_map_path,
    class_of,
    content_hash_of,
    facts,
    find_examples,
    keep_examples,
    keep_taught,
    kept_examples,
    kept_taught,
    plan_work,
    plane_of,
    summary,
    teach,
    with_examples,
)
from napari_relay.fullimage.sees import Masks, Sees
from napari_relay.fullimage.similar import Examples
from napari_relay.fullimage.work import Work
from napari_relay.views import default_mix
from napari_relay.views.values import Crops, Float32

if TYPE_CHECKING:
    from napari_relay.workspace.workspace import Workspace

T = TypeVar("T")


class EngineSees:
    """See `fullimage.Sees`: asks the engine's service, in a lane behind the clicks.

    Raises of every method: EngineError, CheckpointError.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._checkpoint = ""

    @property
    def checkpoint(self) -> str:
        """Hash that names the weights; empty before the first view."""
        return self._checkpoint

    def look(self, crops: Crops, /) -> Float32:
        """See `Sees`."""
        return self._same(*self._until_done(lambda: self._engine.call("look", crops, lane="whole")))

    def ask(self, crops: Crops, clicks: Float32, /) -> Masks:
        """See `Sees`."""
        return Masks(*self._known(crops, "ask", clicks))

    def kernel(self, crops: Crops, clicks: Float32, /) -> Float32:
        """See `Sees`."""
        answer: Float32 = self._known(crops, "kernel", clicks)
        return answer

    def classify(self, crops: Crops, head: str, /) -> Float32:
        """See `Sees`."""
        return self._same(*self._until_done(lambda: self._engine.call("classify", crops, head, lane="whole")))

    def _same(self, answer: Float32, checkpoint: str) -> Float32:
        """The answer, if the weights are still those of the first one."""
        with self._lock:
            first = self._checkpoint = self._checkpoint or checkpoint
        if checkpoint != first:
            raise EngineError("The checkpoint was changed while a job ran.", "Begin the job anew.")
        return answer

    def _known(self, crops: Crops, method: str, clicks: Float32) -> Any:
        """Ask about a view; it is sent again where it is forgotten."""
        while True:
            try:
                return self._until_done(lambda: self._engine.call(method, crops.key, clicks, lane="whole"))
            except MissingEncodingError:
                self.look(crops)

    @staticmethod
    def _until_done(ask: Callable[[], T]) -> T:
        """Ask again where a click came between, or a worker died (once more, then it is an error)."""
        lives = 2
        while True:
            try:
                return ask()
            except SupersededError:
                continue
            except WorkerDiedError:
                lives -= 1
                if lives == 0:
                    raise


def examples_of(workspace: Workspace, request: Request) -> Examples:
    """What to look for; see `Workspace.examples`."""
    if not request.like:
        raise UsageError("To find similar objects, name one that is there.", "Give its id: --like 12.")
    work = plan_work(workspace.source, workspace.project, workspace.contrast, request)
    return find_examples(workspace.source, workspace.project, request, work, EngineSees(workspace.engine))


def propose(
    workspace: Workspace,
    request: Request,
    examples: Examples | None = None,
    client: Any = None,
) -> Generator[Step, None, Proposed]:
    """Run a job; see `Workspace.propose`."""
    source, project = workspace.source, workspace.project
    sees = EngineSees(workspace.engine)
    work = plan_work(source, project, workspace.contrast, request)
    checkpoint = str(workspace.info()["checkpoint"])
    if request.mode == "similar":
        # Looked for before the job begins: where there is no example no job is left behind.
        kept = kept_examples(job_folder(project.path)) if request.resume else None
        work = with_examples(work, kept or examples or examples_of(workspace, request))
    plan = facts(request, work, checkpoint)
    with open_job(project.path, plan, resume=request.resume, anew=request.anew) as job:
        if work.examples is not None:
            keep_examples(job.folder, work.examples)
        else:
            work = kept_taught(job.folder, work) or teach(source, project, request, work, sees)
            keep_taught(job.folder, work)
        pool = _pool(workspace, work, sees, client)
        candidates, report = yield from find_candidates(job, work, pool, checked_region(source.shape, request.region))
        ids, found = write_proposals(
            project, candidates, class_name=class_of(project, request), plane=work.plane, checkpoint=checkpoint,
            summary=summary(request, source.shape),
        )  # fmt: skip
        if work.examples is not None and ids:  # none where a killed run had written them all
            save_search(project.path, ids, found, work.examples)
        remove_job(job)
    return Proposed(ids, **report)


def _pool(workspace: Workspace, work: Does, sees: Sees, client: Any) -> Pool:
    """What does the tasks: the workers of a dask client, or this process, through the engine."""
    if client is None:
        return LocalPool(work, workspace.source, sees)
    from napari_relay.fullimage.cluster import DaskPool, ModelOnWorker

    model = workspace.engine.call("portable", lane="control")
    info = workspace.info()
    key = f"{info['checkpoint']} {info['dtype']}"
    return DaskPool(client, work, workspace.source, ModelOnWorker(model, key))


def classify(workspace: Workspace, request: ClassRequest, client: Any = None) -> Generator[Step, None, Path]:
    """Run a semantic job; see `Workspace.classify`."""
    from napari_relay.fullimage.semantic import ClassMap, ClassWork, check_scale, classify_image
    from napari_relay.model.class_card import read_class_card

    source, project = workspace.source, workspace.project
    head = (request.head or class_head_path(project.path)).absolute()
    card = read_class_card(head)
    out = class_map_path(project.path, request).absolute()
    goes_on = request.resume and job_folder(project.path).exists()
    if out.exists() and not (request.overwrite or goes_on):
        raise UsageError(f"{out} is there already.", "Replace it (--overwrite), or choose another place (--out).")
    grid = Grid(source.shape, card.step, checked_region(source.shape, request.region))
    check_scale(grid)
    plane = plane_of(project, source, request.plane)
    work = Work(
        {grid.step: grid}, plane, default_mix(source), workspace.contrast(), skip_empty=request.skip_empty
    )
    plan = class_facts(request, grid, content_hash_of(head), str(workspace.info()["checkpoint"]))
    with open_job(project.path, plan, resume=request.resume, anew=request.anew) as job:
        result = ClassMap(
            job.folder / "result.ome.zarr", card.names, card.colors, request.probabilities, source.pixel_size_um
        )
        if not (job.fact("whole") and not result.path.exists()):  # else it was killed just after the move
            classes = ClassWork(work, head, job.folder, result)
            sees = EngineSees(workspace.engine)
            pool = _pool(workspace, classes, sees, client)
            yield from classify_image(job, classes, pool)
            job.set_fact("whole", True)
            if out.exists():
                shutil.rmtree(out)
            shutil.move(result.path, out)
        remove_job(job)
    return out

"""`napari-relay propose --mode semantic`: a class for every pixel, learned from what was accepted."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_relay.cli.console import drive, err
from napari_relay.cli.outputs import load_model
from napari_relay.errors import UsageError

if TYPE_CHECKING:
    from napari_relay.fullimage.request import ClassRequest
    from napari_relay.model.class_card import ClassCard
    from napari_relay.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Wish:
    """How to work, the same for every image; `client` is a dask client or None."""

    project: Path | None
    checkpoint: str | None
    device: str
    client: Any = None


def classify_image(
    image: str, request: ClassRequest, wish: Wish, scale: float | None, *, relearn: bool
) -> dict[str, Any]:
    """Classes of one image, learned before where there is no class head; the report as JSON values."""
    from napari_relay.cli.images import opened_image
    from napari_relay.fullimage.request import class_head_path
    from napari_relay.model.class_card import read_class_card
    from napari_relay.workspace import open_workspace

    start = time.perf_counter()
    with (
        opened_image(image) as source,
        open_workspace(source, wish.project, wish.checkpoint, device=wish.device) as workspace,
    ):
        head = class_head_path(workspace.project.path)
        if relearn or not head.exists():
            _learn_classes(workspace, wish, scale, request)
        card = read_class_card(head)
        _check_card(card, workspace, scale)
        load_model(workspace)
        try:
            where = drive(workspace.classify(request, client=wish.client), f"Classifying {source.name}")
        except KeyboardInterrupt:
            err.print("Interrupted; the same words with --resume go on from here.", highlight=False)
            raise
    return {
        "image": image, "out": str(where), "mode": "semantic", "classes": list(card.names), **card.metrics,
        "s": round(time.perf_counter() - start, 1),
    }  # fmt: skip


def _check_card(card: ClassCard, workspace: Workspace, scale: float | None) -> None:
    """Refuse another scale than the head was learned at; tell of classes that it does not know."""
    if scale is not None and 2 * round(math.log2(scale)) != card.step:
        raise UsageError(
            f"The class head was learned at --scale {2 ** (card.step / 2):g}, not {scale:g}.", "Add --relearn."
        )
    used = {name for (name, state) in workspace.project.totals() if state in ("accepted", "reviewed", "locked")}
    if unknown := sorted(used - set(card.names)):
        err.print(f"Note: the class head does not know {', '.join(unknown)}; --relearn learns it.", highlight=False)


def _learn_classes(workspace: Workspace, wish: Wish, scale: float | None, request: ClassRequest) -> None:
    from napari_relay.learn import Shelf
    from napari_relay.predictor import load_predictor
    from relay_training.class_head import train_class_head
    from relay_training.class_head_material import ClassLesson

    step = 0 if scale is None else 2 * round(math.log2(scale))
    predictor = load_predictor(wish.checkpoint or Shelf(workspace.project).current(), device=wish.device)
    learning = train_class_head(
        workspace.project, workspace.source, predictor=predictor, lesson=ClassLesson(step=step, plane=request.plane)
    )
    report = drive(learning, "Learning the classes")
    err.print(f"Learned {', '.join(report.names)} from {report.taught} objects. {report.reason}", highlight=False)
    if report.better:
        return
    if not report.path.exists():
        raise UsageError(
            "What was learned tells the classes apart no better than chance does.",
            "Accept more objects of each class, or look for wrong classes among them.",
        )
    err.print("The class head that was there stays.", highlight=False)


def classify(image: str, request: ClassRequest, wish: Wish, scale: float | None, *, relearn: bool) -> dict[str, Any]:
    """Classes of one image, or of each of a folder; the report as JSON values."""
    from napari_relay.sources.folders import is_image_folder

    if not is_image_folder(Path(image)):
        return classify_image(image, request, wish, scale, relearn=relearn)
    if wish.project is not None or request.out is not None:
        raise UsageError("A folder's images have a project and a result each.", "Leave --project and --out out.")
    return _classify_folder(Path(image), request, wish, scale, relearn=relearn)


def _classify_folder(
    folder: Path, request: ClassRequest, wish: Wish, scale: float | None, *, relearn: bool
) -> dict[str, Any]:
    """Every image of a folder; those that an interrupted run has finished are passed over."""
    from napari_relay.fullimage.folder_job import FolderJob
    from napari_relay.sources.folders import images_in

    images = images_in(folder)
    if not images:
        raise UsageError(f"There is no image in {folder}.", "Name a folder with images in it.")
    plan = {"mode": "semantic", "probabilities": request.probabilities, "scale": scale}
    job = FolderJob(folder, plan, resume=request.resume, anew=request.anew)
    there = [path for path in images if path.name not in job.done and _map_of(path, request).exists()]
    if job.begun and not request.overwrite:
        # None was there when the job began: it was killed between the last image's result and its own note of it.
        for path in there:
            if not _unfinished(path):
                job.finish(path.name, _report(str(path), _map_of(path, request)))
    elif there and not request.overwrite:
        raise UsageError(f"{_map_of(there[0], request)} is there already.", "Replace such results (--overwrite).")
    job.begin()
    for path in images:
        if path.name not in job.done:
            job.finish(path.name, classify_image(str(path), request, wish, scale, relearn=relearn))
    return {"folder": str(folder), "images": job.remove()}


def _map_of(image: Path, request: ClassRequest) -> Path:
    from napari_relay.fullimage.request import class_map_path

    return class_map_path(_project_of(image), request)


def _unfinished(image: Path) -> bool:
    from napari_relay.fullimage.job import job_folder

    return job_folder(_project_of(image)).exists()


def _project_of(image: Path) -> Path:
    return image.with_name(f"{image.name}.relay")


def _report(image: str, where: Path) -> dict[str, Any]:
    """What is known of a result whose own report was lost."""
    import zarr

    ours: Any = zarr.open_group(where, mode="r").attrs["napari-relay"]
    return {"image": image, "out": str(where), "mode": "semantic", "classes": list(ours["classes"])}


def class_request(
    region: str | None,
    plane: str | None,
    to: Path | None,
    like: Sequence[str] | None,
    scale: float | None,
    probabilities: bool,
    everywhere: bool,
    overwrite: bool,
    resume: bool,
    anew: bool,
) -> ClassRequest:
    from napari_relay.cli.export import numbers
    from napari_relay.fullimage.request import ClassRequest
    from napari_relay.geometry import Box, Plane

    if like:
        raise UsageError("--like is for --mode similar.", "Choose that mode, or leave it out.")
    if scale is not None and (not (math.isfinite(scale) and scale > 0) or not math.log2(scale).is_integer()):
        raise UsageError(f"--scale {scale} is not possible with --mode semantic.", "Use 0.5, 1, 2, 4 ...")
    if resume and anew:
        raise UsageError("--resume and --anew do not go together.", "Choose one of them.")
    return ClassRequest(
        region=None if region is None else Box(*numbers(region, "--region", 4)),
        plane=Plane() if plane is None else Plane(*numbers(plane, "--plane", 2)), out=to, probabilities=probabilities,
        skip_empty=not everywhere, overwrite=overwrite, resume=resume, anew=anew,
    )  # fmt: skip

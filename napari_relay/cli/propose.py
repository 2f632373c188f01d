"""`napari-relay propose IMAGE|FOLDER`: the rest of the image, or of a folder of images, without the window."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_relay.cli.console import drive, err, out, print_json
from napari_relay.cli.options import CheckpointOption, DeviceOption, JsonOption, ProjectOption
from napari_relay.cli.outputs import load_model
from napari_relay.cli.propose_classes import Wish, class_request, classify
from napari_relay.errors import UsageError

if TYPE_CHECKING:
    from napari_relay.fullimage.request import Request
    from napari_relay.fullimage.similar import Examples


def propose(
    image: Annotated[str, typer.Argument(metavar="IMAGE|FOLDER", help="The image, or a folder of images.")],
    mode: Annotated[
        str,
        typer.Option("--mode", "-m", help="instances: every object; similar: like --like; semantic: a class a pixel."),
    ] = "instances",
    region: Annotated[
        str | None, typer.Option("--region", help="A part of the image: Y0,X0,Y1,X1 in level-0 pixels, ends excluded.")
    ] = None,
    like: Annotated[
        list[str] | None,
        typer.Option("--like", help="Id of an object to look for more of; may be repeated. In a folder: IMAGE:ID."),
    ] = None,
    plane: Annotated[
        str | None, typer.Option("--plane", help="One plane: T,Z, counted from 0; that of --like, or the first.")
    ] = None,
    class_name: Annotated[
        str | None, typer.Option("--class", help="Class of the proposals; that of --like, or the current one.")
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(
            "--scale", help="Image pixels per view pixel (rounded to half octaves); told by the objects there are."
        ),
    ] = None,
    one_scale: Annotated[
        bool, typer.Option("--one-scale", help="Do not look again with views twice as wide, for larger objects.")
    ] = False,
    min_iou: Annotated[
        float | None,
        typer.Option("--min-iou", help="Least IoU (0..1) that the model expects of a mask: 0.7; similar: 0.5."),
    ] = None,
    min_stability: Annotated[
        float | None,
        typer.Option("--min-stability", help="Least IoU of the masks at 0.4 and 0.6: 0.85; similar: 0.7."),
    ] = None,
    everywhere: Annotated[
        bool, typer.Option("--everywhere", help="Look at views of even ground (empty glass) too.")
    ] = False,
    to: Annotated[
        Path | None, typer.Option("--out", "-o", help="semantic: where the OME-Zarr goes; beside the project.")
    ] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="semantic: the probability of every class, not the likeliest class.")
    ] = False,
    relearn: Annotated[
        bool, typer.Option("--relearn", help="semantic: learn the classes anew although a class head is there.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="semantic: replace a result that is there.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the unfinished job.")] = False,
    anew: Annotated[bool, typer.Option("--anew", help="Throw an unfinished job away.")] = False,
    project: ProjectOption = None,
    checkpoint: CheckpointOption = None,
    device: DeviceOption = "auto",
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", help="Address of a dask scheduler, such as tcp://node1:8786.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Work in that many processes of this machine.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Propose the rest of the image: objects that wait in the project for somebody to accept or reject them.

    An object is proposed once, also where it lies across the borders of the views that the model sees. What is in the
    project already is not proposed again. One undo takes all proposals of a run back. Whatever ends the program, the
    same words with --resume go on where it was, with the same result.

    With --mode semantic every pixel gets a class instead, written as OME-Zarr: learned, once, from the classes of the
    accepted objects, from objects of the class `background` and from rejected proposals.

    \b
    Examples:
      napari-relay propose slide.svs --region 0,0,4000,4000
      napari-relay propose slide.svs --mode similar --like 12 --like 15
      napari-relay propose slide.svs --resume
      napari-relay propose slide.svs --mode semantic --scale 4 --out tissue.ome.zarr
      napari-relay propose folder_of_images --workers 2 --json
    """
    with ExitStack() as opened:
        if mode == "semantic":
            classes = class_request(region, plane, to, like, scale, probabilities, everywhere, overwrite, resume, anew)
            wish = Wish(project, checkpoint, device, _client(opened, scheduler, workers))
            report: dict[str, Any] = classify(image, classes, wish, scale, relearn=relearn)
        else:
            request, named = _request(
                mode, region, plane, like or [], class_name, scale, one_scale, everywhere, resume, anew
            )
            request = replace(request, min_iou=min_iou, min_stability=min_stability)
            request.check()
            wish = Wish(project, checkpoint, device, _client(opened, scheduler, workers))
            report = _propose(image, request, named, wish)
    if as_json:
        print_json(report)
        return
    for row in report.get("images", [report]):
        said = f"Classes of {row['image']}: {row['out']}" if "out" in row else (
            f"{row['n']} objects proposed in {row['image']}: {row['project']}"
        )
        out.print(said, highlight=False)


def _client(opened: ExitStack, scheduler: str | None, workers: int | None) -> Any:
    """A dask client, closed with `opened`; None where nobody asked for one."""
    if scheduler is None and workers is None:
        return None
    if scheduler is not None and workers is not None:
        raise UsageError("--scheduler and --workers do not go together.", "Choose one of them.")
    from napari_relay.fullimage.client import open_client

    return opened.enter_context(open_client(scheduler, workers))


def _propose(image: str, request: Request, named: str | None, wish: Wish) -> dict[str, Any]:
    """Propose in one image or in a folder; `named` is the image that --like names."""
    from napari_relay.sources.folders import is_image_folder

    if not is_image_folder(Path(image)):
        if named is not None:
            raise UsageError(f"--like {named}:... names an image.", "For a single image give the id alone.")
        return propose_image(image, request, wish)
    if wish.project is not None:
        raise UsageError("A folder's images have a project each.", "Leave --project out.")
    return _propose_folder(Path(image), request, named, wish)


def propose_image(image: str, request: Request, wish: Wish, examples: Examples | None = None) -> dict[str, Any]:
    """One image; the report as JSON values."""
    from napari_relay.cli.images import opened_image
    from napari_relay.workspace import open_workspace

    start = time.perf_counter()
    with (
        opened_image(image) as source,
        open_workspace(source, wish.project, wish.checkpoint, device=wish.device) as workspace,
    ):
        load_model(workspace)
        try:
            steps = workspace.propose(request, examples=examples, client=wish.client)
            done = drive(steps, f"Proposing in {source.name}")
        except KeyboardInterrupt:
            err.print("Interrupted; the same words with --resume go on from here.", highlight=False)
            raise
        where = str(workspace.project.path)
    seconds = round(time.perf_counter() - start, 1)
    return {"image": image, "project": where, "mode": request.mode, "n": len(done.ids), **asdict(done), "s": seconds}


def _propose_folder(folder: Path, request: Request, examples_at: str | None, wish: Wish) -> dict[str, Any]:
    """Every image of a folder; those that an interrupted run has finished are passed over."""
    from napari_relay.fullimage.folder_job import FolderJob
    from napari_relay.sources.folders import images_in

    images = images_in(folder)
    if not images:
        raise UsageError(f"There is no image in {folder}.", "Name a folder with images in it.")
    if request.mode == "similar" and examples_at is None:
        raise UsageError("In a folder --like must say which image the object is in.", "Write IMAGE:ID.")
    examples = None if examples_at is None else _examples(folder / examples_at, request, wish)
    if examples is not None:
        request = replace(request, like=(), step=examples.step)
    plan = {"mode": request.mode, "like": list(request.like)}
    job = FolderJob(folder, plan, resume=request.resume, anew=request.anew)
    for path in images:
        if path.name in job.done:
            continue
        # Of a folder only one image can be half-way; the others begin.
        job.finish(path.name, propose_image(str(path), request, wish, examples))
    rows = job.remove()
    return {"folder": str(folder), "images": rows, "n": sum(row["n"] for row in rows)}


def _examples(image: Path, request: Request, wish: Wish) -> Examples:
    from napari_relay.cli.images import opened_image
    from napari_relay.workspace import open_workspace

    with (
        opened_image(str(image)) as source,
        open_workspace(source, None, wish.checkpoint, device=wish.device) as workspace,
    ):
        load_model(workspace)
        return workspace.examples(request)


def _request(
    mode: str,
    region: str | None,
    plane: str | None,
    like: Sequence[str],
    class_name: str | None,
    scale: float | None,
    one_scale: bool,
    everywhere: bool,
    resume: bool,
    anew: bool,
) -> tuple[Request, str | None]:
    """The request, and the image that --like names."""
    from napari_relay.cli.export import numbers
    from napari_relay.fullimage.request import Request
    from napari_relay.geometry import Box, Plane

    if scale is not None and not (math.isfinite(scale) and scale > 0):
        raise UsageError(f"--scale {scale} is not possible.", "Give image pixels per view pixel, such as 1 or 0.5.")
    if resume and anew:
        raise UsageError("--resume and --anew do not go together.", "Choose one of them.")
    names, ids = zip(*(_example_id(word) for word in like), strict=True) if like else ((), ())
    if len(set(names)) > 1:
        raise UsageError("All --like must be in one image.", "Give objects of one image only.")
    request = Request(
        mode=mode,  # type: ignore[arg-type]
        like=tuple(ids),
        region=None if region is None else Box(*numbers(region, "--region", 4)),
        plane=None if plane is None else Plane(*numbers(plane, "--plane", 2)),
        class_name=class_name,
        step=None if scale is None else round(2 * math.log2(scale)),
        scales=1 if one_scale else 2,
        skip_empty=not everywhere,
        resume=resume,
        anew=anew,
    )
    request.check()
    return request, (names[0] or None) if names else None


def _example_id(word: str) -> tuple[str, int]:
    """`12` or `image.png:12`."""
    name, _, number = word.rpartition(":")
    if not number.isdecimal():
        raise UsageError(f"--like {word!r} is no object.", "Give its id, in a folder IMAGE:ID.")
    return name, int(number)

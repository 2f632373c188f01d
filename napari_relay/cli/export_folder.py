"""`napari-relay export FOLDER`: the projects of all images of a folder, each into a file of its own."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import typer

from napari_relay.cli.console import err, out, print_json
from napari_relay.cli.export import Wish, export_one, tell_losses
from napari_relay.errors import RelayError, UsageError
from napari_relay.workspace.folder import FolderImage, ImageFolder, ImageState


def export_folder(folder: Path, to: Path, wish: Wish, *, done: bool, recursive: bool, as_json: bool) -> None:
    """Export every image of a folder that has objects (or is done), into `to`, of those below it (`recursive`) into
    the same folders there; what fails is told at the end, and makes the exit code 1.

    Raises
    ------
    UsageError
        No format, or an option for one image only; there is nothing to export.
    """
    if wish.format is None:
        raise UsageError("Which format? Of a folder it is not told by the ending.", "Name it (--format).")
    if wish.region or wish.image:
        raise UsageError("--region and --image are for one project.", "Leave them away for a folder.")
    images_of = ImageFolder(folder, recursive=recursive)
    images = [image for image in images_of.look() if not image.path.is_relative_to(to.absolute())]
    if done:
        chosen = [image for image in images if image.state is ImageState.DONE]
    else:
        chosen = [image for image in images if image.n_objects or image.state in (ImageState.DONE, ImageState.BROKEN)]
    if not chosen:
        raise UsageError(f"No image of {folder} {'is done' if done else 'has objects'}.", "There is nothing to export.")
    tell_losses(to, wish)
    try:
        to.mkdir(exist_ok=True)
    except OSError as error:
        raise UsageError(f"Cannot make the folder {to}: {error.strerror}.", "Choose another place.") from error
    ending = _ending(wish.format)
    written, failed = [], {}
    for number, image in enumerate(chosen, start=1):
        way = image.path.relative_to(images_of.path)
        err.print(f"{number} of {len(chosen)}: {way}", markup=False, highlight=False)
        try:
            target = to / way.parent
            target.mkdir(parents=True, exist_ok=True)
            written.append(export_one(image.project, target / f"{image.name}{ending}", wish))
        except OSError as error:
            failed[way.as_posix()] = f"Cannot make the folder {target}: {error.strerror}."
        except RelayError as error:
            failed[way.as_posix()] = str(error)
    if as_json:
        print_json({"images": [asdict(report) for report in written], "failed": failed, **_counts(images)})
    else:
        objects = sum(report.n_objects for report in written)
        out.print(f"{objects} objects of {len(written)} images in {to}", highlight=False)
        out.print("Each read back and equal to its project.", highlight=False)
        for name, problem in failed.items():
            err.print(f"Error: {name}: {problem}", style="red", markup=False, highlight=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)


def _ending(format_name: str) -> str:
    from napari_relay.formats.registry import find_format
    from napari_relay.formats.training_set import NAME as TRAINING_SET

    if format_name == "csv":
        return ".csv"
    return "" if format_name == TRAINING_SET else find_format(format_name, Path("-")).suffixes[0]


def _counts(images: list[FolderImage]) -> dict[str, int]:
    return {"n_images": len(images), "n_done": sum(image.state is ImageState.DONE for image in images)}

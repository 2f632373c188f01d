"""`napari-relay import PROJECT|IMAGE FILE`: objects from another program."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_relay.cli.console import drive, out, print_json
from napari_relay.cli.export import georeference_of, numbers
from napari_relay.cli.options import JsonOption, ProjectOption

if TYPE_CHECKING:
    from napari_relay.store import Project


def import_(
    into: Annotated[str, typer.Argument(metavar="PROJECT|IMAGE", help="The project, or the image (then IMAGE.relay).")],
    file: Annotated[Path, typer.Argument(help="What another program, or `export`, wrote; a folder of tiles too.")],
    format_name: Annotated[
        str | None,
        typer.Option(
            "--format",
            "-f",
            help="ome-zarr, label-tiff, label-png, geojson, coco, labelme, cvat, yolo-seg, geotiff or geojson-crs; "
            "told by ending and content.",
        ),
    ] = None,
    project: ProjectOption = None,
    class_name: Annotated[
        str | None, typer.Option("--class", help="Class of objects that have none in the file.")
    ] = None,
    plane: Annotated[
        str | None, typer.Option("--plane", help="Plane of objects whose file does not say it: T,Z, counted from 0.")
    ] = None,
    overlap: Annotated[
        str,
        typer.Option("--overlap", help="Where objects lie already: allow (both), keep (those there) or replace."),
    ] = "allow",
    image: Annotated[
        str | None, typer.Option("--image", help="The image, where it is not beside its project; for geo formats only.")
    ] = None,
    clean: Annotated[
        bool, typer.Option("--clean", help="Clean the masks by the project's settings (holes, islands, outlines).")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Take the objects of a file into a project, as one action that one undo takes back.

    All or nothing: a file with a mistake changes nothing, and the mistake is named by file, record and field.

    \b
    Examples:
      napari-relay import slide.svs from_qupath.geojson
      napari-relay import scan.tif.relay masks.tif --class nucleus
    """
    from napari_relay.formats import import_file
    from napari_relay.geometry import Plane

    chosen = None if plane is None else Plane(*numbers(plane, "--plane", 2))
    with _opened(into, project) as opened:
        steps = import_file(
            opened,
            file,
            format=format_name,
            plane=chosen,
            class_name=class_name,
            georeference=georeference_of(opened, image) if _is_geo(file, format_name) else None,
            overlap=overlap,
            clean=clean,
        )
        report = drive(steps, "Importing")
        where = opened.path
    if as_json:
        print_json(asdict(report))
        return
    out.print(f"{len(report.ids)} objects of {file.name} ({report.format}) are in {where}", highlight=False)
    if report.n_outside:
        out.print(f"Note: {report.n_outside} objects have no pixel in the image.", highlight=False)
    if report.n_left_out:
        out.print(f"Note: {report.n_left_out} objects lie wholly under others and were left out.", highlight=False)
    for kind, count in sorted(report.skipped.items()):
        out.print(f"Note: {count} x {kind} has no area and was left out.", highlight=False)


def _is_geo(file: Path, format_name: str | None) -> bool:
    from napari_relay.formats import recognise

    return recognise(file, format_name).geo


@contextmanager
def _opened(into: str, project: Path | None) -> Iterator[Project]:
    """The project itself, or that of an image, with its label pyramid brought up to date at the end."""
    from napari_relay.store import Project

    if into.endswith(".relay") and project is None:
        with Project.open(Path(into), create=False) as opened:
            yield opened
        return
    from napari_relay.workspace import open_workspace

    with open_workspace(into, project) as workspace:
        yield workspace.project

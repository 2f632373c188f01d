"""`napari-relay export PROJECT`: labels for the next tool."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from napari_relay.cli.console import drive, out, print_json
from napari_relay.cli.options import JsonOption


def export(
    project: Annotated[Path, typer.Argument(help="The project (IMAGE.relay).")],
    to: Annotated[Path, typer.Option("--out", "-o", help="The file, or OME-Zarr folder, to make.")],
    format_name: Annotated[
        str | None,
        typer.Option("--format", "-f", help="ome-zarr or label-tiff; told by the ending of --out."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what lies there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a project's objects as a label image: each pixel holds the id of its object, 0 is background.

    The file takes its name only when it is complete and, read back, equal to the project. A window may have the
    project open meanwhile.

    \b
    Examples:
      napari-relay export slide.svs.relay --out labels.ome.zarr
      napari-relay export slide.svs.relay --format label-tiff --out labels.tif
    """
    from napari_relay.formats import export as write
    from napari_relay.store import Project

    with Project.open(project, create=False, read_only=True) as opened:
        report = drive(write(opened, to, format=format_name, overwrite=overwrite), "Exporting")
    if as_json:
        print_json(asdict(report))
        return
    size = " x ".join(str(side) for side in report.shape)
    out.print(f"{report.n_objects} objects in {report.path}: {report.format}, {size}, {report.dtype}", highlight=False)
    for loss in report.losses:
        out.print(f"Note: {loss}", highlight=False)

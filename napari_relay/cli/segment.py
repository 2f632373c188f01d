"""`napari-relay segment IMAGE --clicks clicks.json`: the window's job without the window."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.table import Table

from napari_relay.cli.clicks import ClickedObject, read_clicks
from napari_relay.cli.console import err, out, print_json, with_progress
from napari_relay.cli.options import CheckpointOption, DeviceOption, ImageArgument, JsonOption, ProjectOption
from napari_relay.cli.outputs import check_outputs, load_model, write_output
from napari_relay.errors import ClickError, EmptyProposalError

if TYPE_CHECKING:
    from napari_relay.store import StoredObject
    from napari_relay.workspace import Workspace


def segment(
    image: ImageArgument,
    clicks: Annotated[Path, typer.Option("--clicks", help="JSON file of the clicks; - reads it from stdin.")],
    outputs: Annotated[
        list[Path] | None,
        typer.Option("--out", "-o", help="Also write .png (overlay), .tif or .ome.zarr (labels). May be repeated."),
    ] = None,
    project: ProjectOption = None,
    checkpoint: CheckpointOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Turn clicks into accepted objects: what the window does, without the window.

    The clicks file is a list of objects, each a list of clicks in pixels of the full image:

    \b
      [[{"y": 120, "x": 340}, {"y": 150, "x": 90, "positive": false}],
       {"clicks": [{"y": 50, "x": 60}], "class": "cell"}]

    The objects are added to the project and its label pyramid, and can be undone in the window.

    \b
    Examples:
      napari-relay segment photo.jpg --clicks clicks.json
      napari-relay segment slide.svs --clicks clicks.json --out overlay.png --out labels.tif
      napari-relay segment a.png --clicks clicks.json --json | jq .objects[0].score
    """
    wanted = read_clicks(clicks)
    check_outputs(outputs or [])
    from napari_relay.cli.images import opened_image
    from napari_relay.workspace import open_workspace

    with opened_image(image) as source, open_workspace(source, project, checkpoint, device=device) as workspace:
        load_model(workspace)
        rows = [segment_object(workspace, one) for one in with_progress(wanted, "Clicking")]
        for path in outputs or []:
            write_output(workspace, path)
        with err.status("Rendering the label pyramid"):
            workspace.writer.flush()
        report = {"project": str(workspace.project.path), "pyramid": str(workspace.pyramid.path), "objects": rows}
    if as_json:
        print_json(report)
    else:
        _print(report)
    if any(row["error"] for row in rows):
        raise typer.Exit(1)


def segment_object(workspace: Workspace, one: ClickedObject) -> dict[str, Any]:
    """Click one object and accept it. A click that cannot be taken, or an empty mask, becomes the row's `error`."""
    session = workspace.session(plane=one.plane)
    start = time.perf_counter()
    row: dict[str, Any] = {"id": None, "clicks": len(one.clicks), "error": None}
    try:
        first, *further = one.clicks
        proposal = session.click(first.y, first.x, zoom=one.zoom)
        for click in further:
            proposal = session.click(click.y, click.x, positive=click.positive)
        ms = (time.perf_counter() - start) * 1000
        kept = cast("StoredObject", session.accept(class_name=one.class_name))
    except (ClickError, EmptyProposalError) as error:
        return {**row, "error": str(error)}
    return {
        **row,
        "id": kept.id,
        "class": kept.class_name,
        "t": one.plane.t,
        "z": one.plane.z,
        "box": asdict(kept.box),
        "area": kept.area,
        "score": round(proposal.score, 4),
        "ms": round(ms, 1),
    }


def _print(report: dict[str, Any]) -> None:
    table = Table(title=f"Kept in {report['project']}", title_justify="left")
    for column in ("object", "class", "clicks", "area", "score", "ms"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for row in report["objects"]:
        if row["error"] is None:
            cells = (row["id"], row["class"], row["clicks"], row["area"], f"{row['score']:.3f}", f"{row['ms']:.0f}")
            table.add_row(*(str(cell) for cell in cells))
    out.print(table)
    for number, row in enumerate(report["objects"], start=1):
        if row["error"] is not None:
            err.print(f"Object {number} was left out: {row['error']}", style="red", markup=False, soft_wrap=True)

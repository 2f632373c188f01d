"""`napari-relay repair PROJECT`: finds damage, mends what can be mended, renders the label pyramid anew."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_relay.cli.console import drive, out, print_json
from napari_relay.cli.options import JsonOption
from napari_relay.errors import ProjectDamagedError

if TYPE_CHECKING:
    from napari_relay.sources import Progress
    from napari_relay.store import Damage, Project


def repair(
    project: Annotated[Path, typer.Argument(help="The project (IMAGE.relay).")],
    restore: Annotated[
        bool,
        typer.Option("--restore", help="Put the last backup in its place first; the damaged file is kept beside it."),
    ] = False,
    pyramid: Annotated[
        bool, typer.Option("--pyramid/--no-pyramid", help="Render the label pyramid anew, as the objects say.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Check a project and the mask of every object, and mend what can be mended.

    Every damaged object is named. Rectangles, numbers, indexes and the label pyramid are made anew from the objects; a
    mask cannot be: draw its object again, delete it, or take the backup. The exit code is 1 when damage is left.

    \b
    Examples:
      napari-relay repair slide.svs.relay
      napari-relay repair slide.svs.relay --restore      when it cannot even be opened
      napari-relay repair slide.svs.relay --no-pyramid --json
    """
    from napari_relay.store import Project, restore_backup

    kept = restore_backup(project) if restore else None
    try:
        opened = Project.open(project, create=False)
    except ProjectDamagedError as error:
        raise ProjectDamagedError(error.what, f"{error.fix} `--restore` puts it in place.") from error
    with opened:
        objects = opened.count()
        damage = drive(_check(opened, objects), "Checking")
        tiles = _render(opened) if pyramid else None
    if as_json:
        print_json({
            "project": str(project), "objects": objects, "damage": [asdict(found) for found in damage],
            "tiles_rendered": tiles, "damaged_file": None if kept is None else str(kept),
        })  # fmt: skip
    else:
        _tell(project, objects, damage, tiles, kept)
    if any(not found.mended for found in damage):
        raise typer.Exit(1)


def _check(project: Project, objects: int) -> Generator[Progress, None, list[Damage]]:
    from napari_relay.sources import Progress

    steps = project.repair()
    while True:
        try:
            done = next(steps)
        except StopIteration as end:
            damage: list[Damage] = end.value
            return damage
        yield Progress(done, objects)


def _render(project: Project) -> int | None:
    """Render the label pyramid anew; how many tiles, or None where there is none yet."""
    from napari_relay.sources import Progress
    from napari_relay.store import open_pyramid, place_labels
    from napari_relay.workspace.opening import pyramid_path

    shapes, pixel_size = project.value("level_shapes"), project.value("pixel_size_um")
    if shapes is None:
        return None
    at = place_labels(project, pyramid_path(project.path), None)
    labels = open_pyramid(
        at.path, project, json.loads(shapes), pixel_size_um=json.loads(pixel_size or "null"), source=at.source,
        version=at.version,
    )  # fmt: skip

    def steps() -> Generator[Progress, None, int]:
        rendering = labels.rebuild()
        while True:
            try:
                done, total = next(rendering)
            except StopIteration as end:
                return int(end.value)
            yield Progress(done, total)

    return drive(steps(), "Rendering the labels")


def _tell(project: Path, objects: int, damage: Sequence[Damage], tiles: int | None, kept: Path | None) -> None:
    if kept is not None:
        _print(f"{project} is the last backup now; the damaged file is {kept}")
    for found in damage:
        _print(f"{'Mended' if found.mended else 'Damaged'}: {found.what}")
    left = sum(not found.mended for found in damage)
    _print(f"{project}: {objects} objects checked, {left or 'no'} damage{' left' if damage else ''}")
    if tiles is not None:
        _print(f"Label pyramid: {tiles} tiles rendered anew")
    if left:
        _print("Draw the damaged objects again or delete them, or take the last backup with --restore.")


def _print(line: str) -> None:
    out.print(line, markup=False, highlight=False, soft_wrap=True)

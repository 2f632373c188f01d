"""`napari-relay history PROJECT`: what was done, and the way to any point of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from napari_relay.cli.console import out, print_json
from napari_relay.cli.options import JsonOption

if TYPE_CHECKING:
    from napari_relay.store import Action

STATES = {"done": "", "undone": "undone", "abandoned": "given up", "log": ""}


def history(
    project: Annotated[Path, typer.Argument(help="The project (IMAGE.relay).")],
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Show that many of the newest.")] = 20,
    everything: Annotated[
        bool, typer.Option("--all", help="Also undo, redo, and what was undone and then given up.")
    ] = False,
    jump: Annotated[
        int | None,
        typer.Option("--jump", min=0, help="Undo or redo until this action is the newest one done; 0: until none is."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List what was done in a project, newest first, or go to a point of its history.

    Going back loses nothing: what is undone can be redone, here or in the window, until something else is done. A
    window may have the project open meanwhile, but not for --jump.

    \b
    Examples:
      napari-relay history slide.svs.relay
      napari-relay history slide.svs.relay --all --limit 1000 --json
      napari-relay history slide.svs.relay --jump 117
    """
    from napari_relay.store import Project

    if jump is not None:
        with Project.open(project, create=False) as opened:
            steps, count = opened.jump(jump), opened.count()
        if as_json:
            print_json({"jump": jump, "steps": steps, "objects": count})
        else:
            words = "nothing to undo or redo" if not steps else f"{steps} {'step' if steps == 1 else 'steps'}"
            out.print(f"{project} is at action {jump} ({words}): {count} objects", highlight=False, soft_wrap=True)
        return
    with Project.open(project, create=False, read_only=True) as opened:
        found = opened.history(limit, everything=everything)
    if as_json:
        print_json([_for_programs(action) for action in found])
    else:
        _print_table(found)


def _for_programs(action: Action) -> dict[str, Any]:
    values = asdict(action)
    return {**values, "actor": str(action.actor)}


def _print_table(found: Sequence[Action]) -> None:
    if not found:
        out.print("Nothing has been done yet.")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("action", justify="right", style="bold")
    for name in ("when", "who", "what", ""):
        table.add_column(name)
    for action in found:
        who = action.author if action.actor == "user" else f"{action.author} (model)"
        when = action.created.replace("T", " ").removesuffix("Z").split(".")[0]
        table.add_row(str(action.id), when, escape(who), escape(action.summary), STATES[action.state])
    out.print(table)

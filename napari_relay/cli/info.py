"""`napari-relay info [PATH]`: what an image, a project or a checkpoint is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from napari_relay.cli.console import out, print_json
from napari_relay.cli.options import JsonOption
from napari_relay.errors import UsageError

SQLITE_MAGIC = b"SQLite format 3\0"
FOR_PROGRAMS = {"config", "shards", "fingerprint", "stored_axes", "tile"}
"""Shown with --json only."""


def info(
    path: Annotated[
        str | None, typer.Argument(help="An image, a project (.relay) or a checkpoint (its name, or a file).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Describe an image, a project or a checkpoint; without PATH, list the bundled checkpoints.

    An image's format, levels, axes, dtype, channels, pixel size and CRS are read without its pixels.

    \b
    Examples:
      napari-relay info slide.svs
      napari-relay info slide.svs.relay
      napari-relay info                       the bundled checkpoints and their cards
      napari-relay info small --json
    """
    if path is None:
        found = {"checkpoints": bundled_cards()}
    else:
        found = describe(path)
    if as_json:
        print_json(found)
    elif path is None:
        for card in found["checkpoints"]:
            _print_table(card["name"], card)
    else:
        _print_table(path, found)


def bundled_cards() -> list[dict[str, Any]]:
    """The cards of the checkpoints that come with the program, the default first."""
    from napari_relay.model.checkpoint import list_bundled

    return [{"kind": "checkpoint", **card.to_json()} for card in list_bundled()]


def describe(path: str) -> dict[str, Any]:
    """What `path` is, as JSON values.

    Raises
    ------
    UsageError
        There is nothing of that name.
    RelayError
        It is damaged, or none of the three kinds.
    """
    file = Path(path)
    if not file.exists() and "://" not in path:
        card = next((card for card in bundled_cards() if card["name"] == path), None)
        if card is not None:
            return card
        raise UsageError(f"There is no file {path}.", "Give an image, a project, or a checkpoint.")
    if file.suffix == ".relay" or _begins_with(file, SQLITE_MAGIC):
        return describe_project(file)
    if file.suffix == ".safetensors" or (file / "card.json").is_file():
        from napari_relay.model.checkpoint import read_card

        return {"kind": "checkpoint", "path": path, **read_card(file).to_json()}
    from napari_relay.sources import open_image

    with open_image(path) as source:
        return {"kind": "image", **source.describe()}


def describe_project(path: Path) -> dict[str, Any]:
    """Image, objects, classes and last actions of a project; a window may have it open meanwhile."""
    from napari_relay.store import Project

    with Project.open(path, create=False, read_only=True) as project:
        counts = Counter(stored.class_name for stored in project.objects())
        return {
            "kind": "project",
            "path": str(path),
            "image": project.image_name,
            "shape": list(project.shape),
            "t": project.sizes[0],
            "z": project.sizes[1],
            "fingerprint": project.fingerprint,
            "created": project.created,
            "objects": counts.total(),
            "classes": {known.name: counts[known.name] for known in project.classes()},
            "can_undo": project.can_undo,
            "can_redo": project.can_redo,
        }


def _begins_with(file: Path, magic: bytes) -> bool:
    if not file.is_file():
        return False
    with file.open("rb") as opened:
        return opened.read(len(magic)) == magic


def _print_table(title: str, values: Mapping[str, Any]) -> None:
    table = Table(title=escape(title), title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in values.items():
        if value not in (None, "", [], {}) and name not in FOR_PROGRAMS:
            words = _levels(value) if name == "levels" else _words(value)
            table.add_row(name.replace("_", " "), escape(words))
    out.print(table)
    out.print()


def _levels(levels: list[dict[str, Any]]) -> str:
    return "\n".join(f"{' x '.join(map(str, level['shape']))}, 1 : {max(level['scale']):g}" for level in levels)


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_words(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        separator = "\n" if value and isinstance(value[0], Mapping | str) and len(value) > 1 else ", "
        return separator.join(_words(inner) for inner in value)
    return f"{value:g}" if isinstance(value, float) else str(value)

"""Arguments and options that several commands share, so that they are named and explained the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def _complete_checkpoint(incomplete: str) -> list[str]:
    from napari_relay.model.checkpoint import list_bundled

    return [card.name for card in list_bundled() if card.name.startswith(incomplete)]


ImageArgument = Annotated[str, typer.Argument(help="File, folder (Zarr) or address of the image.")]
ProjectOption = Annotated[
    Path | None,
    typer.Option("--project", "-p", help="Project file, where it is not IMAGE.relay beside the image."),
]
CheckpointOption = Annotated[
    str | None,
    typer.Option(
        "--checkpoint",
        "-c",
        help="A bundled checkpoint's name, or a file.",
        autocompletion=_complete_checkpoint,
    ),
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

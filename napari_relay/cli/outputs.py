"""What commands that click share: loading the model with a word, and files written beside the project."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_relay.cli.console import drive, err
from napari_relay.errors import UsageError

if TYPE_CHECKING:
    from napari_relay.workspace import Workspace


def load_model(workspace: Workspace) -> None:
    """Load the predictor before the first click, so that its time is no click's; tell what was chosen for the user."""
    with err.status("Loading the model"):
        info = workspace.info()
    for note in info["notes"]:
        err.print(f"Note: {note}", markup=False, highlight=False)


def check_outputs(paths: Sequence[Path]) -> None:
    """Refuse an output that could not be written, before the work is done.

    Raises
    ------
    UsageError
        Its ending tells no format, or its folder does not exist.
    """
    from napari_relay.formats.registry import find_format

    for path in paths:
        if path.suffix.lower() != ".png":
            find_format(None, path)
        if not path.parent.is_dir():
            raise UsageError(f"The folder {path.parent} does not exist.", "Make it, or choose another place.")


def write_output(workspace: Workspace, path: Path) -> None:
    """Write one file by its ending: .png an overlay, else the label image of that format. Replaces what lies there."""
    from napari_relay.formats import export

    if path.suffix.lower() == ".png":
        write_overlay(workspace, path)
        return
    source = workspace.source
    shapes = [level.shape for level in source.levels]
    steps = export(workspace.project, path, level_shapes=shapes, pixel_size_um=source.pixel_size_um, overwrite=True)
    drive(steps, f"Writing {path.name}")


def write_overlay(workspace: Workspace, path: Path) -> None:
    """Write the picture of the image with its objects."""
    from napari_relay.cli.overlay import draw_overlay, save_overlay

    colors = {info.name: info.color for info in workspace.project.classes()}
    save_overlay(path, draw_overlay(workspace.source, workspace.project.objects(), colors))

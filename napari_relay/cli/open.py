"""`napari-relay open IMAGE`: the window."""

from __future__ import annotations

from typing import Annotated

import typer

from napari_relay.cli.options import CheckpointOption, ProjectOption


def open_window(
    image: Annotated[
        str | None,
        typer.Argument(help="File, folder (Zarr) or address of the image, or a folder of images; without it the "
                       "window is empty."),
    ] = None,
    project: ProjectOption = None,
    checkpoint: CheckpointOption = None,
    recursive: Annotated[bool, typer.Option("--recursive", help="Of a folder, the folders below it, too.")] = False,
) -> None:
    """Open an image in the window, click objects, correct, accept.

    The objects are kept in IMAGE.relay beside the image, from the moment they are accepted.

    \b
    Examples:
      napari-relay slide.svs                  the same as `napari-relay open slide.svs`
      napari-relay photos --recursive         all images of a folder and of those below it
      napari-relay open demo                  a file that is named like a command
      napari-relay open scan.tif --project ~/projects/scan.relay
    """
    # Imported here: the other commands must not wait for the window's libraries.
    from napari_relay.widgets import launch

    raise typer.Exit(launch(image, project=project, checkpoint=checkpoint, recursive=recursive))

"""`napari-relay classes PROJECT|FOLDER`: the classes, and the template file that carries them elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from napari_relay.cli.console import err, out, print_json
from napari_relay.cli.options import JsonOption
from napari_relay.errors import UsageError

if TYPE_CHECKING:
    from napari_relay.formats.class_template import ClassTemplate


def classes(
    project: Annotated[
        Path, typer.Argument(metavar="PROJECT|FOLDER", help="The project (IMAGE.relay), or a folder of images.")
    ],
    load: Annotated[
        Path | None, typer.Option("--load", help="Take the classes of a template file: one action, one undo.")
    ] = None,
    save: Annotated[Path | None, typer.Option("--save", help="Write the classes as a template file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the classes of a project with colours, keys and hierarchy; save them as a template, or load one.

    Loading makes the classes that are missing and gives those of the same name the template's colour, key and parent;
    classes that it does not name stay. A folder of images has one template for all its projects, which they take when
    they are opened.

    \b
    Examples:
      napari-relay classes slide.svs.relay --save tissue.classes.json
      napari-relay classes other.svs.relay --load tissue.classes.json
      napari-relay classes photos --load tissue.classes.json
    """
    from napari_relay.formats.class_template import ClassTemplate
    from napari_relay.sources.folders import is_image_folder
    from napari_relay.store import Project
    from napari_relay.workspace.folder import ImageFolder

    template = None if load is None else ClassTemplate.load(load)
    if is_image_folder(project):
        folder = ImageFolder(project)
        if template is not None:
            template.save(folder.template_path)
        found = folder.template()
        if found is None:
            raise UsageError(f"{project} has no class template yet.", "Load one (--load), or open an image of it.")
    else:
        with Project.open(project, create=False, read_only=template is None) as opened:
            if template is not None and not template.apply(opened, summary=f"classes of {load.name if load else ''}"):
                err.print("The project has these classes already.")
            found = ClassTemplate.of(opened)
    if save is not None:
        found.save(save)
    if as_json:
        print_json(found.model_dump())
    elif save is not None:
        out.print(f"{len(found.classes)} classes in {save}", highlight=False)
    else:
        _print_table(found)


def _print_table(template: ClassTemplate) -> None:
    from napari_relay.store.classes import as_tree

    table = Table(box=None, pad_edge=False)
    for name in ("key", "class", "colour"):
        table.add_column(name)
    for depth, spec in as_tree(template.specs()):
        table.add_row(spec.key, escape("  " * depth + spec.name), f"[{spec.color}]■[/] {spec.color}")
    out.print(table)

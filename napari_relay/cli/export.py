"""`napari-relay export PROJECT|FOLDER`: objects for the next tool."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_relay.cli.console import drive, err, out, print_json
from napari_relay.cli.options import JsonOption
from napari_relay.errors import UsageError

if TYPE_CHECKING:
    from napari_relay.formats import ExportReport, Georeference, Measure
    from napari_relay.sources import Source
    from napari_relay.store import Project


@dataclass(frozen=True, slots=True)
class Wish:
    """How to export: the options of the command."""

    format: str | None = None
    region: str | None = None
    plane: str | None = None
    tile: int | None = None
    image: str | None = None
    reviewed: bool = False
    overwrite: bool = False
    measure: bool = False

    def is_table(self, to: Path) -> bool:
        """Whether a table of measurements is wanted, by format or ending."""
        return self.format == "csv" or (self.format is None and to.suffix.lower() == ".csv")


def export(
    project: Annotated[
        Path, typer.Argument(metavar="PROJECT|FOLDER", help="The project (IMAGE.relay), or a folder of images.")
    ],
    to: Annotated[Path, typer.Option("--out", "-o", help="The file, or folder, to make.")],
    format_name: Annotated[
        str | None,
        typer.Option(
            "--format",
            "-f",
            help="ome-zarr, label-tiff, label-png, geojson, coco, labelme, yolo-seg, geotiff, geojson-crs, "
            "csv (a table of measurements) or training-set; told by the ending of --out.",
        ),
    ] = None,
    region: Annotated[
        str | None, typer.Option("--region", help="A part of the image: Y0,X0,Y1,X1 in level-0 pixels, ends excluded.")
    ] = None,
    plane: Annotated[str | None, typer.Option("--plane", help="One plane: T,Z, counted from 0.")] = None,
    tile: Annotated[
        int | None, typer.Option("--tile", help="Cut the image into squares of so many pixels, offsets in the names.")
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            "--image", help="The image, where not beside its project; for geo formats, measurements, training sets."
        ),
    ] = None,
    measure: Annotated[
        bool,
        typer.Option("--measure", help="Write shape and intensities of each object into GeoJSON; a table has them."),
    ] = False,
    reviewed: Annotated[
        bool, typer.Option("--reviewed", help="Only reviewed and locked objects; for training sets.")
    ] = False,
    done: Annotated[bool, typer.Option("--done", help="Of a folder, only the images that are marked as done.")] = False,
    recursive: Annotated[
        bool, typer.Option("--recursive", help="Of a folder, the folders below it, too; OUT gets the same folders.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what lies there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a project's objects as a label image (each pixel holds the id of its object) or as outlines.

    What the format cannot hold is said before. The file takes its name only when it is complete and, read back,
    equal to the project: pixels, parts, holes, numbers, classes. A certificate of that lies beside it. A window may
    have the project open meanwhile. Of a folder of images every project is written, into files of the folder --out.

    \b
    Examples:
      napari-relay export slide.svs.relay --out labels.ome.zarr
      napari-relay export slide.svs.relay --out for_qupath.geojson
      napari-relay export slide.svs.relay --format coco --tile 4096 --out instances.json
      napari-relay export slide.svs.relay --format training-set --out crops
      napari-relay export slide.svs.relay --out measurements.csv
      napari-relay export photos --format coco --out exported
    """
    from napari_relay.sources.folders import is_image_folder

    wish = Wish(format_name, region, plane, tile, image, reviewed, overwrite, measure)
    if is_image_folder(project):
        from napari_relay.cli.export_folder import export_folder

        export_folder(project, to, wish, done=done, recursive=recursive, as_json=as_json)
        return
    known = tell_losses(to, wish)
    report = export_one(project, to, wish)
    if as_json:
        print_json(asdict(report))
        return
    size = " x ".join(str(side) for side in report.shape)
    details = f"{report.format}, {size}" + (f", {report.dtype}" if report.dtype else "")
    out.print(f"{report.n_objects} objects in {report.path}: {details}", highlight=False)
    if report.n_files > 1:
        out.print(f"{report.n_files} files", highlight=False)
    out.print("Read back and equal to the project.", highlight=False)
    for loss in report.losses:
        if loss not in known:
            out.print(f"Note: {loss}", highlight=False)


def tell_losses(to: Path, wish: Wish) -> tuple[str, ...]:
    """Say what the format cannot hold, and return it.

    Raises
    ------
    UsageError
        There is no such format.
    """
    from napari_relay.formats import known_losses
    from napari_relay.formats.training_set import LOSSES
    from napari_relay.formats.training_set import NAME as TRAINING_SET

    if wish.is_table(to):
        from napari_relay.formats.measurements import LOSSES as TABLE_LOSSES

        known: tuple[str, ...] = TABLE_LOSSES
    else:
        known = LOSSES if wish.format == TRAINING_SET else known_losses(to, wish.format)
    for loss in known:
        err.print(f"Note: {loss}", markup=False, highlight=False)
    return known


def export_one(project: Path, to: Path, wish: Wish) -> ExportReport:
    """Export one project under a progress bar.

    Raises
    ------
    UsageError, ExportError, ImageError, ProjectError
    """
    from napari_relay.formats import export as write
    from napari_relay.formats import export_measurements
    from napari_relay.formats.registry import find_format
    from napari_relay.formats.training_set import NAME as TRAINING_SET
    from napari_relay.formats.training_set import export_training_set
    from napari_relay.geometry import Box, Plane
    from napari_relay.store import Project

    training = wish.format == TRAINING_SET
    if training and (wish.region or wish.plane or wish.tile):
        raise UsageError("A training set is of the whole project.", "Leave --region, --plane and --tile away.")
    box = None if wish.region is None else Box(*numbers(wish.region, "--region", 4))
    chosen = None if wish.plane is None else Plane(*numbers(wish.plane, "--plane", 2))
    with Project.open(project, create=False, read_only=True) as opened:
        if training:
            with image_of(opened, wish.image) as source:
                steps = export_training_set(
                    opened, source, to, reviewed_only=wish.reviewed, overwrite=wish.overwrite
                )
                return drive(steps, "Exporting")
        if wish.is_table(to):
            with measuring(opened, wish.image) as measure:
                steps = export_measurements(
                    opened, to, measure, region=box, plane=chosen, overwrite=wish.overwrite
                )
                return drive(steps, "Measuring")
        with ExitStack() as held:
            measured = held.enter_context(measuring(opened, wish.image)) if wish.measure else None
            geo = georeference_of(opened, wish.image) if find_format(wish.format, to).geo else None
            steps = write(
                opened, to, format=wish.format, region=box, plane=chosen, tile=wish.tile, georeference=geo,
                measure=measured, overwrite=wish.overwrite,
            )  # fmt: skip
            return drive(steps, "Exporting")


@contextmanager
def measuring(project: Project, image: str | None) -> Iterator[Measure]:
    """What measures the objects: with intensities where the image is there, else shapes alone.

    Raises
    ------
    UsageError, ImageError
    """
    from napari_relay.formats import Measure
    from napari_relay.formats.measuring import scale_of
    from napari_relay.formats.planning import stored_pixel_size

    with ExitStack() as held:
        source = None
        if image is not None or (project.path.parent / project.image_name).exists():
            source = held.enter_context(image_of(project, image))
        else:
            err.print("Note: the image is not beside its project: no intensities.", markup=False, highlight=False)
        yield Measure(scale_of(source, stored_pixel_size(project)), source)


def image_of(project: Project, image: str | None) -> Source:
    """The project's image, open: the one that is named, else the one beside the project.

    Raises
    ------
    UsageError
        It is another one.
    ImageError
        There is none.
    """
    from napari_relay.sources import open_image

    source = open_image(image or str(project.path.parent / project.image_name))
    if source.fingerprint != project.fingerprint:
        source.close()
        raise UsageError(f"{source.where} is not the image of {project.path}.", "Name the right one (--image).")
    return source


def georeference_of(project: Project, image: str | None) -> Georeference | None:
    """Where the project's image lies on the Earth; None where the image is not there or does not say it."""
    from napari_relay.formats import Georeference

    if image is None and not (project.path.parent / project.image_name).exists():
        return None
    with image_of(project, image) as source:
        return None if source.crs is None or source.affine is None else Georeference(source.crs, source.affine)


def numbers(text: str, option: str, count: int) -> list[int]:
    """`count` whole numbers with commas between.

    Raises
    ------
    UsageError
    """
    words = text.split(",")
    if len(words) != count or not all(word.strip().lstrip("-").isdecimal() for word in words):
        raise UsageError(f"{option} {text!r} is not {count} whole numbers.", f"Write them as {','.join('1' * count)}.")
    return [int(word) for word in words]

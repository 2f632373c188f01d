"""Import: objects of a file become objects of a project, as one action that one undo takes back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any

from napari_relay.errors import ImportFileError, StorageError, UsageError
from napari_relay.formats import runs as runs_
from napari_relay.formats.checking import Place
from napari_relay.formats.feed import Feed
from napari_relay.formats.job import Georeference
from napari_relay.formats.jsonstream import read_top
from napari_relay.formats.records import MAX_BOX_PIXELS, Found, with_runs
from napari_relay.formats.registry import FORMATS, LabelFormat, ReadFormat, RecordFormat, find_readable
from napari_relay.formats.runs import Runs
from napari_relay.formats.target import Target
from napari_relay.formats.writing import UNREADABLE
from napari_relay.geometry import Plane
from napari_relay.sources.pyramid import Progress
from napari_relay.store import NewObject, Project

_ZARR = ("zarr.json", ".zattrs", ".zgroup", ".zarray")
_TELLING = {
    "shapes": "labelme",
    "annotations": "coco",
    "categories": "coco",
    "features": "geojson",
    "": "geojson",
    "geometry": "geojson",
}


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did.

    `ids` are the new objects', in the order of the file; `n_outside` objects of the file have no pixel in the image,
    `n_left_out` none that the overlap rule left them; `skipped` counts what is no object (points, lines), by kind.
    """

    path: Path
    format: str
    ids: tuple[int, ...]
    n_outside: int
    n_left_out: int
    skipped: Mapping[str, int]


def import_file(
    project: Project,
    path: str | Path,
    *,
    format: str | None = None,
    plane: Plane | None = None,
    class_name: str | None = None,
    georeference: Georeference | None = None,
    overlap: str | None = None,
    clean: bool = False,
) -> Generator[Progress, None, ImportReport]:
    """Take the objects of a file, or of a folder of tiles, into a project; they get new numbers.

    All or nothing: a file that is wrong anywhere changes nothing. The file is read once through and need not fit into
    memory; the project cannot be changed otherwise until the end.

    Parameters
    ----------
    project : Project
    path : str or Path
        What an export, or a program of others, wrote.
    format : str, optional
        A name of the registry's `READABLE`; told by ending and content otherwise.
    plane : Plane, optional
        Where objects go of which the file does not say it; the first plane by default.
    class_name : str, optional
        The class of objects that have none in the file; the current one by default.
    georeference : Georeference, optional
        Where the image lies on the Earth, for files in its coordinates.
    overlap : str, optional
        What becomes of pixels that belong to other objects: `allow` by default.
    clean : bool
        Clean the masks by the project's settings; by default they come in as they are.

    Yields
    ------
    Progress
        Objects so far.

    Returns
    -------
    ImportReport

    Raises
    ------
    UsageError
        There is no such format, plane or rule.
    ImportFileError, ImageError
        The file cannot be read, or does not fit the image; file, record and field are named.
    StorageError
        The disk is full or read-only, or there is no such file.
    """
    path = Path(path)
    target = Target(project.shape, project.sizes, project.image_name, georeference, plane or Plane())
    if not (target.plane.t < project.sizes[0] and target.plane.z < project.sizes[1]):
        raise UsageError(f"{target.plane} is not one of the image's {project.sizes} planes (t, z).", "Choose another.")
    chosen = recognise(path, format)
    settings = {"clean": clean} | ({} if overlap is None else {"overlap": overlap})
    return _run(project, path, chosen, target, class_name, settings)


def _run(
    project: Project,
    path: Path,
    chosen: LabelFormat | RecordFormat | ReadFormat,
    target: Target,
    class_name: str | None,
    settings: Mapping[str, Any],
) -> Generator[Progress, None, ImportReport]:
    colors: dict[str, str] = {}
    ids: list[int] = []
    counted: Counter[str] = Counter()

    def pull(objects: Iterator[NewObject]) -> None:
        done = project.import_objects(objects, summary=path.name, colors=colors, **settings)
        ids.extend(done.ids)
        counted["left out"] = len(done.left_out)

    with Feed(pull, "import") as feed:
        for item, runs in with_runs(_read(path, chosen, target), project.shape):
            if not len(runs):
                counted["outside"] += 1
                continue
            if item.facts.class_name and item.facts.color:
                colors.setdefault(item.facts.class_name.strip(), item.facts.color)
            feed.put(new_object(item, runs, class_name))
            counted["inside"] += 1
            yield Progress(counted["inside"], counted["inside"])
        if not counted["inside"]:
            raise Place(path.name).bad("there is no object in it that lies in the image")
    return ImportReport(path, chosen.name, tuple(ids), counted["outside"], counted["left out"], dict(target.skipped))


def _read(path: Path, chosen: LabelFormat | RecordFormat | ReadFormat, target: Target) -> Iterator[Found]:
    """The objects of a file, or of all files of a folder of tiles."""
    if path.is_dir() and chosen.name not in ("ome-zarr", "yolo-seg"):
        files = _tiles(path, chosen)
    elif path.is_dir() and chosen.name == "ome-zarr" and not any((path / name).exists() for name in _ZARR):
        files = sorted(folder for folder in path.iterdir() if folder.is_dir())
    else:
        files = [path]
    try:
        yield from chain.from_iterable(chosen.read(file, target) for file in files)
    except UNREADABLE as error:
        if isinstance(error, UsageError):
            raise
        raise Place(path.name).bad(f"it cannot be read ({error})") from error


def _tiles(folder: Path, chosen: LabelFormat | RecordFormat | ReadFormat) -> list[Path]:
    endings = tuple(ending for suffix in chosen.suffixes for ending in (suffix, f".{suffix.rpartition('.')[2]}"))
    files = sorted(file for file in folder.iterdir() if file.name.lower().endswith(endings) and file.is_file())
    if not files:
        raise Place(folder.name).bad(f"there is no {chosen.name} file in it")
    for file in files:
        if not file.resolve().is_relative_to(folder.resolve()):
            raise Place(file.name).bad("it leads out of its folder")
    return files


def new_object(item: Found, runs: Runs, class_name: str | None) -> NewObject:
    """What the store takes of an object of a file; `class_name` where the file has none.

    Raises
    ------
    ImportFileError
        It is too large, or its class has no name that can be shown.
    """
    facts, box = item.facts, runs_.box_of(runs)
    if box.area > MAX_BOX_PIXELS:
        raise item.place.bad(f"it extends over {box.height} x {box.width} pixels, too many for one object of an import")
    name = (facts.class_name or "").strip() or class_name
    if name is not None and not name.isprintable():
        raise item.place.bad(f"its class {name!r} has characters that cannot be shown")
    return NewObject(
        box=box,
        mask=runs_.to_mask(runs, box),
        class_name=name,
        plane=item.frame.plane,
        state=facts.state,
        score=facts.score,
        seconds=facts.seconds,
        checkpoint=facts.checkpoint,
        author=facts.author,
        created=_date(facts.created),
        note=facts.note,
        n_clicks=facts.n_clicks,
    )


def _date(text: str | None) -> str | None:
    """A date of ISO 8601; None for anything else."""
    if text is None:
        return None
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return None
    return text


def recognise(path: Path, format: str | None = None) -> LabelFormat | RecordFormat | ReadFormat:
    """The format of that name, else the one that the file's ending or content tells.

    Raises
    ------
    UsageError
        There is no such format, or the ending tells none.
    ImportFileError
        Nor does the content.
    StorageError
        There is no such file.
    """
    if not path.exists():
        raise StorageError(f"There is no file {path}.", "Check the path.")
    if format is not None:
        return find_readable(format, path)
    if path.is_dir():
        return FORMATS[_recognised_folder(path)]
    if path.suffix.lower() == ".txt" or path.name == "data.yaml":
        return FORMATS["yolo-seg"]
    if path.suffix.lower() != ".json" or path.name.lower().endswith(".geo.json"):
        return find_readable(None, path)
    for key, index, value in read_top(path):
        if key in _TELLING and (index >= 0 or value is None or key == "geometry"):
            return FORMATS[_TELLING[key]]
    raise ImportFileError(f"{path.name} is JSON, but none of COCO, GeoJSON or labelme.", "Name its format (--format).")


def _recognised_folder(path: Path) -> str:
    if any((path / name).exists() for name in _ZARR):
        return "ome-zarr"
    if any((path / name).exists() for name in ("data.yaml", "classes.txt", "labels")):
        return "yolo-seg"
    for file in sorted(path.iterdir()):
        if file.is_dir() and any((file / name).exists() for name in _ZARR):
            return "ome-zarr"
        if file.is_file() and file.suffix.lower() in (".json", ".geojson", ".tif", ".tiff", ".png"):
            return recognise(file, None).name
    raise ImportFileError(
        f"Nothing in the folder {path.name} can be imported.", "Name a file, or its format (--format)."
    )

"""`open_workspace`: opens the parts in order, and closes them in the opposite order, also when one cannot be opened."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

from napari_relay.engine import Engine, InProcessEngine, WorkerEngine
from napari_relay.errors import StorageError, UsageError
from napari_relay.model.checkpoint import read_card
from napari_relay.sources import Source, open_image
from napari_relay.store import Project, PyramidWriter, open_pyramid, place_labels
from napari_relay.workspace.learning import learned_checkpoint, learned_size
from napari_relay.workspace.predicts import EnginePredicts
from napari_relay.workspace.workspace import Workspace

SERVICE = "napari_relay.workspace:make_service"
PROJECT_SUFFIX = ".relay"
PYRAMID_SUFFIX = ".labels.ome.zarr"

_ENGINES: dict[str, type[Engine]] = {"inprocess": InProcessEngine, "worker": WorkerEngine}


def open_workspace(
    source: Any,
    project: str | os.PathLike[str] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    *,
    engine: Literal["inprocess", "worker"] | Engine = "inprocess",
    device: str = "auto",
    dtype: str = "auto",
    threads: int | None = None,
    cache_bytes: int = 512 << 20,
    service: str = SERVICE,
    labels: Literal["inside", "beside"] | None = None,
) -> Workspace:
    """Open an image with its project; torch is not loaded before the first click.

    Parameters
    ----------
    source : path or address of an image, an array (or list of arrays as levels), or an open Source, which stays
        its owner's to close.
    project : the project file; None: `<file name>.relay` beside the image, made when there is none, and for an
        array a temporary one, deleted on close.
    checkpoint : a bundled checkpoint's name or a file; None: what this project learned, if anything, or the default
        one.
    engine : "inprocess" computes in a thread of this process, "worker" in a process of its own. An Engine that runs
        the service already may be shared by several images; it stays its owner's to close, and `checkpoint` and the
        arguments below are not for it.
    device : auto, cpu, cuda or cuda:N.
    dtype : auto, float32, bfloat16 or float16.
    threads : torch's threads on the CPU; None leaves the choice to it.
    cache_bytes : limit of the cache of encodings.
    service : import path of the factory of the predicting service, for another model than ours.
    labels : where the label pyramid lies: "inside" the image (an OME-Zarr folder) among its labels, or "beside" it;
        None: as it was chosen before, beside at first.

    Raises
    ------
    ImageError
        The image cannot be opened.
    ProjectError
        The project cannot be used: another image's, newer, locked, damaged, or its folder cannot be written to
        (StorageError).
    CheckpointError, UsageError
    """
    weights = None if checkpoint is None else os.fspath(checkpoint)
    _check_engine(engine, weights)
    if weights is not None and service == SERVICE:
        read_card(weights)
    with ExitStack() as parts:
        image = source if isinstance(source, Source) else parts.enter_context(open_image(source))
        place = _place(image, project)
        if place is None:
            folder = tempfile.TemporaryDirectory(prefix="napari-relay-", ignore_cleanup_errors=True)
            place, temporary = Path(parts.enter_context(folder), f"array{PROJECT_SUFFIX}"), True
        else:
            temporary = False
        sizes = (image.sizes_t, image.sizes_z)
        opened = parts.enter_context(
            Project.open(place, fingerprint=image.fingerprint, shape=image.shape, sizes=sizes, image_name=image.name)
        )
        inside = None if labels is None else labels == "inside"
        at = place_labels(opened, pyramid_path(place), image.path or Path(), inside=inside)
        pyramid = open_pyramid(
            at.path, opened, [level.shape for level in image.levels], pixel_size_um=image.pixel_size_um,
            source=at.source, version=at.version,
        )  # fmt: skip
        writer = parts.enter_context(PyramidWriter(opened, pyramid))
        opened.changed.connect(writer.schedule)
        parts.callback(opened.changed.disconnect, writer.schedule)
        learned = learned_checkpoint(opened) if weights is None and service == SERVICE else None
        if learned is not None:
            weights = str(learned)
        if isinstance(engine, Engine):
            runner = engine
        else:
            runner = _ENGINES[engine](
                service, checkpoint=weights, device=device, dtype=dtype, threads=threads, cache_bytes=cache_bytes
            )
            parts.enter_context(runner)
        predicts = EnginePredicts(runner)
        parts.callback(predicts.close)
        workspace = Workspace(
            image, opened, pyramid, writer, runner, predicts, temporary=temporary, closing=parts.pop_all()
        )
        workspace.object_px = learned_size(learned)
        return workspace


def default_project(source: Source) -> Path | None:
    """The project's place beside the image: `<file name>.relay`; None for an image without a file."""
    return None if source.path is None else source.path.with_name(source.path.name + PROJECT_SUFFIX)


def pyramid_path(project: Path) -> Path:
    """The label pyramid's place beside the project: `<file name>.labels.ome.zarr`."""
    return project.with_name(project.name.removesuffix(PROJECT_SUFFIX) + PYRAMID_SUFFIX)


def _check_engine(engine: str | Engine, checkpoint: str | None) -> None:
    if isinstance(engine, Engine):
        if checkpoint is not None:
            raise UsageError(
                "A shared engine has its checkpoint already.", "Give it to the engine, or call set_checkpoint."
            )
    elif engine not in _ENGINES:
        raise UsageError(f"There is no engine {engine!r}.", f"Use one of: {', '.join(_ENGINES)}.")


def _place(source: Source, project: str | os.PathLike[str] | None) -> Path | None:
    """Where the project lies; None for a temporary one."""
    if project is not None:
        return Path(project).expanduser().absolute()
    place = default_project(source)
    if place is None:
        if source.format == "array":
            return None
        raise UsageError(
            f"{source.where} is not on this computer, so its project cannot lie beside it.",
            "Say where to keep it: project=... (--project on the command line).",
        )
    if not os.access(place.parent, os.W_OK):
        raise StorageError(
            f"The folder {place.parent} cannot be written to, so the project of {source.name} cannot lie beside it.",
            "Say where to keep it: project=... (--project on the command line).",
        )
    return place

"""What somebody asks for, and the work that follows from it: scales, filters, examples."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from napari_relay.errors import UsageError
from napari_relay.fullimage import similar, taught
from napari_relay.fullimage.candidates import Filters
from napari_relay.fullimage.plan import Grid, checked_region, place_of, step_for
from napari_relay.fullimage.sees import Mask, Sees
from napari_relay.fullimage.work import Work
from napari_relay.geometry import Box, Plane
from napari_relay.model.class_card import BACKGROUND
from napari_relay.sources import Source
from napari_relay.store import ObjectFilter, ObjectState, Order, ProjectReader, StoredObject
from napari_relay.views import Stretch, default_mix
from napari_relay.views.policy import MIN_STEP
from napari_relay.views.values import View

Mode = Literal["instances", "similar"]
SHOWN = (ObjectState.ACCEPTED, ObjectState.REVIEWED, ObjectState.LOCKED)
MOST_MEASURED = 500
"""Objects whose size tells how large objects usually are."""
MOST_GROUND = 24
"""Rejected proposals, and painted pieces of background, that become background prototypes before a search."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to propose, and how.

    mode : "instances" for every object, "similar" for what is like some objects. like : their ids. region : None for
    the whole image. plane : None for that of the objects in `like`, or the first. class_name : of the proposals; None
    takes that of the objects in `like`, or the current one. step : half-octave of the view's scale (level-0 pixels a
    view pixel = 2 ** (step / 2)); None follows the size of the objects that are there. scales : 1, or 2 for views twice
    as wide too. clicks : most self-clicks in a view. min_iou, min_stability : see `Filters`; None takes 0.7 and 0.85,
    for "similar", where likeness ranks what is less sure of its outline, 0.5 and 0.7. skip_empty : leave out views of
    even ground. resume, anew : what to do with an unfinished job.
    """

    mode: Mode = "instances"
    like: tuple[int, ...] = ()
    region: Box | None = None
    plane: Plane | None = None
    class_name: str | None = None
    step: int | None = None
    scales: int = 2
    clicks: int = 64
    min_iou: float | None = None
    min_stability: float | None = None
    skip_empty: bool = True
    resume: bool = False
    anew: bool = False

    def check(self) -> None:
        """Raises UsageError where the parts do not fit together."""
        if self.mode not in get_args(Mode):
            raise UsageError(f"There is no mode {self.mode!r}.", f"Use one of: {', '.join(get_args(Mode))}.")
        if self.mode != "similar" and self.like:
            raise UsageError("--like is for --mode similar.", "Choose that mode, or leave it out.")
        for value in (self.min_iou, self.min_stability):
            if value is not None and not 0 <= value <= 1:
                raise UsageError(f"{value} is no share.", "Give a number from 0 to 1.")
        if self.scales not in (1, 2):
            raise UsageError(f"{self.scales} scales are not possible.", "Give 1 or 2.")


def plane_of(project: ProjectReader, source: Source, plane: Plane | None, like: Sequence[int] = ()) -> Plane:
    """The plane to work on.

    Raises
    ------
    UsageError
        The image does not have it.
    """
    known = project.rows(like[:1])
    chosen = plane or (known[0].plane if known else Plane())
    if not (0 <= chosen.t < source.sizes_t and 0 <= chosen.z < source.sizes_z):
        raise UsageError(
            f"{source.name} has no plane t={chosen.t}, z={chosen.z}.",
            f"It has {source.sizes_t} time points and {source.sizes_z} planes, counted from 0.",
        )
    return chosen


def plan_work(source: Source, project: ProjectReader, stretch: Callable[[], Stretch], request: Request) -> Work:
    """The work of a request, its examples left out.

    Raises
    ------
    UsageError
        The request does not fit together, or the project has no such objects.
    """
    request.check()
    region = checked_region(source.shape, request.region)
    plane = plane_of(project, source, request.plane, request.like)
    models = project.rows(request.like) if request.like else _typical(project, plane)
    if len(models) < len(set(request.like)):
        missing = sorted(set(request.like) - {stored.id for stored in models})
        raise UsageError(f"The project has no object {missing[0]}.", "List its objects to see the ids it has.")
    diameters = [float(max(stored.box.shape)) for stored in models]
    step = step_for(diameters, source.shape) if request.step is None else max(MIN_STEP, request.step)
    steps = [step] if request.scales == 1 or request.mode == "similar" else [step, step + 2]
    # Where one view shows the whole image, a wider one shows nothing more.
    whole = Grid(source.shape, step, region).counts == (1, 1)
    grids = {s: Grid(source.shape, s, region) for s in (steps[:1] if whole else steps)}
    usual = (0.5, 0.7) if request.mode == "similar" else (Filters().min_iou, Filters().min_stability)
    asked = (request.min_iou, request.min_stability)
    filters = Filters(*(default if value is None else value for value, default in zip(asked, usual, strict=True)))
    mix = default_mix(source)
    return Work(grids, plane, mix, stretch(), filters, request.clicks, request.skip_empty)


@dataclass(frozen=True, slots=True)
class ClassRequest:
    """What to classify, and how: region (None is the whole image), plane, file of the class head (None: beside the
    project), where the result goes (None: beside the project), whether all probabilities are wanted instead of the
    likeliest class, whether views of even ground are left out, whether a result that is there is replaced; resume and
    anew as in `Request`."""

    region: Box | None = None
    plane: Plane = field(default_factory=Plane)
    head: Path | None = None
    out: Path | None = None
    probabilities: bool = False
    skip_empty: bool = True
    overwrite: bool = False
    resume: bool = False
    anew: bool = False


def class_head_path(project: Path) -> Path:
    """Where the class head of a project lies: beside it."""
    return project.with_name(f"{project.name}.classes.safetensors")


def class_map_path(project: Path, request: ClassRequest) -> Path:
    """Where the result of a semantic job goes."""
    what = "probabilities" if request.probabilities else "classes"
    return request.out or project.with_name(f"{project.name.removesuffix('.relay')}.{what}.ome.zarr")


def facts(request: Request, work: Work, checkpoint: str) -> dict[str, Any]:
    """What must be the same for an unfinished job to go on, as JSON values."""
    region = next(iter(work.grids.values())).region
    return {
        "mode": request.mode,
        "like": sorted(request.like),
        "region": [region.y0, region.x0, region.y1, region.x1],
        "plane": [work.plane.t, work.plane.z],
        "class": request.class_name,
        "scales": sorted(work.grids) if request.step is not None else request.scales,
        "clicks": request.clicks,
        "least predicted IoU": work.filters.min_iou,
        "least stability": work.filters.min_stability,
        "skip empty": request.skip_empty,
        "checkpoint": checkpoint,
    }


def class_facts(request: ClassRequest, grid: Grid, head: str, checkpoint: str) -> dict[str, Any]:
    """What must be the same for an unfinished semantic job to go on, as JSON values."""
    region = grid.region
    return {
        "mode": "semantic",
        "region": [region.y0, region.x0, region.y1, region.x1],
        "plane": [request.plane.t, request.plane.z],
        "scale": grid.step,
        "probabilities": request.probabilities,
        "skip empty": request.skip_empty,
        "class head": head,
        "checkpoint": checkpoint,
    }


def content_hash_of(path: Path) -> str:
    """Names a file's content."""
    return hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()


def class_of(project: ProjectReader, request: Request) -> str:
    """The class that the proposals get."""
    if request.class_name is not None:
        return request.class_name
    if request.like:
        return project.object(request.like[0]).class_name
    return project.get_current_class()


def summary(request: Request, shape: tuple[int, int]) -> str:
    """What the history says of the proposals."""
    where = "the whole image"
    if request.region is not None and request.region.clip(shape) != Box(0, 0, *shape):
        box = request.region
        where = f"the region {box.y0},{box.x0},{box.y1},{box.x1}"
    what = "instances" if request.mode == "instances" else f"like {', '.join(map(str, request.like))}"
    return f"{what} in {where}"


def teach(source: Source, project: ProjectReader, request: Request, work: Work, sees: Sees) -> Work:
    """The work of a search for every object, taught by what was accepted: thresholds that were not asked for, usual
    size, and what to click besides the clusters. The same work where too little was accepted."""
    objects = _typical(project, work.plane)
    if len(objects) < taught.LEAST:
        return work
    filters = taught.taught_filters(source, objects, work, sees)
    if request.min_iou is not None:
        filters = replace(filters, min_iou=request.min_iou)
    if request.min_stability is not None:
        filters = replace(filters, min_stability=request.min_stability)
    chosen = tuple(stored.id for stored in objects[:: -(-len(objects) // taught.MOST)])
    known = find_examples(source, project, replace(request, like=chosen), work, sees)
    return replace(work, filters=filters, known=known)


def keep_taught(folder: Path, work: Work) -> None:
    """Lay what a job was taught into its folder, so that it goes on with the same, whatever is accepted meanwhile."""
    if work.known is not None:
        keep_examples(folder, work.known)
    partial = folder / "filters.json.partial"
    partial.write_text(json.dumps(asdict(work.filters)), encoding="utf-8")
    partial.replace(folder / "filters.json")


def kept_taught(folder: Path, work: Work) -> Work | None:
    """The work as an unfinished job was taught; None where it was not yet."""
    path = folder / "filters.json"
    if not path.exists():
        return None
    filters = Filters(**json.loads(path.read_text(encoding="utf-8")))
    return replace(work, filters=filters, known=kept_examples(folder))


def find_examples(source: Source, project: ProjectReader, request: Request, work: Work, sees: Sees) -> similar.Examples:
    """Prototypes of the objects in `request.like`, of their surroundings, of what was rejected and of painted
    background."""
    grid = work.grids[min(work.grids)]
    found = [_example(source, project, stored, grid, work, sees) for stored in project.rows(request.like)]
    wanted = ObjectFilter(states=(ObjectState.REJECTED,), plane=work.plane)
    rejected = project.find(wanted, Order.ID, descending=True)[:MOST_GROUND]
    painted = project.find(ObjectFilter(states=SHOWN, class_names=(BACKGROUND,), plane=work.plane))[:MOST_GROUND]
    ground = [
        _example(source, project, stored, grid, work, sees).inside
        for stored in project.rows([int(i) for i in (*rejected, *painted)])
        if stored.id not in request.like
    ]
    return similar.learn(found, grid.step, ground)


def keep_examples(folder: Path, examples: similar.Examples) -> None:
    """Lay a job's examples into its folder, so that it goes on with the same ones."""
    partial = folder / "examples.partial.npz"
    np.savez(
        partial, objects=examples.objects, ground=examples.ground,
        numbers=np.array([examples.threshold, examples.diameter]), step=examples.step,
    )  # fmt: skip
    partial.replace(folder / "examples.npz")


def kept_examples(folder: Path) -> similar.Examples | None:
    """The examples of an unfinished job, or None."""
    if not (folder / "examples.npz").exists():
        return None
    with np.load(folder / "examples.npz") as kept:
        threshold, diameter = (float(value) for value in kept["numbers"])
        return similar.Examples(kept["objects"], kept["ground"], threshold, diameter, int(kept["step"]))


def with_examples(work: Work, examples: similar.Examples) -> Work:
    return replace(work, examples=examples)


def _typical(project: ProjectReader, plane: Plane) -> Sequence[StoredObject]:
    """Some of the objects that somebody has accepted, but for painted background."""
    ids = project.find(ObjectFilter(states=SHOWN, plane=plane))[-MOST_MEASURED:]
    return [stored for stored in project.rows([int(i) for i in ids]) if stored.class_name != BACKGROUND]


def _example(
    source: Source, project: ProjectReader, stored: StoredObject, grid: Grid, work: Work, sees: Sees
) -> similar.Example:
    view = grid.view(place_of(grid, stored.box))
    crops = replace(work, plane=stored.plane).crops(source, view)
    space = sees.look(crops)
    side = space.shape[0]
    mask = stored.mask
    kernel = sees.kernel(crops, similar.object_clicks(view, stored.box, mask, side))
    taken = _taken(project, view, side, source.shape, stored.plane)
    return similar.example(space, view, stored.box, mask, taken, kernel)


def _taken(project: ProjectReader, view: View, side: int, shape: tuple[int, int], plane: Plane) -> Mask:
    """Tokens of a view that belong to an object or lie outside the image: bool [side, side]."""
    box = view.box.clip(shape)
    labels = project.labels(box, plane)
    cell = view.box.height / side
    middles = ((np.arange(side) + 0.5) * cell).astype(int)
    rows, columns = middles + view.box.y0 - box.y0, middles + view.box.x0 - box.x0
    taken = np.ones((side, side), bool)
    inside = (rows >= 0) & (rows < box.height), (columns >= 0) & (columns < box.width)
    taken[np.ix_(*inside)] = labels[np.ix_(rows[inside[0]], columns[inside[1]])] > 0
    return taken



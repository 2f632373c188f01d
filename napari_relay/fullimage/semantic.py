"""A class for every pixel: views are classified once, then blended cell by cell into an OME-Zarr.

Two kinds of tasks, both pure and in any order: a view's logits go into a file of the job's folder; a cell (a square of
side 3/4 of a view, one chunk of the result) is blended from the views that reach into it. Cells are disjoint chunks, so
several processes may write them; the blending knows nothing of the order, so the result does not depend on it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_relay.errors import UsageError
from napari_relay.fullimage.candidates import Candidate
from napari_relay.fullimage.job import Pool, Step, do_tasks
from napari_relay.fullimage.jobfile import TILES, JobFile
from napari_relay.fullimage.plan import Grid, Place, ramp
from napari_relay.fullimage.sees import Sees
from napari_relay.fullimage.work import Task, Work
from napari_relay.geometry import Box
from napari_relay.sources import Source
from napari_relay.store import ome_metadata
from napari_relay.views.values import LOGIT_SIDE, Float32

if TYPE_CHECKING:
    import zarr

SURE = 8.0
"""Logit of the background in views that were left out as empty."""
COARSEST = 512
"""The result gets coarser levels until it is no larger than this."""
PROBABILITY = 255
"""A probability of 1 as it is stored (uint8)."""


@dataclass(frozen=True, slots=True)
class ClassMap:
    """What the result is: its folder, names and colours of the classes (background first), whether it holds the
    probabilities of all classes instead of the number of the likeliest one, and pixel size of the image."""

    path: Path
    names: tuple[str, ...]
    colors: tuple[str, ...]
    probabilities: bool = False
    pixel_size_um: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False, slots=True)
class ClassWork:
    """What the tasks of a semantic job have in common; see `Work`. head : file of the class head. folder : the
    job's."""

    work: Work
    head: Path
    folder: Path
    result: ClassMap

    @property
    def grid(self) -> Grid:
        """The one scale of the job."""
        (grid,) = self.work.grids.values()
        return grid

    @property
    def factor(self) -> int:
        """Level-0 pixels per pixel of the result."""
        return max(1, round(self.grid.scale))

    @property
    def cell(self) -> int:
        """Side of a cell in pixels of the result."""
        return self.grid.stride // self.factor

    def do(self, task: Task, source: Source, sees: Sees) -> list[Candidate]:
        """Do a task; it finds no candidates."""
        if task.kind == "view":
            self._view(task.place, source, sees)
        else:
            self._cell(task.place.row, task.place.column)
        return []

    def views(self) -> Iterator[Task]:
        """A task for each view that reaches into the region."""
        seen: set[Place] = set()
        for row, column in self.grid.cells():
            for place in self.grid.contributors(row, column):
                if place not in seen and self._shows_region(place):
                    yield Task("view", place)
                seen.add(place)

    def cells(self) -> Iterator[Task]:
        """A task for each cell."""
        for row, column in self.grid.cells():
            yield Task("cell", Place(self.grid.step, row, column))

    def order(self, tasks: Sequence[Task], done: Collection[str]) -> Iterator[Task | None]:
        """Views row by row, and each cell as soon as its views are there: it is blended, packed and written while the
        model looks at the next views."""
        views = deque(task for task in tasks if task.kind == "view")
        cells = deque(task for task in tasks if task.kind == "cell")
        while views or cells:
            if cells and all(name in done for name in self._needs(cells[0])):
                yield cells.popleft()
            elif views:
                yield views.popleft()
            else:
                yield None

    def _needs(self, cell: Task) -> list[str]:
        places = self.grid.contributors(cell.place.row, cell.place.column)
        return [Task("view", place).name for place in places if self._shows_region(place)]

    def _shows_region(self, place: Place) -> bool:
        return not self.grid.view(place).box.intersect(self.grid.region).empty

    def _view(self, place: Place, source: Source, sees: Sees) -> None:
        view = self.grid.view(place)
        if self.work.skip_empty and self.work.is_empty(source, view):
            logits = np.full((len(self.result.names), 1, 1), -SURE, np.float32)
            logits[0] = SURE
        else:
            logits = sees.classify(self.work.crops(source, view), str(self.head))
        path = self._file(place)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            np.save(file, logits.astype(np.float16))
        partial.replace(path)

    def _file(self, place: Place) -> Path:
        return self.folder / "logits" / str(place.row) / f"{place.column}.npy"

    def _cell(self, row: int, column: int) -> None:
        import zarr

        cell = Box(row, column, row + 1, column + 1)
        probabilities = self._blended(row, column)  # [K, cell, cell]
        group = zarr.open_group(self.result.path, mode="r+")
        wanted = self._wanted(cell)
        for index in range(len(_level_shapes(self))):
            array: Any = group[str(index)]
            side = self.cell >> index
            y, x = row * side, column * side
            if index:
                probabilities = _halved(probabilities)
            part = Box(wanted.y0 >> index, wanted.x0 >> index, -(-wanted.y1 >> index), -(-wanted.x1 >> index))
            part = part.clip((array.shape[-2] - y, array.shape[-1] - x))
            values = self._stored(probabilities)[..., part.y0 : part.y1, part.x0 : part.x1]
            array[..., y + part.y0 : y + part.y1, x + part.x0 : x + part.x1] = values

    def _wanted(self, cell: Box) -> Box:
        """The region's part of a cell, in pixels of the result from the cell's corner."""
        stride, factor = self.grid.stride, self.factor
        whole = Box(cell.y0 * stride, cell.x0 * stride, cell.y1 * stride, cell.x1 * stride)
        inside = whole.intersect(self.grid.region).relative_to(whole)
        return Box(inside.y0 // factor, inside.x0 // factor, -(-inside.y1 // factor), -(-inside.x1 // factor))

    def _blended(self, row: int, column: int) -> Float32:
        """Probabilities of a cell: logits of its views, resized and weighted by raised cosines; [K, cell, cell]."""
        rows, columns = self.grid.counts
        count = self.grid.side // self.factor  # pixels of the result in a view
        resize = _resizing(count)  # [count, 112]
        total = np.zeros((len(self.result.names), self.cell, self.cell), np.float32)
        weight = np.zeros((self.cell, self.cell), np.float32)
        for place in self.grid.contributors(row, column):
            path = self._file(place)
            if not path.exists():  # it reaches into the cell, but not into the region
                continue
            logits = np.broadcast_to(np.load(path), (len(total), LOGIT_SIDE, LOGIT_SIDE)).astype(np.float32)
            (own_y, in_y), (own_x, in_x) = (
                self._common(place.row, row, count), self._common(place.column, column, count),
            )  # fmt: skip
            up = resize[own_y] @ logits @ resize[own_x].T  # [K, h, w]
            w_y = ramp(count, rising=place.row > 0, falling=place.row < rows - 1)[own_y]
            w_x = ramp(count, rising=place.column > 0, falling=place.column < columns - 1)[own_x]
            both = w_y[:, None] * w_x[None]
            total[:, in_y, in_x] += up * both
            weight[in_y, in_x] += both
        return _softmax((total / np.maximum(weight, 1e-6)).astype(np.float32))

    def _common(self, view: int, cell: int, count: int) -> tuple[slice, slice]:
        """The rows that a view and a cell have in common: in the view's frame, and in the cell's."""
        shift = (cell - view) * self.cell
        length = min(count - shift, self.cell)
        return slice(shift, shift + length), slice(0, length)

    def _stored(self, probabilities: Float32) -> npt.NDArray[np.uint8]:
        values = np.round(probabilities * PROBABILITY) if self.result.probabilities else probabilities.argmax(axis=0)
        stored: npt.NDArray[np.uint8] = values.astype(np.uint8)
        return stored


def classify_image(job: JobFile, work: ClassWork, pool: Pool) -> Generator[Step, None, int]:
    """Do what is left of a semantic job; returns the number of tasks.

    Raises
    ------
    UsageError
        The scale is no power of two.
    """
    check_scale(work.grid)
    tasks = [*work.views(), *work.cells()]
    make_result(work)
    yield from do_tasks(job, tasks, pool, TILES, work.order)
    return len(tasks)


def check_scale(grid: Grid) -> None:
    """A pixel of the result is a whole number of image pixels, or the other way round. Raises UsageError."""
    if grid.step % 2:
        raise UsageError(
            f"Classes cannot be mapped at {grid.scale:.2f} image pixels per view pixel.", "Use --scale 0.5, 1, 2, 4 ..."
        )


def make_result(work: ClassWork) -> zarr.Group:
    """Make the OME-Zarr, or open the unfinished one."""
    import zarr

    path, result = work.result.path, work.result
    if (path / "zarr.json").exists():
        return zarr.open_group(path, mode="r+")
    partial = path.with_name(f"{path.name}.new")
    group = zarr.open_group(partial, mode="w", zarr_format=3)
    shapes = _level_shapes(work)
    channels = (len(result.names),) if result.probabilities else ()
    names = ("c", "y", "x") if result.probabilities else ("y", "x")
    for index, shape in enumerate(shapes):
        side = work.cell >> index
        group.create_array(
            str(index), shape=(*channels, *shape), chunks=(*channels, side, side), dtype="uint8", fill_value=0,
            dimension_names=names,
        )  # fmt: skip
    group.attrs.update(_attributes(work, shapes))
    partial.rename(path)
    return zarr.open_group(path, mode="r+")


def _level_shapes(work: ClassWork) -> list[tuple[int, int]]:
    """(height, width) of the result's levels: halved as long as a cell can be."""
    shape = (-(-work.grid.shape[0] // work.factor), -(-work.grid.shape[1] // work.factor))
    shapes, side = [shape], work.cell
    while max(shapes[-1]) > COARSEST and side % 2 == 0 and side > 32:
        shapes.append((-(-shapes[-1][0] // 2), -(-shapes[-1][1] // 2)))
        side //= 2
    return shapes


def _attributes(work: ClassWork, shapes: list[tuple[int, int]]) -> dict[str, Any]:
    result = work.result
    pixel = result.pixel_size_um or (1.0, 1.0)
    size = (pixel[0] * work.factor, pixel[1] * work.factor)
    sized = size if result.pixel_size_um is not None or work.factor > 1 else None
    entry = ome_metadata.multiscales(result.path.name, shapes, (1, 1), sized)
    if result.probabilities:
        entry["axes"] = [{"name": "c", "type": "channel"}, *entry["axes"]]
        for level in entry["datasets"]:
            for change in level["coordinateTransformations"]:
                change[change["type"]] = [1.0 if change["type"] == "scale" else 0.0, *change[change["type"]]]
    ome: dict[str, Any] = {"version": "0.5", "multiscales": [entry]}
    if not result.probabilities:
        ome["image-label"] = {
            "colors": [{"label-value": i, "rgba": _rgba(c)} for i, c in enumerate(result.colors) if i],
            "properties": [{"label-value": i, "class": name} for i, name in enumerate(result.names)],
        }
    region = work.grid.region
    ours = {
        "classes": list(result.names), "region": [region.y0, region.x0, region.y1, region.x1], "factor": work.factor,
    }  # fmt: skip
    return {"ome": ome, "napari-relay": ours}


def _rgba(color: str) -> list[int]:
    return [int(color[i : i + 2], 16) for i in (1, 3, 5)] + [255]


def _resizing(count: int) -> Float32:
    """Bilinear interpolation of the 112 logits of a view's row to `count` pixels: [count, 112]."""
    at = np.clip((np.arange(count) + 0.5) * LOGIT_SIDE / count - 0.5, 0, LOGIT_SIDE - 1)
    before = np.minimum(at.astype(int), LOGIT_SIDE - 2)
    matrix = np.zeros((count, LOGIT_SIDE), np.float32)
    matrix[np.arange(count), before] = 1 - (at - before)
    matrix[np.arange(count), before + 1] = at - before
    return matrix


def _softmax(logits: Float32) -> Float32:
    shifted = np.exp(logits - logits.max(axis=0, keepdims=True))
    probabilities: Float32 = shifted / shifted.sum(axis=0, keepdims=True)
    return probabilities


def _halved(values: Float32) -> Float32:
    """Means of 2 x 2 blocks: [K, h, w] -> [K, h / 2, w / 2]."""
    k, h, w = values.shape
    means: Float32 = values.reshape(k, h // 2, 2, w // 2, 2).mean(axis=(2, 4))
    return means

"""A class for every pixel: no seam, whatever the order, the region or the kill in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from PIL import Image
from scipy import ndimage
from slides import draw, seam_discs
from whole_services import BrightSees

from napari_relay.errors import CheckpointError, UsageError
from napari_relay.fullimage.candidates import Candidate
from napari_relay.fullimage.job import LocalPool, job_folder
from napari_relay.fullimage.joining import straight_edge
from napari_relay.fullimage.plan import Grid, Place
from napari_relay.fullimage.request import ClassRequest, class_head_path
from napari_relay.fullimage.semantic import ClassMap, ClassWork, classify_image
from napari_relay.fullimage.work import Work
from napari_relay.geometry import Box, Plane
from napari_relay.model.class_card import ClassCard
from napari_relay.sources import open_image
from napari_relay.views import Stretch, default_mix
from napari_relay.workspace import Workspace, open_workspace

SHAPE = (780, 860)
CHILD = Path(__file__).parent / "propose_child.py"
CARD = ClassCard("fpn", ("background", "disc"), ("#808080", "#ff0000"), "bright", 0)


def put_head(project: Path, card: ClassCard = CARD) -> None:
    from napari_relay.model.class_head import ClassHead
    from napari_relay.predictor.classes import save_class_head

    save_class_head(class_head_path(project), ClassHead("fpn", 2), card)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return draw(SHAPE, seam_discs(SHAPE))


def placed(folder: Path, pixels: np.ndarray, card: ClassCard = CARD) -> Path:
    folder.mkdir()
    Image.fromarray(pixels).save(folder / "slide.png", compress_level=1)
    put_head(folder / "slide.png.relay", card)
    return folder / "slide.png"


def classified(image: Path, **request: Any) -> Path:
    with open_workspace(image, service="whole_services:make") as workspace:
        return run(workspace, ClassRequest(**request))


def run(workspace: Workspace, request: ClassRequest) -> Path:
    steps = workspace.classify(request)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_no_seam_cuts_or_joins_anything(tmp_path: Path, pixels: np.ndarray) -> None:
    out = classified(placed(tmp_path / "a", pixels))

    level = np.asarray(zarr.open_group(out, mode="r")["0"])
    labels, count = ndimage.label(level)
    grid = Grid(SHAPE, 0, Box(0, 0, *SHAPE))
    assert level.shape == SHAPE
    assert count == len(seam_discs(SHAPE))
    for number, place in enumerate(ndimage.find_objects(labels), 1):
        box = Box(place[0].start, place[1].start, place[0].stop, place[1].stop)
        one = Candidate(Place(0, 0, 0), 0, box, labels[place] == number, 1.0)
        assert one.area > 3000 or straight_edge(one, grid) <= 8


def test_the_result_says_what_it_is(tmp_path: Path, pixels: np.ndarray) -> None:
    image = placed(tmp_path / "a", pixels)

    group = zarr.open_group(classified(image), mode="r")

    ome = group.attrs["ome"]
    assert [level["path"] for level in ome["multiscales"][0]["datasets"]] == ["0", "1"]
    assert group["1"].shape == (390, 430)
    assert ome["image-label"]["properties"] == [
        {"label-value": 0, "class": "background"}, {"label-value": 1, "class": "disc"},
    ]  # fmt: skip
    assert ome["image-label"]["colors"] == [{"label-value": 1, "rgba": [255, 0, 0, 255]}]
    halved = np.asarray(group["0"]).reshape(390, 2, 430, 2).mean(axis=(1, 3))
    assert np.abs(np.asarray(group["1"]) - halved).mean() < 0.02
    assert not job_folder(image.with_name("slide.png.relay")).exists()


def test_probabilities_fade_from_view_to_view(tmp_path: Path, pixels: np.ndarray) -> None:
    image = placed(tmp_path / "a", np.full_like(pixels, 148))  # doubtful everywhere, each view in another mood

    group = zarr.open_group(classified(image, probabilities=True, skip_empty=False), mode="r")

    level = np.asarray(group["0"]).astype(int)
    assert level.shape == (2, *SHAPE)
    assert np.abs(level.sum(axis=0) - 255).max() <= 1
    inner = level[1, 8:-8, 8:-8]  # the image's own border is no seam
    assert np.ptp(inner) > 20
    for axis in (0, 1):
        assert np.abs(np.diff(inner, axis=axis)).max() <= 3, "a step between neighbouring pixels is a seam"


def test_a_region_has_the_values_of_the_whole(tmp_path: Path, pixels: np.ndarray) -> None:
    image = placed(tmp_path / "a", pixels)
    region = Box(210, 150, 601, 655)

    whole = zarr.open_group(classified(image, probabilities=True, out=tmp_path / "w.ome.zarr"), mode="r")
    part = zarr.open_group(classified(image, probabilities=True, region=region), mode="r")

    inside = (slice(None), *region.slices)
    np.testing.assert_array_equal(part["0"][inside], whole["0"][inside])
    outside = np.asarray(part["0"])
    outside[inside] = 0
    assert not outside.any()


@pytest.mark.slow
@pytest.mark.parametrize("after", [2, 7, 13])
def test_a_killed_job_ends_byte_for_byte_the_same(tmp_path: Path, pixels: np.ndarray, after: int) -> None:
    whole = classified(placed(tmp_path / "a", pixels))
    image = placed(tmp_path / "b", pixels)
    child = subprocess.Popen([sys.executable, str(CHILD), str(image), "semantic"], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for number, _ in enumerate(child.stdout):
        if number == after:
            os.kill(child.pid, signal.SIGKILL)
            break
    child.wait()
    child.stdout.close()
    assert child.returncode == -signal.SIGKILL

    subprocess.run([sys.executable, str(CHILD), str(image), "semantic"], capture_output=True, check=True)

    assert files(tmp_path / "b" / whole.name) == files(whole)


class OneByOne:
    """Does a task at a time; remembers their order, and ends before the last `short` ones."""

    def __init__(self, work: ClassWork, source: Any, most: int = 1000) -> None:
        self.names: list[str] = []
        self._do, self._most = lambda task: work.do(task, source, BrightSees()), most

    def run(self, tasks: Any) -> Any:
        for task in tasks:
            if task is None or len(self.names) == self._most:
                return
            self.names.append(task.name)
            yield task, self._do(task)


def test_a_cell_is_written_as_soon_as_its_views_are_there(tmp_path: Path, pixels: np.ndarray) -> None:
    from napari_relay.fullimage.jobfile import JobFile

    with open_image(pixels) as source, JobFile(tmp_path) as job:
        grid = Grid(source.shape, 0, Box(0, 0, *source.shape))
        work = Work({0: grid}, Plane(), default_mix(source), Stretch.none(3), skip_empty=False)
        classes = ClassWork(work, Path("head"), tmp_path, ClassMap(tmp_path / "r.zarr", CARD.names, CARD.colors))
        half, rest = OneByOne(classes, source, 5), OneByOne(classes, source)
        with pytest.raises(AssertionError, match="never begun"):
            list(classify_image(job, classes, half))
        steps = list(classify_image(job, classes, rest))

    names = half.names + rest.names
    cells = [name for name in names if name.startswith("cell")]
    assert (steps[0].done, steps[-1].done, len(set(names))) == (5, 15, 15)
    assert names.index(cells[0]) == 1, "the first cell needs only the first view"
    for cell in grid.cells():
        own = names.index(f"cell 0 {cell[0]} {cell[1]} 0")
        assert all(names.index(f"view 0 {p.row} {p.column} 0") < own for p in grid.contributors(*cell))


def test_a_map_killed_just_after_it_was_moved_is_whole(
    tmp_path: Path, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    import napari_relay.workspace.proposing as proposing

    image = placed(tmp_path / "a", pixels)
    with monkeypatch.context() as crash:
        crash.setattr(proposing, "remove_job", lambda job: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            classified(image)
    out = image.with_name("slide.png.classes.ome.zarr")
    before = files(out)

    assert classified(image, resume=True) == out
    assert files(out) == before
    assert not job_folder(image.with_name("slide.png.relay")).exists()


def test_what_is_there_is_not_replaced_unasked(tmp_path: Path, pixels: np.ndarray) -> None:
    image = placed(tmp_path / "a", pixels)
    out = classified(image)

    with pytest.raises(UsageError, match="--overwrite"):
        classified(image)

    assert classified(image, overwrite=True) == out


def test_a_missing_head_and_an_odd_scale_are_told(tmp_path: Path, pixels: np.ndarray) -> None:
    image = placed(tmp_path / "a", pixels, ClassCard("fpn", CARD.names, CARD.colors, "bright", 1))
    with pytest.raises(UsageError, match="--scale"):
        classified(image)
    class_head_path(image.with_name("slide.png.relay")).unlink()
    with pytest.raises(CheckpointError, match="Learn the classes first"):
        classified(image)
    class_head_path(image.with_name("slide.png.relay")).write_bytes(b"x" * 100)
    with pytest.raises(CheckpointError):
        classified(image)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_image(tmp_path: Path) -> None:
    import tracemalloc

    import dask.array as da

    from napari_relay.fullimage.jobfile import JobFile

    tile = draw((512, 512), seam_discs((512, 512)))
    peaks = []
    for side in (4, 7):  # both wider than a global view
        pixels = da.tile(da.from_array(tile, chunks=(512, 512, 3)), (side, side, 1))
        folder = tmp_path / str(side)
        with open_image(pixels) as source:
            grid = Grid(source.shape, 0, Box(0, 0, *source.shape))
            work = Work({0: grid}, Plane(), default_mix(source), Stretch.none(3), skip_empty=False)
            with JobFile(folder) as job:
                classes = ClassWork(work, Path("head"), folder, ClassMap(folder / "r.zarr", CARD.names, CARD.colors))
                tracemalloc.start()
                for _ in classify_image(job, classes, LocalPool(classes, source, BrightSees())):
                    pass
                peaks.append(tracemalloc.get_traced_memory()[1])
                tracemalloc.stop()

    assert peaks[1] < 1.3 * peaks[0]

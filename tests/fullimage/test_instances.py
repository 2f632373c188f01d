"""One object is one object: nothing is lost, doubled or cut where views meet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from slides import Disc, draw, seam_discs
from whole_services import BrightSees

from napari_relay.fullimage.candidates import Candidate
from napari_relay.fullimage.job import LocalPool, find_candidates, open_job, write_proposals
from napari_relay.fullimage.joining import straight_edge
from napari_relay.fullimage.plan import Grid, checked_region
from napari_relay.fullimage.sees import Sees
from napari_relay.fullimage.work import Work
from napari_relay.geometry import Box, Plane
from napari_relay.sources import Source, open_image
from napari_relay.store import Project
from napari_relay.views import Stretch, default_mix

SHAPE = (780, 860)


def found(
    folder: Path, source: Source, sees: Sees, steps: Sequence[int] = (0,), region: Box | None = None
) -> tuple[list[Candidate], dict[str, int]]:
    """What a job finds, and its report."""
    part = checked_region(source.shape, region)
    grids = {step: Grid(source.shape, step, part) for step in steps}
    work = Work(grids, Plane(), default_mix(source), Stretch.none(source.channels))
    with open_job(folder / "a.relay", {}, resume=False) as job:
        steps_left = find_candidates(job, work, LocalPool(work, source, sees), part)
        while True:
            try:
                next(steps_left)
            except StopIteration as end:
                candidates, report = end.value
                return list(candidates), report


def overlaps(candidates: Sequence[Candidate], discs: Sequence[Disc]) -> list[float]:
    """For each disc the IoU of the candidate over its middle."""
    values = []
    for disc in discs:
        over = [c for c in candidates if c.box.contains(disc.y, disc.x)
                and c.mask[round(disc.y) - c.box.y0, round(disc.x) - c.box.x0]]  # fmt: skip
        assert len(over) == 1, (disc, len(over))
        truth = disc.mask(SHAPE)
        shared = np.count_nonzero(over[0].mask & truth[over[0].box.slices])
        values.append(shared / (np.count_nonzero(truth) + over[0].area - shared))
    return values


@pytest.fixture(scope="module")
def discs() -> list[Disc]:
    return seam_discs(SHAPE)


@pytest.fixture(scope="module")
def slide(discs: list[Disc]) -> Any:
    with open_image(draw(SHAPE, discs)) as source:
        yield source


@pytest.mark.parametrize("steps", [(0,), pytest.param((0, 2), marks=pytest.mark.slow)])
def test_objects_on_every_seam_are_counted_right_and_not_cut(
    slide: Source, discs: list[Disc], tmp_path: Path, steps: tuple[int, ...]
) -> None:
    candidates, report = found(tmp_path, slide, BrightSees(), steps)

    assert len(candidates) == len(discs)  # 47, one of them wider than an overlap
    assert min(overlaps(candidates, discs)) > 0.9
    grids = [Grid(SHAPE, step, Box(0, 0, *SHAPE)) for step in (0, 2)]
    assert max(straight_edge(one, grid) for one in candidates for grid in grids if one.area < 3000) <= 8
    if steps == (0,):
        assert report["joined"] >= 1


@pytest.mark.slow
def test_two_tile_sizes_give_the_same_objects(slide: Source, discs: list[Disc], tmp_path: Path) -> None:
    maps = []
    for step in (-1, 0):
        (tmp_path / str(step)).mkdir()
        total = np.zeros(SHAPE, bool)
        for one in found(tmp_path / str(step), slide, BrightSees(), (step,))[0]:
            total[one.box.slices] |= one.mask
        maps.append(total)

    assert np.count_nonzero(maps[0] & maps[1]) / np.count_nonzero(maps[0] | maps[1]) >= 0.98


@pytest.mark.slow
def test_a_region_gives_the_objects_that_the_whole_image_gives_there(slide: Source, tmp_path: Path) -> None:
    region = Box(150, 100, 700, 760)
    for name in "ab":
        (tmp_path / name).mkdir()

    everything = {one.box for one in found(tmp_path / "a", slide, BrightSees())[0]}
    part = {one.box for one in found(tmp_path / "b", slide, BrightSees(), region=region)[0]}

    inside = {box for box in everything if region.contains(*box.centre)}
    deep = {box for box in inside if region.grow(-100).covers(box)}
    assert deep <= part <= inside
    assert len(deep) > 5


def test_views_of_even_ground_are_not_looked_at(tmp_path: Path) -> None:
    discs = [Disc(200, 200, 20)]
    with open_image(draw((2000, 2000), discs)) as source:
        sees = BrightSees()
        candidates, _ = found(tmp_path, source, sees)

    assert len(candidates) == 1
    assert sees.looked == 1


def test_what_the_project_has_is_not_proposed_again(slide: Source, discs: list[Disc], tmp_path: Path) -> None:
    candidates, _ = found(tmp_path, slide, BrightSees())
    with Project.open(tmp_path / "p.relay", fingerprint="f", shape=SHAPE) as project:
        first, second, *_ = candidates
        project.accept(first.box, first.mask)
        rejected = project.accept(second.box, second.mask)
        project.set_state(rejected.id, "rejected")
        tissue = Box(0, 0, *SHAPE)
        project.accept(tissue, np.ones(tissue.shape, bool), overlap="allow")  # another kind of thing, round them all

        ids, _ = write_proposals(
            project, candidates, class_name="cell", plane=Plane(), checkpoint="c", summary="instances"
        )
        again, _ = write_proposals(
            project, candidates, class_name="cell", plane=Plane(), checkpoint="c", summary="instances"
        )

        assert len(ids) == len(discs) - 2
        assert again == ()
        states = [(stored.class_name, stored.state, stored.checkpoint) for stored in project.rows(ids)]
        assert set(states) == {("cell", "proposed", "c")}


@pytest.mark.slow
def test_memory_does_not_grow_with_the_image(tmp_path: Path) -> None:
    import tracemalloc

    import dask.array as da

    tile = draw((512, 512), seam_discs((512, 512)))
    peaks = []
    for side in (4, 7):  # both wider than a global view
        (tmp_path / str(side)).mkdir()
        pixels = da.tile(da.from_array(tile, chunks=(512, 512, 3)), (side, side, 1))
        with open_image(pixels) as source:
            grid = Grid(source.shape, 2, Box(0, 0, *source.shape))
            work = Work({2: grid}, Plane(), default_mix(source), Stretch.none(3), clicks=16)
            with open_job(tmp_path / str(side) / "a.relay", {}, resume=False) as job:
                tracemalloc.start()
                steps = find_candidates(job, work, LocalPool(work, source, BrightSees()), grid.region)
                count = sum(1 for _ in steps)
                peaks.append(tracemalloc.get_traced_memory()[1])
                tracemalloc.stop()
        assert count > len(grid)

    assert peaks[1] < 1.3 * peaks[0]


@pytest.mark.slow
def test_the_bundled_model_counts_objects_on_seams_right(tmp_path: Path) -> None:
    import torch

    from napari_relay.fullimage.direct import DirectSees
    from napari_relay.predictor import load_predictor

    shape = (620, 620)
    discs = [disc for disc in seam_discs(shape) if disc.radius < 50]
    torch.set_num_threads(1)
    with open_image(draw(shape, discs)) as source:
        candidates, _ = found(tmp_path, source, DirectSees(load_predictor(device="cpu", dtype="float32")))

    grid = Grid(shape, 0, Box(0, 0, *shape))
    assert len(candidates) == len(discs)
    assert max(straight_edge(one, grid) for one in candidates) <= 8

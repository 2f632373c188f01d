"""The same result on a cluster, also when a worker is killed in the middle."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from slides import draw, seam_discs
from whole_services import BrightSees

from napari_relay.errors import EngineError, UsageError
from napari_relay.fullimage.candidates import Candidate
from napari_relay.fullimage.job import LocalPool, find_candidates, open_job
from napari_relay.fullimage.jobfile import JobFile
from napari_relay.fullimage.plan import Grid
from napari_relay.fullimage.semantic import ClassMap, ClassWork, classify_image
from napari_relay.fullimage.work import Work
from napari_relay.geometry import Box, Plane
from napari_relay.sources import Source, open_image
from napari_relay.views import Stretch, default_mix

pytest.importorskip("distributed", reason="the extra `distributed` is not installed")
from napari_relay.fullimage.client import open_client
from napari_relay.fullimage.cluster import DaskPool

SHAPE = (780, 860)


class SlowSees(BrightSees):
    def __init__(self) -> None:
        super().__init__(slow=0.3)


@pytest.fixture
def slide(tmp_path: Path) -> Iterator[Source]:
    Image.fromarray(draw(SHAPE, seam_discs(SHAPE))).save(tmp_path / "slide.png", compress_level=1)
    with open_image(tmp_path / "slide.png") as source:
        yield source


def work_of(source: Source) -> Work:
    grid = Grid(source.shape, 0, Box(0, 0, *source.shape))
    return Work({0: grid}, Plane(), default_mix(source), Stretch.none(3))


def instances(folder: Path, work: Work, pool: Any, kill: Any = None) -> list[tuple[Any, ...]]:
    folder.mkdir()
    with open_job(folder / "a.relay", {}, resume=False) as job:
        steps = find_candidates(job, work, pool, Box(0, 0, *SHAPE))
        while True:
            try:
                at = next(steps)
            except StopIteration as end:
                found: list[Candidate] = list(end.value[0])
                return [(c.place, c.number, c.box, c.score, c.mask.tobytes()) for c in found]
            if kill is not None and at.done == 2:
                kill()
                kill = None


def kill_one(client: Any) -> int:
    """Kill a worker's process as the system would; its number."""
    pid: int = next(iter(client.run(os.getpid).values()))
    os.kill(pid, signal.SIGKILL)
    return pid


def classes(folder: Path, work: Work, make_pool: Any, kill: Any = None) -> dict[str, bytes]:
    with JobFile(folder) as job:
        result = ClassMap(folder / "r.zarr", ("background", "disc"), ("#808080", "#ff0000"))
        semantic = ClassWork(work, Path("head"), folder, result)
        for at in classify_image(job, semantic, make_pool(semantic)):
            if kill is not None and at.done == 3:
                kill()
                kill = None
    written = [path for path in (folder / "r.zarr").rglob("*") if path.is_file()]
    files = {str(path.relative_to(folder)): path.read_bytes() for path in written}
    assert len(files) > 9
    return files


@pytest.mark.slow
def test_a_cluster_gives_what_one_process_gives_and_survives_a_killed_worker(slide: Source, tmp_path: Path) -> None:
    work = work_of(slide)
    alone = instances(tmp_path / "alone", work, LocalPool(work, slide, BrightSees()))
    map_alone = classes(tmp_path / "map", work, lambda w: LocalPool(w, slide, BrightSees()))

    with open_client(None, 2) as client:
        pool = DaskPool(client, work, slide, SlowSees)
        killed = instances(tmp_path / "killed", work, pool, lambda: kill_one(client))
        map_there = classes(tmp_path / "there", work, lambda w: DaskPool(client, w, slide, BrightSees))

    assert len(alone) == len(seam_discs(SHAPE))
    assert killed == alone
    assert map_there == map_alone


@pytest.mark.slow
def test_a_class_map_is_the_same_though_a_worker_is_killed_in_the_middle(slide: Source, tmp_path: Path) -> None:
    work, killed = work_of(slide), []
    alone = classes(tmp_path / "alone", work, lambda w: LocalPool(w, slide, BrightSees()))

    with open_client(None, 2) as client:

        def kill() -> None:
            killed.append(kill_one(client))

        there = classes(tmp_path / "there", work, lambda w: DaskPool(client, w, slide, SlowSees), kill)
        assert killed
        assert killed[0] not in client.run(os.getpid).values()

    assert there == alone


@pytest.mark.slow
def test_the_model_travels_with_its_weights(slide: Source) -> None:
    from napari_relay.fullimage.direct import DirectSees
    from napari_relay.predictor import load_predictor
    from napari_relay.predictor.portable import portable_model

    predictor = load_predictor("small", device="cpu", dtype="float32", threads=1)
    there = portable_model(predictor).load()
    view = work_of(slide).grids[0].view(next(iter(work_of(slide).grids[0].places())))
    crops = work_of(slide).crops(slide, view)

    assert DirectSees(there).checkpoint == DirectSees(predictor).checkpoint
    np.testing.assert_array_equal(DirectSees(there).look(crops), DirectSees(predictor).look(crops))


def test_an_image_without_a_file_and_a_missing_scheduler_are_told(slide: Source) -> None:
    with open_image(np.zeros((300, 300), np.uint8)) as array, pytest.raises(UsageError, match="not a file"):
        DaskPool(None, work_of(slide), array, BrightSees)
    with pytest.raises(EngineError, match="no dask scheduler"), open_client("nowhere://x", None):
        pass

"""A job runs behind the user's clicks, in whatever process computes, and with one checkpoint."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from slides import Disc, draw
from whole_services import space_of

from napari_relay.engine import InProcessEngine, WorkerEngine
from napari_relay.errors import EngineError
from napari_relay.fullimage.plan import Grid
from napari_relay.fullimage.request import Request
from napari_relay.fullimage.work import Work
from napari_relay.geometry import Box, Plane
from napari_relay.sources import open_image
from napari_relay.views import Crops, Stretch, default_mix
from napari_relay.workspace import open_workspace
from napari_relay.workspace.proposing import EngineSees

DISCS = [Disc(60, 60, 22), Disc(70, 240, 20), Disc(220, 90, 24)]


@pytest.fixture
def crops() -> Iterator[Crops]:
    with open_image(draw((300, 320), DISCS)) as source:
        grid = Grid(source.shape, 0, Box(0, 0, *source.shape))
        work = Work({0: grid}, Plane(), default_mix(source), Stretch.none(3))
        yield work.crops(source, grid.view(next(grid.places())))


@pytest.fixture
def engine() -> Iterator[InProcessEngine]:
    with InProcessEngine("whole_services:make_patient") as engine:
        yield engine


def test_a_click_does_not_wait_for_the_view_of_a_job_and_the_job_goes_on(
    engine: InProcessEngine, crops: Crops
) -> None:
    answers: list[Any] = []
    job = threading.Thread(target=lambda: answers.append(EngineSees(engine).look(crops)))
    job.start()
    begun = 0
    while begun == 0:
        begun = engine.call("click")

    assert not answers, "the click came first"
    job.join(60)
    np.testing.assert_array_equal(answers[0], space_of(crops))
    assert engine.call("click") > begun, "the view was begun again"


def test_a_job_does_not_mix_checkpoints(engine: InProcessEngine, crops: Crops) -> None:
    sees = EngineSees(engine)
    sees.look(crops)
    assert sees.checkpoint == "bright"
    engine.call("set_checkpoint", None, lane="control")

    with pytest.raises(EngineError, match="checkpoint was changed"):
        sees.look(crops)


@pytest.mark.slow
def test_the_worker_process_gives_what_this_process_gives(tmp_path: Path) -> None:
    results = []
    for name in ("inprocess", "worker"):
        (tmp_path / name).mkdir()
        Image.fromarray(draw((300, 320), DISCS)).save(tmp_path / name / "a.png")
        with open_workspace(tmp_path / name / "a.png", engine=name, service="whole_services:make") as workspace:  # type: ignore[arg-type]
            assert name == "inprocess" or isinstance(workspace.engine, WorkerEngine)
            for _ in workspace.propose(Request(step=0)):
                pass
            results.append([(o.box, o.score, o.mask.tobytes()) for o in workspace.project.objects()])

    assert len(results[0]) == len(DISCS)
    assert results[0] == results[1]

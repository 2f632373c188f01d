"""Learning end to end, with the real process on real objects. Slow: each trains a little."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from learn_projects import make_coins_project

from napari_relay.learn import JobFolder, LearnJob, LearnResult, LearnStatus, Material, RunningJob, Shelf, start
from napari_relay.learn.progress import Follower
from napari_relay.workspace import open_workspace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SHORT = {"views": 2, "batch": 2, "replay": 0, "steps": 4, "fold_steps": 3, "rounds": 1, "warmup": 1}
"""Enough steps to see every part of the job, not to learn."""


def job_of(project: Path, **changes: object) -> LearnJob:
    material = Material(project, str(project.with_suffix("")))
    job = LearnJob((material,), minutes=5, threads=1, recipe=SHORT)
    return replace(job, **changes)  # type: ignore[arg-type]


def wait_until(condition: Callable[[], bool], seconds: float = 1500) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happens"
        time.sleep(0.1)


def stage(running: RunningJob) -> str:
    lines = Follower(running.folder.progress).read()
    return lines[-1].stage if lines else ""


def finished(running: RunningJob) -> LearnResult:
    wait_until(lambda: running.status not in (LearnStatus.RUNNING, LearnStatus.PAUSED))
    result = running.result()
    log = running.folder.path / "log.txt"
    assert result is not None, log.read_text()
    assert result.status is LearnStatus.DONE, result.reason
    return result


def test_a_killed_job_goes_on_where_it_was_and_keeps_what_it_had(tmp_path: Path, sample_data: Path) -> None:
    running = start(job_of(make_coins_project(tmp_path, sample_data)))
    wait_until(lambda: stage(running) == "learning")
    known = running.folder.read("process.json")
    assert known is not None
    os.kill(known["pid"], signal.SIGKILL)
    wait_until(lambda: not running.alive)
    assert RunningJob(running.folder).status is LearnStatus.INTERRUPTED
    played, plan = running.folder.read("runs.json"), running.folder.read("plan.json")
    encoded = {path.name: path.stat().st_mtime_ns for path in running.folder.encodings.iterdir()}
    assert played is not None
    assert len(played["before"]) == 24

    result = finished(RunningJob(running.folder).resume())

    after = running.folder.read("runs.json")
    assert after is not None
    assert after["before"] == played["before"]
    assert running.folder.read("plan.json") == plan
    assert {p.name: p.stat().st_mtime_ns for p in running.folder.encodings.iterdir()} == encoded
    assert result.anyway is not None
    assert result.measured == "folds"
    assert len(result.heads["click"]["runs"]) == 24
    assert all(path.is_file() for path in result.gallery)
    assert len(result.gallery) == 12


def test_pause_stops_it_and_cancel_ends_it(tmp_path: Path, sample_data: Path) -> None:
    running = start(job_of(make_coins_project(tmp_path, sample_data)))
    wait_until(lambda: stage(running) == "encoding")
    running.pause()
    wait_until(lambda: stage(running) == "paused")
    lines = len(Follower(running.folder.progress).read())
    time.sleep(1)
    assert len(Follower(running.folder.progress).read()) == lines

    running.go_on()
    wait_until(lambda: stage(running) != "paused")
    running.cancel()
    wait_until(lambda: running.status is LearnStatus.CANCELLED)
    wait_until(lambda: not running.alive)


def test_masks_shifted_by_half_their_size_are_not_promoted(tmp_path: Path, sample_data: Path) -> None:
    """Half of the objects that teach are wrong; those that measure keep their true masks."""
    poisoned = make_coins_project(tmp_path / "poisoned", sample_data, shifted=True)
    true = make_coins_project(tmp_path / "true", sample_data)
    recipe = {**SHORT, "fold_steps": 25, "batch": 4, "steps": 4}

    result = finished(start(job_of(poisoned, truth=(true,), recipe=recipe)))

    assert not result.better, result.reason
    assert result.checkpoint is None
    assert result.anyway is not None, "it may still be looked at"


@pytest.mark.parametrize("deep", [False, True])
def test_roll_back_gives_bit_equal_proposals(tmp_path: Path, sample_data: Path, deep: bool) -> None:
    project = make_coins_project(tmp_path, sample_data)
    recipe = {**SHORT, "replay": 1 if deep else 0}
    result = finished(start(job_of(project, deep=deep, recipe=recipe)))
    image = project.with_suffix("")

    def proposals() -> list[np.ndarray]:
        with open_workspace(image, threads=1, dtype="float32") as workspace:
            session = workspace.session()
            first, second = session.click(150, 200), session.click(60, 100)
            return [first.field.logits, second.field.logits, second.mask]

    before = proposals()
    with open_workspace(image, threads=1, dtype="float32") as workspace:
        workspace.promote(result, anyway=True)
        assert Shelf(workspace.project).current() is not None
    learned, again = proposals(), proposals()
    assert all(np.array_equal(a, b) for a, b in zip(learned, again, strict=True)), "reopened, it is used"
    assert not np.array_equal(learned[0], before[0])
    with open_workspace(image, threads=1, dtype="float32") as workspace:
        session = workspace.session()
        assert np.array_equal(session.click(150, 200).field.logits, learned[0])
        assert workspace.roll_back().path is None
        session.reset()
        assert np.array_equal(session.click(150, 200).field.logits, before[0])
    assert all(np.array_equal(a, b) for a, b in zip(proposals(), before, strict=True))


def test_a_project_with_too_few_objects_says_so(tmp_path: Path, sample_data: Path) -> None:
    from napari_relay.store import Project

    project = make_coins_project(tmp_path, sample_data)
    with Project.open(project, create=False) as opened:
        opened.delete([stored.id for stored in opened.objects()][4:])

    running = start(job_of(project))

    wait_until(lambda: running.status is LearnStatus.FAILED)
    result = running.result()
    assert result is not None
    assert "4 accepted objects" in result.reason
    assert JobFolder.latest(project) is not None

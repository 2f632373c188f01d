"""The files that a job and its followers share: whole or not there, read from where the last look ended."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from napari_relay.errors import RelayError, UsageError
from napari_relay.learn import Follower, JobFolder, LearnJob, LearnStatus, Material, Progress, RunningJob, follow
from napari_relay.learn.progress import append


@pytest.fixture
def job(tmp_path: Path) -> LearnJob:
    project = tmp_path / "slide.tif.relay"
    return LearnJob((Material(project, str(tmp_path / "slide.tif")),), minutes=3, seed=7, recipe={"steps": 5})


def test_a_job_is_read_as_it_was_written(job: LearnJob) -> None:
    folder = JobFolder.make(job)

    assert folder.job() == job
    assert folder.path == job.materials[0].project.with_name("slide.tif.learn") / "job-0001"


def test_each_job_gets_a_folder_of_its_own_and_the_latest_is_found(job: LearnJob) -> None:
    first, second = JobFolder.make(job), JobFolder.make(job)

    assert first.path != second.path
    latest = JobFolder.latest(job.materials[0].project)
    assert latest is not None
    assert latest.path == second.path


@pytest.mark.parametrize("wrong", [{"materials": ()}, {"minutes": 0}, {"minutes": float("nan")}])
def test_a_job_that_cannot_be_done_is_refused(job: LearnJob, wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        LearnJob(**{"materials": job.materials, **wrong})  # type: ignore[arg-type]


def test_a_follower_reads_each_line_once_and_leaves_half_a_line_for_later(tmp_path: Path) -> None:
    path, follower = tmp_path / "progress.jsonl", Follower(tmp_path / "progress.jsonl")
    assert follower.read() == []
    append(path, Progress("encoding", 1, 10, share=0.1, left_s=60.0))
    with path.open("a") as file:
        file.write('{"stage": "learn')

    assert follower.read() == [Progress("encoding", 1, 10, share=0.1, left_s=60.0)]
    assert follower.read() == []
    with path.open("a") as file:
        file.write('ing", "step": 5, "loss": 0.5, "iou": 0.8}\n')
    assert follower.read() == [Progress("learning", step=5, loss=0.5, iou=0.8)]


def test_a_job_without_a_process_is_interrupted_and_one_with_a_result_is_done(job: LearnJob) -> None:
    folder = JobFolder.make(job)
    running = RunningJob(folder)
    assert running.status is LearnStatus.INTERRUPTED

    files = {"better": "a", "all": "a"}
    folder.write("result.json", {"status": "done", "better": True, "reason": "fewer", "checkpoints": files})
    assert running.status is LearnStatus.DONE
    result = running.result()
    assert result is not None
    assert (result.better, result.checkpoint) == (True, folder.path / "a")


def test_the_process_is_known_by_its_start_so_that_a_number_used_again_is_not_taken_for_it(job: LearnJob) -> None:
    folder = JobFolder.make(job)
    me = psutil.Process()
    folder.write("process.json", {"pid": me.pid, "started": me.create_time()})
    assert RunningJob(folder).status is LearnStatus.RUNNING
    folder.wish("pause")
    assert RunningJob(folder).status is LearnStatus.PAUSED

    folder.write("process.json", {"pid": me.pid, "started": me.create_time() - 100})
    assert RunningJob(folder).status is LearnStatus.INTERRUPTED


def test_a_cancelled_job_without_a_process_is_over_at_once(job: LearnJob) -> None:
    running = RunningJob(JobFolder.make(job))

    running.cancel()

    assert running.status is LearnStatus.CANCELLED
    assert list(follow(running, every_s=0.01)) == []


def test_following_a_job_whose_process_died_tells_its_last_words(job: LearnJob) -> None:
    folder = JobFolder.make(job)
    append(folder.progress, Progress("encoding", 1, 2))
    (folder.path / "log.txt").write_text("something\nKilled for a reason\n")
    steps = follow(RunningJob(folder), every_s=0.01)

    assert next(steps) == Progress("encoding", 1, 2)
    with pytest.raises(RelayError, match="Killed for a reason"):
        next(steps)


def test_the_room_loads_no_torch() -> None:
    code = "import sys, napari_relay.learn; print(any(n in sys.modules for n in ('torch', 'timm', 'qtpy')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_json_file_is_never_seen_half_written(job: LearnJob) -> None:
    folder = JobFolder.make(job)
    folder.write("runs.json", {"before": {"a": 1}})
    (folder.path / "runs.json.partial").write_text('{"before": {"a"')  # killed while it wrote the next one

    assert folder.read("runs.json") == {"before": {"a": 1}}
    assert json.loads((folder.path / "job.json").read_text())["seed"] == 7

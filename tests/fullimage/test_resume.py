"""A job goes on where it was, and ends as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from slides import draw, seam_discs

from napari_relay.errors import UsageError
from napari_relay.fullimage.job import job_folder
from napari_relay.fullimage.request import Request
from napari_relay.store import Project
from napari_relay.workspace import Workspace, open_workspace

SHAPE = (780, 860)
CHILD = Path(__file__).parent / "propose_child.py"


@pytest.fixture
def place(tmp_path: Path) -> Callable[[str], Path]:
    """Puts the slide into a folder of its own."""
    pixels = draw(SHAPE, seam_discs(SHAPE))

    def put(name: str) -> Path:
        (tmp_path / name).mkdir()
        path = tmp_path / name / "slide.png"
        Image.fromarray(pixels).save(path, compress_level=1)
        return path

    return put


def opened(image: Path) -> Workspace:
    return open_workspace(image, service="whole_services:make")


def run(workspace: Workspace, request: Request, stop_after: int | None = None) -> Any:
    """Drive a job to its end, or close it after some tasks."""
    steps = workspace.propose(request)
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return end.value
        if stop_after is not None and step.done >= stop_after:
            steps.close()
            return None


def content(image: Path) -> list[tuple[Any, ...]]:
    """All that the project knows of its objects, but for the time."""
    with Project.open(image.with_name("slide.png.relay"), create=False, read_only=True) as project:
        return [
            (o.id, o.class_name, o.box, o.area, o.state, o.score, o.checkpoint, o.mask.tobytes())
            for o in project.objects()
        ]


def killed_and_resumed(image: Path, mode: str, after: int) -> None:
    """Kill the child after so many tasks, then let it end."""
    child = subprocess.Popen([sys.executable, str(CHILD), str(image), mode], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        if line == f"step {after}\n":
            os.kill(child.pid, signal.SIGKILL)
            break
    child.wait()
    child.stdout.close()
    assert child.returncode == -signal.SIGKILL
    assert job_folder(image.with_name("slide.png.relay")).exists()
    done = subprocess.run([sys.executable, str(CHILD), str(image), mode], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == f"step {after}", "what was done is not done again"
    assert done.stdout.splitlines()[-1] == "end"


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 4])
def test_a_killed_job_ends_with_the_same_objects(place: Callable[[str], Path], after: int) -> None:
    whole, killed = place("whole"), place("killed")
    with opened(whole) as workspace:
        done = run(workspace, Request(step=0))

    killed_and_resumed(killed, "instances", after)

    assert len(done.ids) == len(seam_discs(SHAPE))
    assert content(killed) == content(whole)
    assert not job_folder(killed.with_name("slide.png.relay")).exists()


@pytest.mark.slow
def test_a_killed_search_ends_with_the_same_objects(place: Callable[[str], Path]) -> None:
    disc = seam_discs(SHAPE)[5]
    images = place("whole"), place("killed")
    for image in images:
        with opened(image) as workspace:
            mask = disc.mask(SHAPE)
            box = _around(mask)
            workspace.project.accept(box, mask[box.slices], class_name="disc")
    with opened(images[0]) as workspace:
        run(workspace, Request(mode="similar", like=(1,), step=0))

    killed_and_resumed(images[1], "similar", 3)

    assert len(content(images[0])) > 20
    assert content(images[1]) == content(images[0])


def test_an_unfinished_job_is_not_thrown_away_unasked(place: Callable[[str], Path]) -> None:
    with opened(place("a")) as workspace:
        run(workspace, Request(step=0), stop_after=1)
        assert workspace.project.count() == 0

        with pytest.raises(UsageError, match="--resume"):
            run(workspace, Request(step=0))
        with pytest.raises(UsageError, match="another clicks"):
            run(workspace, Request(step=0, clicks=7, resume=True))
        done = run(workspace, Request(step=0, clicks=7, anew=True))

        assert len(done.ids) > 10
        assert not job_folder(workspace.project.path).exists()


def test_a_crash_after_the_project_was_written_doubles_nothing(
    place: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import napari_relay.workspace.proposing as proposing

    with opened(place("a")) as workspace:
        with monkeypatch.context() as crash:
            crash.setattr(proposing, "remove_job", lambda job: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                run(workspace, Request(step=0))
        count = workspace.project.count()

        done = run(workspace, Request(step=0, resume=True))

        assert count > 10
        assert (done.ids, workspace.project.count()) == ((), count)
        assert not job_folder(workspace.project.path).exists()


def test_proposals_are_one_step_of_the_history(place: Callable[[str], Path]) -> None:
    with opened(place("a")) as workspace:
        done = run(workspace, Request(step=0, class_name="cell"))

        (action,) = workspace.project.history()
        assert (action.kind, action.actor, action.n_objects, action.checkpoint) == (
            "propose", "model", len(done.ids), "bright",
        )  # fmt: skip
        assert len(workspace.project.proposals()) == len(done.ids)
        assert not np.any(workspace.pyramid.arrays[0][...])
        workspace.project.undo()
        assert workspace.project.count() == 0


def test_a_search_without_an_example_leaves_no_job_behind(place: Callable[[str], Path]) -> None:
    with opened(place("a")) as workspace:
        with pytest.raises(UsageError, match="name one"):
            run(workspace, Request(mode="similar"))
        with pytest.raises(UsageError, match="no object 7"):
            run(workspace, Request(mode="similar", like=(7,)))

        assert not job_folder(workspace.project.path).exists()


def _around(mask: np.ndarray) -> Any:
    from napari_relay.geometry import Box
    from napari_relay.store.tiles import tight_box

    return tight_box(Box(0, 0, *mask.shape), mask)

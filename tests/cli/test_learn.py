"""`napari-relay learn`: what it prints, what it promotes, how it ends. A process that keeps the protocol trains."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from napari_relay.geometry import Box, Click
from napari_relay.learn import JobFolder, Shelf, running
from napari_relay.model.checkpoint import read_card
from napari_relay.sources import open_image
from napari_relay.store import Project

STANDS_IN = """\
import json, pathlib, sys
folder, *sys.path[:] = sys.argv[1:]
del sys.argv[1:]
from napari_relay.learn.job import JobFolder
from napari_relay.learn.progress import Progress, append
job = JobFolder(pathlib.Path(folder))
append(job.progress, Progress("encoding", 1, 2, share=0.2, left_s=100.0))
append(job.progress, Progress("learning", 1, 2, share=0.5, left_s=50.0, note="Memory is short: 4 at a time."))
job.write("result.json", json.loads((job.path.parent / "outcome.json").read_text()))
"""

Call = Callable[..., Any]


@pytest.fixture
def project(tmp_path: Path, sample_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(running, "BOOT", STANDS_IN)
    image = tmp_path / "coins.png"
    shutil.copy(sample_data / "coins.png", image)
    path = tmp_path / "coins.png.relay"
    with (
        open_image(image) as source,
        Project.open(path, fingerprint=source.fingerprint, shape=source.shape, image_name="coins.png") as opened,
    ):
        opened.accept(Box(0, 0, 9, 9), np.ones((9, 9), bool), clicks=[Click(4, 4)])
    return path


def outcome(project: Path, *, better: bool) -> None:
    home = project.with_name("coins.png.learn")
    home.mkdir(exist_ok=True)
    card = {**read_card("small").to_json(), "name": "learned", "shards": [], "base": {"name": "small", "hash": "x"}}
    save_file(
        {"head.pixels.out.bias": np.ones(1, np.float16)}, home / "all.safetensors",
        metadata={"card": json.dumps(card)},
    )  # fmt: skip
    number = {"before": 4.0, "after": 2.5, "low": -2.0, "high": -0.5}
    values = {
        "status": "done", "better": better, "reason": "4.00 -> 2.50 clicks to 85 % on 30 objects: surely fewer.",
        "checkpoints": {"better": "../all.safetensors" if better else None, "all": "../all.safetensors"},
        "objects": 50, "measured": "folds", "seconds": 12.5, "gallery": [],
        "heads": {"click": {"objects": 30, "noc85": number, "noc90": number, "miou1": number}},
    }  # fmt: skip
    (home / "outcome.json").write_text(json.dumps(values))


def current(project: Path) -> Path | None:
    with Project.open(project, create=False, read_only=True) as opened:
        return Shelf(opened).current()


def test_what_is_better_is_told_and_promoted(run: Call, project: Path) -> None:
    outcome(project, better=True)

    done = run("learn", str(project))

    assert done.code == 0
    assert "clicks to 85 %" in done.out
    assert "4.00" in done.out
    assert "In use from now on" in done.out
    assert "Memory is short" in done.err
    assert current(project) is not None


def test_the_image_stands_for_its_project_and_json_is_json(run: Call, project: Path) -> None:
    outcome(project, better=True)

    done = run("learn", str(project.with_name("coins.png")), "--json")

    told = json.loads(done.out)
    assert told["better"] is True
    assert told["heads"]["click"]["noc85"]["after"] == 2.5
    assert told["promoted"] == [str(current(project))]


def test_what_is_not_better_is_not_promoted_unless_forced(run: Call, project: Path) -> None:
    outcome(project, better=False)

    done = run("learn", str(project))
    assert done.code == 3
    assert "Nothing was promoted" in done.out
    assert current(project) is None

    assert run("learn", str(project), "--promote").code == 3
    assert run("learn", str(project), "--promote", "--force").code == 0
    assert current(project) is not None


def test_better_classes_are_used_though_the_clicks_got_no_better(run: Call, project: Path) -> None:
    outcome(project, better=False)
    home = project.with_name("coins.png.learn")
    values = json.loads((home / "outcome.json").read_text())
    one = {"project": str(project), "better": True, "file": "../class-0.safetensors"}
    gain = {"before": 0.5, "after": 0.975, "low": 0.2, "high": 0.6}
    values["heads"]["class"] = {"better": True, "projects": [one], "accuracy": gain, "objects": 9}
    (home / "outcome.json").write_text(json.dumps(values))
    (home / "class-0.safetensors").write_bytes(b"a class head")
    place = project.with_name("coins.png.relay.classes.safetensors")

    assert run("learn", str(project), "--no-promote").code == 0
    assert not place.exists()
    done = run("learn", str(project))

    assert done.code == 0
    assert "classes right" in done.out
    assert "0.975" in done.out
    assert place.read_bytes() == b"a class head"
    assert current(project) is None
    assert "class head too: True" in run("learn", str(project), "--rollback").out
    assert not place.exists()


def test_roll_back_goes_to_the_checkpoint_before(run: Call, project: Path) -> None:
    outcome(project, better=True)
    run("learn", str(project))

    done = run("learn", str(project), "--rollback")

    assert done.code == 0
    assert "the checkpoint of the program" in done.out
    assert current(project) is None
    again = run("learn", str(project), "--rollback")
    assert again.code == 2
    assert "No learned checkpoint is in use" in again.err


def test_no_promote_only_tells(run: Call, project: Path) -> None:
    outcome(project, better=True)
    assert run("learn", str(project), "--no-promote").code == 0
    assert current(project) is None


def test_the_job_says_what_was_asked_for(run: Call, project: Path) -> None:
    outcome(project, better=True)
    run("learn", str(project), "--minutes", "7", "--seed", "3", "--threads", "1")

    folder = JobFolder.latest(project)
    assert folder is not None
    job = folder.job()
    assert (job.minutes, job.seed, job.threads, job.heads) == (7, 3, 1, ("click",))
    assert job.materials[0].image == str(project.with_name("coins.png"))
    # The next one has to beat what is in use by then.
    run("learn", str(project), "--no-promote")
    again = JobFolder.latest(project)
    assert again is not None
    assert again.job().current == str(current(project))


def test_status_of_an_interrupted_job_and_cancel(run: Call, project: Path) -> None:
    outcome(project, better=True)
    run("learn", str(project), "--no-promote")
    folder = JobFolder.latest(project)
    assert folder is not None
    (folder.path / "result.json").unlink()

    told = json.loads(run("learn", str(project), "--status", "--json").out)
    assert told["status"] == "interrupted"
    assert told["progress"]["stage"] == "learning"
    assert json.loads(run("learn", str(project), "--cancel", "--json").out)["status"] == "cancelled"


def test_resume_goes_on_with_the_last_job(run: Call, project: Path) -> None:
    outcome(project, better=True)
    run("learn", str(project), "--no-promote")
    folder = JobFolder.latest(project)
    assert folder is not None
    (folder.path / "result.json").unlink()

    assert run("learn", str(project), "--resume").code == 0
    latest = JobFolder.latest(project)
    assert latest is not None
    assert latest.path == folder.path
    assert current(project) is not None


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["nothing.relay"], "no project"),
        (["{project}", "--image", "a.png", "--image", "b.png"], "1 projects and 2 images"),
        (["{project}", "--resume", "--status"], "Only one of"),
        (["{project}", "--status"], "no learning job"),
    ],
)
def test_wrong_calls_are_named(run: Call, project: Path, words: list[str], complaint: str) -> None:
    done = run("learn", *(word.format(project=project) for word in words))
    assert done.code == 2
    assert complaint in done.err


def test_a_missing_image_is_asked_for(run: Call, project: Path) -> None:
    project.with_name("coins.png").unlink()
    done = run("learn", str(project))
    assert done.code == 2
    assert "--image" in done.err


def test_help_has_examples_and_loads_no_torch(run: Call) -> None:
    done = run("learn", "--help")
    assert done.code == 0
    assert "--rollback" in done.out
    assert "napari-relay learn slide.svs.relay" in done.out

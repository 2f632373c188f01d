"""SIGKILL at random points of random actions: what was acknowledged is there, and the pyramid catches up.

After a kill the project must be in the state of the last acknowledged action, or, where one was under way, in the
state after that one: never between, never before. (A kill cannot show `synchronous=FULL`, which is about a power
cut: `test_project.py` asserts the pragma.)
"""

from __future__ import annotations

import copy
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_relay.geometry import Box
from napari_relay.store import Project, PyramidWriter, open_pyramid
from napari_relay.store.majority import Blocks

CHILD = Path(__file__).with_name("crash_child.py")
SHAPE = (1100, 1300)
LEVELS = [SHAPE, (550, 650), (137, 163)]

State = dict[int, tuple[str, tuple[int, ...], int]]


class Model:
    """The project as the acknowledged lines tell it."""

    def __init__(self) -> None:
        self.objects: State = {}
        self.done: list[State] = []
        self.undone: list[State] = []
        self.next_id = 1

    def apply(self, kind: str, fact: dict[str, Any]) -> None:
        if kind in ("undo", "redo"):
            source, target = (self.done, self.undone) if kind == "undo" else (self.undone, self.done)
            if source:
                target.append(self.objects)
                self.objects = source.pop()
            return
        self.done.append(dict(self.objects))
        self.undone.clear()
        if kind == "accept":
            self.objects[self.next_id] = (fact["name"], tuple(fact["box"]), fact["area"])
            self.next_id += 1
        elif kind == "revise":
            name = self.objects[fact["id"]][0]
            self.objects[fact["id"]] = (name, tuple(fact["box"]), fact["area"])
        elif kind == "delete":
            for object_id in fact["ids"]:
                del self.objects[object_id]
        else:
            self.objects[fact["id"]] = (fact["name"], *self.objects[fact["id"]][1:])


def run_until_killed(folder: Path, seed: int, seconds: float, *, pyramid: bool) -> list[dict[str, Any]]:
    """Start the child, let it work for some seconds, kill it; the lines that it finished."""
    child = subprocess.Popen(
        [sys.executable, str(CHILD), str(folder), str(seed), "pyramid" if pyramid else "alone"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
    )  # fmt: skip
    assert child.stdout is not None
    first = child.stdout.readline()  # imports are over, the project is open
    time.sleep(seconds)
    os.kill(child.pid, signal.SIGKILL)
    rest, errors = child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL, errors.decode()
    lines = (first + rest).decode().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def follow(model: Model, facts: list[dict[str, Any]]) -> list[Model]:
    """Bring the model up to the last acknowledged line; the models that are allowed after the kill."""
    pending = None
    for fact in facts:
        if "trying" in fact:
            pending = fact
        elif "did" in fact:
            assert pending is not None
            assert fact["did"] != "accept" or fact["id"] == model.next_id
            model.apply(fact["did"], fact)
            pending = None
    if pending is None:
        return [model]
    after = copy.deepcopy(model)
    after.apply(pending["trying"], pending)
    return [model, after]


def state(project: Project) -> State:
    return {
        o.id: (o.class_name, (o.box.y0, o.box.x0, o.box.y1, o.box.x1), int(o.mask.sum())) for o in project.objects()
    }


def check(folder: Path, allowed: list[Model]) -> Model:
    """Reopen as the user would; returns the model that holds, from which the next run goes on."""
    with Project.open(folder / "a.relay", fingerprint="a", shape=SHAPE) as project:
        actions = [action.state for action in project.history(None)]
        found = (state(project), actions.count("done"), actions.count("undone"))
        models = [(model.objects, len(model.done), len(model.undone)) for model in allowed]
        assert found in models
        assert project.quick_check() == []
    return allowed[models.index(found)]


def killed_again_and_again(folder: Path, rng: random.Random, kills: int, *, pyramid: bool) -> None:
    model = Model()
    for _ in range(kills):
        seconds = rng.choice([0.0, rng.uniform(0, 0.05), rng.uniform(0, 0.6)])
        facts = run_until_killed(folder, rng.randrange(2**32), seconds, pyramid=pyramid)
        assert facts[0] == {"start": sorted(model.objects)}
        model = check(folder, follow(model, facts))
    if pyramid:
        pyramid_catches_up(folder)


def pyramid_catches_up(folder: Path) -> None:
    with Project.open(folder / "a.relay", fingerprint="a", shape=SHAPE) as project:
        pyramid = open_pyramid(folder / "a.labels.ome.zarr", project, LEVELS)
        with PyramidWriter(project, pyramid) as writer:
            assert writer.flush(60)
            full = project.labels(Box(0, 0, *SHAPE))
            for array, shape in zip(pyramid.arrays, LEVELS, strict=True):
                expected = Blocks(SHAPE, shape).reduce(full, Box(0, 0, *shape))
                np.testing.assert_array_equal(array[...], expected)
    assert not list(folder.rglob("*.partial"))


pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")


def test_every_acknowledged_action_survives_a_kill(tmp_path):
    killed_again_and_again(tmp_path, random.Random(1), 6, pyramid=False)


def test_the_pyramid_is_consistent_after_kills(tmp_path):
    killed_again_and_again(tmp_path, random.Random(2), 4, pyramid=True)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_every_acknowledged_action_survives_many_kills(tmp_path, seed):
    killed_again_and_again(tmp_path, random.Random(100 + seed), 15, pyramid=False)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_the_pyramid_is_consistent_after_many_kills(tmp_path, seed):
    killed_again_and_again(tmp_path, random.Random(200 + seed), 8, pyramid=True)

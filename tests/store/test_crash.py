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
from collections.abc import Iterator
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

State = dict[int, dict[str, Any]]
"""What the project holds of each object: class, box, area, state, note."""


class Model:
    """The project as the acknowledged lines tell it."""

    def __init__(self) -> None:
        self.objects: State = {}
        self.done: list[State] = []
        self.undone: list[State] = []
        self.next_id = 1

    def apply(self, kind: str, fact: dict[str, Any]) -> None:
        if kind in ("undo", "redo"):
            self.walk(len(self.done) + (1 if kind == "redo" else -1))
        elif kind == "jump":
            self.walk(fact["at"])
        else:
            self.done.append(self.objects)
            self.undone.clear()
            self.objects = copy.deepcopy(self.objects)
            self.change(kind, fact)

    def walk(self, at: int) -> None:
        """To the state after that many actions, as far as there are any."""
        while self.done and len(self.done) > at:
            self.undone.append(self.objects)
            self.objects = self.done.pop()
        while self.undone and len(self.done) < at:
            self.done.append(self.objects)
            self.objects = self.undone.pop()

    def change(self, kind: str, fact: dict[str, Any]) -> None:
        if kind in ("accept", "import"):
            for box, area in fact["objects"]:
                self.objects[self.next_id] = {
                    "class": fact["name"], "box": box, "area": area, "state": "accepted", "note": "",
                }  # fmt: skip
                self.next_id += 1
        elif kind in ("revise", "replace", "merge", "erase"):
            if "id" in fact:
                self.reshape(fact["id"], fact["object"])
                if self.objects[fact["id"]]["state"] in ("proposed", "rejected"):
                    self.objects[fact["id"]]["state"] = "accepted"  # whoever corrects a proposal takes it
            for loser, left in fact["losers"].items():
                self.reshape(int(loser), left)
        else:
            for object_id in fact["ids"]:
                if kind == "delete":
                    del self.objects[object_id]
                else:
                    self.objects[object_id][kind] = fact["word"]

    def reshape(self, object_id: int, place: Any) -> None:
        if place is None:
            del self.objects[object_id]
        else:
            self.objects[object_id] |= {"box": place[0], "area": place[1]}


class Victims:
    """Starts processes that work on a project, and kills them."""

    def __init__(self) -> None:
        self._nursery = subprocess.Popen(
            [sys.executable, str(CHILD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def run_until_killed(self, folder: Path, seed: int, seconds: float, *, pyramid: bool) -> list[dict[str, Any]]:
        """Let one work for some seconds, kill it; the lines that it finished."""
        assert self._nursery.stdin is not None
        self._nursery.stdin.write(json.dumps([str(folder), seed, pyramid]) + "\n")
        facts = [self._read()]
        while not {"forked", "start"} <= {key for fact in facts for key in fact}:  # the project is open
            facts.append(self._read())
            assert "ended" not in facts[-1], facts
        pid = next(fact["forked"] for fact in facts if "forked" in fact)
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
        while "ended" not in facts[-1]:
            facts.append(self._read())
        assert facts.pop() == {"ended": -signal.SIGKILL}
        return [fact for fact in facts if "forked" not in fact]

    def _read(self) -> dict[str, Any]:
        assert self._nursery.stdout is not None
        fact: dict[str, Any] = json.loads(self._nursery.stdout.readline())
        return fact

    def close(self) -> None:
        assert self._nursery.stdin is not None
        self._nursery.stdin.close()
        assert self._nursery.wait(30) == 0
        assert self._nursery.stdout is not None
        self._nursery.stdout.close()


@pytest.fixture(scope="module")
def victims() -> Iterator[Victims]:
    made = Victims()
    yield made
    made.close()


def follow(model: Model, facts: list[dict[str, Any]]) -> list[Model]:
    """Bring the model up to the last acknowledged line; the models that are allowed after the kill."""
    pending = None
    for fact in facts:
        if "trying" in fact:
            pending = fact
        elif "did" in fact:
            assert pending is not None
            assert "ids" not in fact or "objects" not in fact or fact["ids"][0] == model.next_id
            model.apply(fact["did"], fact)
            pending = None
    if pending is None:
        return [model]
    after = copy.deepcopy(model)
    after.apply(pending["trying"], pending)
    return [model, after]


def state(project: Project) -> State:
    return {
        o.id: {
            "class": o.class_name, "box": [o.box.y0, o.box.x0, o.box.y1, o.box.x1], "area": int(o.mask.sum()),
            "state": o.state, "note": o.note,
        }
        for o in project.objects()
    }  # fmt: skip


def check(folder: Path, allowed: list[Model]) -> Model:
    """Reopen as the user would; returns the model that holds, from which the next run goes on."""
    with Project.open(folder / "a.relay", fingerprint="a", shape=SHAPE) as project:
        actions = [action.state for action in project.history(None)]
        found = (state(project), actions.count("done"), actions.count("undone"))
        models = [(model.objects, len(model.done), len(model.undone)) for model in allowed]
        assert found in models
        assert project.quick_check() == []
    return allowed[models.index(found)]


def killed_again_and_again(victims: Victims, folder: Path, rng: random.Random, kills: int, *, pyramid: bool) -> None:
    model = Model()
    for _ in range(kills):
        seconds = rng.choice([0.0, rng.uniform(0, 0.05), rng.uniform(0, 0.6)])
        facts = victims.run_until_killed(folder, rng.randrange(2**32), seconds, pyramid=pyramid)
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


@pytest.mark.parametrize("seed", range(5))
def test_every_acknowledged_action_survives_a_kill(victims, tmp_path, seed):
    killed_again_and_again(victims, tmp_path, random.Random(seed), 8, pyramid=False)


@pytest.mark.parametrize("seed", range(2))
def test_the_pyramid_is_consistent_after_kills(victims, tmp_path, seed):
    killed_again_and_again(victims, tmp_path, random.Random(50 + seed), 5, pyramid=True)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_every_acknowledged_action_survives_many_kills(victims, tmp_path, seed):
    killed_again_and_again(victims, tmp_path, random.Random(100 + seed), 20, pyramid=False)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_the_pyramid_is_consistent_after_many_kills(victims, tmp_path, seed):
    killed_again_and_again(victims, tmp_path, random.Random(200 + seed), 10, pyramid=True)

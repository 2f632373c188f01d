"""Random sequences of everything a user can do, against a plain dictionary taken as truth."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from napari_relay.geometry import Box, Click, Plane
from napari_relay.store import Project

SHAPE = (600, 1100)
NAMES = st.sampled_from(["object", "cell", "dust"])


class Truth:
    """What the project should hold; every state it went through is kept for undo."""

    def __init__(self) -> None:
        self.objects: dict[int, tuple[str, Box, np.ndarray, Plane, int]] = {}  # the last is the order of lying
        self.classes = ["object"]
        self.done: list[tuple] = []
        self.undone: list[tuple] = []
        self.order = 0

    def act(self) -> None:
        self.done.append((copy.copy(self.objects), list(self.classes)))
        self.undone.clear()
        self.order += 1

    def back(self, source: list[tuple], target: list[tuple]) -> None:
        target.append((self.objects, self.classes))
        self.objects, self.classes = source.pop()

    def use_class(self, name: str) -> None:
        if name not in self.classes:
            self.classes = [*self.classes, name]

    def labels(self, plane: Plane) -> np.ndarray:
        labels = np.zeros(SHAPE, np.uint32)
        for object_id, (_, box, mask, where, _order) in sorted(self.objects.items(), key=lambda i: (i[1][4], i[0])):
            if where == plane:
                labels[box.slices][mask] = object_id
        return labels


class ProjectMachine(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.truth = Truth()
        self.open()

    def open(self) -> None:
        path = Path(self.folder.name) / "a.relay"
        self.project = Project.open(path, fingerprint="a", shape=SHAPE, sizes=(1, 2))

    @rule(seed=st.integers(0, 2**32 - 1), name=NAMES, z=st.integers(0, 1))
    def accept(self, seed: int, name: str, z: int) -> None:
        box, mask = random_mask(seed)
        self.truth.act()
        self.truth.use_class(name)
        stored = self.project.accept(box, mask, class_name=name, plane=Plane(0, z), clicks=[Click(1, 2)])
        self.truth.objects[stored.id] = (name, box, mask, Plane(0, z), self.truth.order)

    @precondition(lambda self: self.truth.objects)
    @rule(seed=st.integers(0, 2**32 - 1), data=st.data())
    def revise(self, seed: int, data: st.DataObject) -> None:
        box, mask = random_mask(seed)
        object_id = data.draw(st.sampled_from(sorted(self.truth.objects)))
        self.truth.act()
        name, _, _, plane, _ = self.truth.objects[object_id]
        self.truth.objects[object_id] = (name, box, mask, plane, self.truth.order)
        self.project.revise(object_id, box, mask)

    @precondition(lambda self: self.truth.objects)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        ids = data.draw(st.sets(st.sampled_from(sorted(self.truth.objects)), min_size=1))
        self.truth.act()
        for object_id in ids:
            del self.truth.objects[object_id]
        self.project.delete(ids)

    @precondition(lambda self: self.truth.objects)
    @rule(data=st.data(), name=NAMES)
    def set_class(self, data: st.DataObject, name: str) -> None:
        ids = data.draw(st.sets(st.sampled_from(sorted(self.truth.objects)), min_size=1))
        self.truth.act()
        self.truth.use_class(name)
        for object_id in ids:
            self.truth.objects[object_id] = (name, *self.truth.objects[object_id][1:])
        self.project.set_class(ids, name)

    @rule(name=NAMES)
    def ensure_class(self, name: str) -> None:
        if name not in self.truth.classes:
            self.truth.act()
            self.truth.use_class(name)
        assert self.project.ensure_class(name).name == name

    @rule()
    def undo(self) -> None:
        action = self.project.undo()
        assert (action is not None) == bool(self.truth.done)
        if self.truth.done:
            self.truth.back(self.truth.done, self.truth.undone)

    @rule()
    def redo(self) -> None:
        action = self.project.redo()
        assert (action is not None) == bool(self.truth.undone)
        if self.truth.undone:
            self.truth.back(self.truth.undone, self.truth.done)

    @rule()
    def reopen(self) -> None:
        self.project.close()
        self.open()

    @invariant()
    def same_objects(self) -> None:
        found = {o.id: (o.class_name, o.box, o.plane, o.area) for o in self.project.objects()}
        assert found == {i: (o[0], o[1], o[3], int(o[2].sum())) for i, o in self.truth.objects.items()}
        assert {c.name for c in self.project.classes()} == set(self.truth.classes)
        assert self.project.count() == len(found)
        assert (self.project.can_undo, self.project.can_redo) == (bool(self.truth.done), bool(self.truth.undone))
        whole = Box(0, 0, *SHAPE)
        assert [o.id for o in self.project.objects(whole)] == sorted(found)

    @invariant()
    def same_pixels(self) -> None:
        for z in range(2):
            np.testing.assert_array_equal(
                self.project.labels(Box(0, 0, *SHAPE), Plane(0, z)), self.truth.labels(Plane(0, z))
            )

    @invariant()
    def everything_that_changed_is_on_the_journal(self) -> None:
        journal = {tile[1:] for tile in self.project.journal.positions()}
        for z in range(2):
            for row, column in self.project.occupied_tiles(Box(0, 0, *SHAPE), Plane(0, z)):
                assert (z, row, column) in journal

    def teardown(self) -> None:
        if hasattr(self, "project"):
            assert finished(self.project.repair()) == []
            self.project.close()
            self.folder.cleanup()


def finished(steps):
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def random_mask(seed: int) -> tuple[Box, np.ndarray]:
    """A tight box and its mask; now and then whole tiles, the border, or one pixel."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(4)
    if kind == 0:
        return Box(0, 512, 512, 1024), np.ones((512, 512), bool)
    height, width = (1, 1) if kind == 1 else (int(rng.integers(1, 300)), int(rng.integers(1, 700)))
    y, x = int(rng.integers(0, SHAPE[0] - height + 1)), int(rng.integers(0, SHAPE[1] - width + 1))
    mask = rng.random((height, width)) < 0.7
    mask[0, 0] = mask[-1, -1] = True
    return Box(y, x, y + height, x + width), mask


TestProject = ProjectMachine.TestCase
TestProject.settings = settings(max_examples=5, stateful_step_count=20, deadline=None)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_long_random_sequences():
    run_state_machine_as_test(ProjectMachine, settings=settings(max_examples=60, stateful_step_count=50, deadline=None))

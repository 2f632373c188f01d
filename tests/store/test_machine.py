"""Random sequences of everything a user can do, against a plain dictionary taken as truth."""

from __future__ import annotations

import copy
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

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

from napari_relay.errors import EmptyProposalError, UsageError
from napari_relay.geometry import Box, Click, Plane
from napari_relay.store import Actor, NewObject, ObjectState, Overlap, Project

SHAPE = (600, 1100)
NAMES = st.sampled_from(["object", "cell", "dust"])
SEEDS = st.integers(0, 2**32 - 1)
RULES = st.sampled_from(list(Overlap))
ACTORS = st.sampled_from(list(Actor))
STATES = st.sampled_from(list(ObjectState))
HIDDEN = ("proposed", "rejected")


class Held(NamedTuple):
    """An object as the truth has it; of two overlapping ones that of the higher `order` lies on top."""

    name: str
    box: Box
    mask: np.ndarray
    plane: Plane
    order: int
    state: str = "accepted"
    note: str = ""

    def pixels(self) -> np.ndarray:
        full = np.zeros(SHAPE, bool)
        full[self.box.slices] = self.mask
        return full

    def cut_to(self, full: np.ndarray) -> Held | None:
        """The same with other pixels; None where there is none."""
        if not full.any():
            return None
        rows, columns = np.flatnonzero(full.any(axis=1)), np.flatnonzero(full.any(axis=0))
        box = Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
        return self._replace(box=box, mask=full[box.slices])


class Truth:
    """What the project should hold; every state it went through is kept for undo."""

    def __init__(self) -> None:
        self.objects: dict[int, Held] = {}
        self.classes = ["object"]
        self.done: list[tuple] = []
        self.undone: list[tuple] = []
        self.forgotten: list[tuple] = []
        self.order = 0

    def act(self) -> None:
        self.done.append((copy.copy(self.objects), list(self.classes)))
        self.forgotten, self.undone = self.undone, []
        self.order += 1

    def refuse(self) -> None:
        """The action that was begun last was refused: everything is as before, what can be redone too."""
        self.objects, self.classes = self.done.pop()
        self.undone = self.forgotten

    def back(self, source: list[tuple], target: list[tuple]) -> None:
        target.append((self.objects, self.classes))
        self.objects, self.classes = source.pop()

    def use_class(self, name: str) -> None:
        if name not in self.classes:
            self.classes = [*self.classes, name]

    def settle(self, new: Held, rule: Overlap, actor: Actor, own_id: int = 0) -> tuple[Held | None, dict]:
        """The new object as the rule leaves it, and the others that it changes (None: swallowed)."""
        if rule is Overlap.ALLOW or new.state in HIDDEN:
            return new, {}
        pixels, losers = new.pixels(), {}
        protected = ("locked",) if actor is Actor.USER else ("locked", "reviewed")
        shown = {
            i: o for i, o in self.objects.items() if i != own_id and o.plane == new.plane and o.state not in HIDDEN
        }
        for other in shown.values():
            if rule is Overlap.KEEP or other.state in protected:
                pixels &= ~other.pixels()
        for object_id, other in shown.items():
            if (other.pixels() & pixels).any():
                losers[object_id] = other.cut_to(other.pixels() & ~pixels)
        return new.cut_to(pixels), losers

    def put(self, object_id: int, new: Held, losers: dict) -> None:
        self.objects[object_id] = new
        for loser, left in losers.items():
            if left is None:
                del self.objects[loser]
            else:
                self.objects[loser] = left

    def labels(self, plane: Plane) -> np.ndarray:
        labels = np.zeros(SHAPE, np.uint32)
        for object_id, held in sorted(self.objects.items(), key=lambda i: (i[1].order, i[0])):
            if held.plane == plane and held.state not in HIDDEN:
                labels[held.box.slices][held.mask] = object_id
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

    def some_ids(self, data: st.DataObject) -> set[int]:
        return data.draw(st.sets(st.sampled_from(sorted(self.truth.objects)), min_size=1))

    def refused(self, ids: set[int], actor: Actor) -> bool:
        states = {self.truth.objects[i].state for i in ids}
        return bool(states & ({"locked"} if actor is Actor.USER else {"locked", "reviewed"}))

    @rule(seed=SEEDS, name=NAMES, z=st.integers(0, 1), overlap=RULES, actor=ACTORS, state=STATES)
    def accept(self, seed: int, name: str, z: int, overlap: Overlap, actor: Actor, state: ObjectState) -> None:
        box, mask = random_mask(seed)
        new, losers = self.truth.settle(Held(name, box, mask, Plane(0, z), 0, state.value), overlap, actor)
        settings = {"class_name": name, "plane": Plane(0, z), "clicks": [Click(1, 2)], "overlap": overlap}
        if new is None:
            with pytest.raises(EmptyProposalError):
                self.project.accept(box, mask, state=state, actor=actor, **settings)
            return
        self.truth.act()
        self.truth.use_class(name)
        stored = self.project.accept(box, mask, state=state, actor=actor, **settings)
        self.truth.put(stored.id, new._replace(order=self.truth.order), losers)

    @rule(seeds=st.lists(SEEDS, min_size=1, max_size=4), name=NAMES, overlap=RULES)
    def import_objects(self, seeds: list[int], name: str, overlap: Overlap) -> None:
        masks = [random_mask(seed) for seed in seeds]
        self.truth.act()
        self.truth.use_class(name)
        next_id, made = 10**6, {}  # the ids are known afterwards
        for place, (box, mask) in enumerate(masks):
            new, losers = self.truth.settle(Held(name, box, mask, Plane(), self.truth.order), overlap, Actor.USER)
            if new is not None:
                self.truth.put(next_id + place, new, losers)
        made = {place: self.truth.objects.pop(next_id + place, None) for place in range(len(masks))}
        given = [NewObject(box, mask, class_name=name) for box, mask in masks]
        left_out = tuple(place for place, held in made.items() if held is None)
        if len(left_out) == len(masks):
            with pytest.raises(UsageError, match="no object"):
                self.project.import_objects(given, overlap=overlap)
            self.truth.refuse()
            return
        imported = self.project.import_objects(given, overlap=overlap)
        assert imported.left_out == left_out
        kept = [held for held in made.values() if held is not None]
        self.truth.objects |= dict(zip(imported.ids, kept, strict=True))

    @precondition(lambda self: self.truth.objects)
    @rule(seed=SEEDS, data=st.data(), overlap=RULES, actor=ACTORS)
    def revise(self, seed: int, data: st.DataObject, overlap: Overlap, actor: Actor) -> None:
        box, mask = random_mask(seed)
        object_id = data.draw(st.sampled_from(sorted(self.truth.objects)))
        old = self.truth.objects[object_id]
        state = "accepted" if old.state in HIDDEN and actor is Actor.USER else old.state
        new, losers = self.truth.settle(old._replace(box=box, mask=mask, state=state), overlap, actor, object_id)
        if new is None or self.refused({object_id}, actor):
            with pytest.raises((EmptyProposalError, UsageError)):
                self.project.revise(object_id, box, mask, overlap=overlap, actor=actor)
            return
        self.truth.act()
        self.truth.put(object_id, new._replace(order=self.truth.order), losers)
        self.project.revise(object_id, box, mask, overlap=overlap, actor=actor)

    @precondition(lambda self: self.truth.objects)
    @rule(data=st.data(), actor=ACTORS)
    def delete(self, data: st.DataObject, actor: Actor) -> None:
        ids = self.some_ids(data)
        if self.refused(ids, actor):
            with pytest.raises(UsageError):
                self.project.delete(ids, actor=actor)
            return
        self.truth.act()
        for object_id in ids:
            del self.truth.objects[object_id]
        self.project.delete(ids, actor=actor)

    @precondition(lambda self: self.truth.objects)
    @rule(seed=SEEDS, data=st.data(), erase=st.booleans(), overlap=RULES)
    def stroke(self, seed: int, data: st.DataObject, erase: bool, overlap: Overlap) -> None:
        box, mask = random_mask(seed)
        object_id = data.draw(st.sampled_from(sorted(self.truth.objects)))
        old, losers = self.truth.objects[object_id], {}
        stroke = Held("", box, mask, old.plane, 0)
        if erase:
            pixels = old.pixels() & ~stroke.pixels()
        else:
            settled, losers = self.truth.settle(stroke, overlap, Actor.USER, object_id)
            pixels = old.pixels() | (settled.pixels() if settled is not None else False)
        if self.refused({object_id}, Actor.USER) or (pixels == old.pixels()).all():
            with pytest.raises((UsageError, EmptyProposalError)):
                self.do_stroke(object_id, box, mask, erase, overlap)
            return
        self.truth.act()
        new = old.cut_to(pixels)
        if new is None:
            del self.truth.objects[object_id]
        else:
            self.truth.put(object_id, new, losers)
        self.do_stroke(object_id, box, mask, erase, overlap)

    def do_stroke(self, object_id: int, box: Box, mask: np.ndarray, erase: bool, overlap: Overlap) -> None:
        if erase:
            self.project.erase(object_id, box, mask)
        else:
            self.project.paint(object_id, box, mask, rule=overlap)

    @precondition(lambda self: len(self.truth.objects) > 1)
    @rule(data=st.data())
    def merge(self, data: st.DataObject) -> None:
        ids = self.some_ids(data)
        held = [self.truth.objects[i] for i in sorted(ids)]
        if len(ids) < 2 or self.refused(ids, Actor.USER) or len({one.plane for one in held}) > 1:
            with pytest.raises(UsageError):
                self.project.merge(ids)
            return
        self.truth.act()
        union = np.logical_or.reduce([one.pixels() for one in held])
        for object_id in ids:
            del self.truth.objects[object_id]
        self.truth.objects[min(ids)] = held[0].cut_to(union)._replace(order=self.truth.order)
        self.project.merge(ids)

    @precondition(lambda self: self.truth.objects)
    @rule(data=st.data())
    def split(self, data: st.DataObject) -> None:
        object_id = data.draw(st.sampled_from(sorted(self.truth.objects)))
        old = self.truth.objects[object_id]
        halves = [old.pixels(), old.pixels()]
        middle = (old.box.x0 + old.box.x1) // 2
        halves[0][:, middle:] = False
        halves[1][:, :middle] = False
        parts = [part for part in (old.cut_to(half) for half in halves) if part is not None]
        given = [(part.box, part.mask) for part in parts]
        if len(parts) < 2 or self.refused({object_id}, Actor.USER):
            with pytest.raises(UsageError):
                self.project.split(object_id, given)
            return
        self.truth.act()
        _, ids = self.project.split(object_id, given)
        for new_id, part in zip(ids, parts, strict=True):
            self.truth.objects[new_id] = part._replace(order=self.truth.order)

    @precondition(lambda self: self.truth.objects)
    @rule(data=st.data(), name=NAMES)
    def set_class(self, data: st.DataObject, name: str) -> None:
        ids = self.some_ids(data)
        if self.refused(ids, Actor.USER):
            with pytest.raises(UsageError):
                self.project.set_class(ids, name)
            return
        self.truth.act()
        self.truth.use_class(name)
        for object_id in ids:
            self.truth.objects[object_id] = self.truth.objects[object_id]._replace(name=name)
        self.project.set_class(ids, name)

    @precondition(lambda self: self.truth.objects)
    @rule(data=st.data(), state=STATES)
    def set_state(self, data: st.DataObject, state: ObjectState) -> None:
        ids, changed = self.some_ids(data), False
        hidden = {i for i in ids if self.truth.objects[i].state in HIDDEN and state.value not in HIDDEN}
        self.truth.act()
        for object_id in sorted(hidden):
            # They come in by the project's rule; what would have no pixel left stays as it is.
            held = self.truth.objects[object_id]._replace(state=state.value, order=self.truth.order)
            new, losers = self.truth.settle(held, Overlap.KEEP, Actor.USER, object_id)
            if new is not None:
                changed = True
                self.truth.put(object_id, new, losers)
        for object_id in ids - hidden:
            changed = True
            self.truth.objects[object_id] = self.truth.objects[object_id]._replace(state=state.value)
        if not changed:
            self.truth.refuse()
            with pytest.raises(EmptyProposalError):
                self.project.set_state(ids, state)
            return
        self.project.set_state(ids, state)

    @precondition(lambda self: self.truth.objects)
    @rule(data=st.data(), note=st.sampled_from(["", "blurred", "100 %"]))
    def set_note(self, data: st.DataObject, note: str) -> None:
        ids = self.some_ids(data)
        self.truth.act()
        for object_id in ids:
            self.truth.objects[object_id] = self.truth.objects[object_id]._replace(note=note)
        self.project.set_note(ids, note)

    @rule(data=st.data())
    def jump(self, data: st.DataObject) -> None:
        steps = [a.id for a in self.project.history(None)]
        target = data.draw(st.sampled_from([0, *steps]))
        at = len([i for i in steps if i <= target])
        moves = self.project.jump(target)
        assert moves == abs(at - len(self.truth.done))
        while len(self.truth.done) > at:
            self.truth.back(self.truth.done, self.truth.undone)
        while len(self.truth.done) < at:
            self.truth.back(self.truth.undone, self.truth.done)

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
        held = self.truth.objects
        found = {o.id: (o.class_name, o.box, o.plane, o.area, o.state, o.note) for o in self.project.objects()}
        assert found == {
            i: (o.name, o.box, o.plane, int(o.mask.sum()), o.state, o.note) for i, o in self.truth.objects.items()
        }
        assert {c.name for c in self.project.classes()} == set(self.truth.classes)
        assert self.project.count() == len(found)
        assert self.project.totals() == Counter((o.name, o.state) for o in held.values())
        assert (self.project.can_undo, self.project.can_redo) == (bool(self.truth.done), bool(self.truth.undone))
        whole = Box(0, 0, *SHAPE)
        assert [o.id for o in self.project.objects(whole)] == sorted(found)
        assert self.project.find(order="area").tolist() == sorted(held, key=lambda i: (held[i].mask.sum(), i))

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

"""Does random actions on a project for ever, and prints each one once it is acknowledged. Killed by `test_crash.py`.

A line is written with one `write` after the call returned, so what stands in the pipe was promised.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np

from napari_relay.geometry import Box
from napari_relay.store import NewObject, Project, PyramidWriter, Settled, open_pyramid
from napari_relay.store.tiles import tight_box

SHAPE = (1100, 1300)
LEVELS = [SHAPE, (550, 650), (137, 163)]
STATES = ["proposed", "accepted", "reviewed", "locked", "rejected"]


def say(**fact: object) -> None:
    os.write(1, (json.dumps(fact) + "\n").encode())


def main(folder: Path, seed: int, *, pyramid: bool) -> None:
    rng = np.random.default_rng(seed)
    project = Project.open(folder / "a.relay", fingerprint="a", shape=SHAPE)
    project.overlap = "allow"  # a state that shows a proposal would cut it by the rule
    if pyramid:
        writer = PyramidWriter(project, open_pyramid(folder / "a.labels.ome.zarr", project, LEVELS))
        project.changed.connect(writer.schedule)
    say(start=ids(project))
    while True:
        act(project, rng)


def ids(project: Project) -> list[int]:
    return [stored.id for stored in project.objects()]


def act(project: Project, rng: np.random.Generator) -> None:
    """One random action: what will be said before it, and what it promised after it."""
    live = [stored.id for stored in project.objects() if stored.state != "locked"]
    kinds = ["accept", "accept", "import", "undo", "redo", "jump"]
    kinds += ["delete", "class", "state", "note", "revise", "replace", "merge", "erase"] if live else []
    kind = str(rng.choice(kinds))
    some = sorted({int(i) for i in rng.choice(live, min(3, len(live)), replace=False)}) if live else []
    if kind in ("undo", "redo"):
        say(trying=kind)
        done = project.undo() if kind == "undo" else project.redo()
        say(did=kind, any=done is not None)
    elif kind == "jump":
        history = project.history(None)
        target = int(rng.choice([0, *(action.id for action in history)])) if rng.random() < 0.3 else 0
        at = sum(action.id <= target for action in history)
        if target == 0 and rng.random() < 0.8:  # not always back to the beginning
            return
        say(trying=kind, at=at)
        project.jump(target)
        say(did=kind, at=at)
    elif kind in ("accept", "import"):
        name, count = str(rng.choice(["a", "b"])), 1 if kind == "accept" else int(rng.integers(1, 6))
        masks = [random_mask(rng) for _ in range(count)]
        say(trying=kind, name=name, objects=[place(box, mask) for box, mask in masks])
        if kind == "accept":
            made = [project.accept(*masks[0], class_name=name, overlap="allow").id]
        else:
            made = list(project.import_objects(NewObject(*one, class_name=name) for one in masks).ids)
        say(did=kind, name=name, objects=[place(box, mask) for box, mask in masks], ids=made)
    elif kind in ("revise", "replace"):
        revise(project, rng, kind, some[0])
    elif kind in ("merge", "erase"):
        reshape(project, rng, kind, some)
    else:
        word = str(rng.choice({"class": ["a", "b", "c"], "state": STATES, "note": ["", "x"]}.get(kind, [""])))
        say(trying=kind, ids=some, word=word)
        if kind == "delete":
            project.delete(some)
        elif kind == "class":
            project.set_class(some, word)
        elif kind == "state":
            project.set_state(some, word)
        else:
            project.set_note(some, word)
        say(did=kind, ids=some, word=word)


def revise(project: Project, rng: np.random.Generator, kind: str, object_id: int) -> None:
    """Another mask for an object; `replace` takes pixels from those that are not locked."""
    box, mask = random_mask(rng)
    rule = "allow" if kind == "revise" else "replace"
    settled = project.settle(box, mask, overlap=rule, own_id=object_id)
    if settled.box.empty:
        return
    losers = {str(loser): what_is_left(project, loser, settled) for loser in settled.taken}
    fact = {"id": object_id, "object": place(settled.box, settled.mask), "losers": losers}
    say(trying=kind, **fact)
    project.revise(object_id, box, mask, overlap=rule)
    say(did=kind, **fact)


def reshape(project: Project, rng: np.random.Generator, kind: str, some: list[int]) -> None:
    """Merge some objects, or rub out a part of one; `losers` are those that are changed or gone."""
    if kind == "merge" and len(some) > 1:
        held = [project.object(i) for i in some]
        whole = Box(0, 0, *SHAPE)
        union = np.logical_or.reduce([stored.mask_in(whole) for stored in held])
        tight = tight_box(whole, union)
        fact = {"losers": dict.fromkeys(map(str, some[1:])) | {str(some[0]): place(tight, union[tight.slices])}}
        say(trying=kind, **fact)
        project.merge(some)
        say(did=kind, **fact)
    elif kind == "erase":
        box, mask = random_mask(rng)
        if not (project.object(some[0]).mask_in(box) & mask).any():
            return
        fact = {"losers": {str(some[0]): what_is_left(project, some[0], Settled(box, mask))}}
        say(trying=kind, **fact)
        project.erase(some[0], box, mask)
        say(did=kind, **fact)


def what_is_left(project: Project, object_id: int, settled: Settled) -> list | None:
    stored = project.object(object_id)
    mask = stored.mask
    common = stored.box.intersect(settled.box)
    mask[common.relative_to(stored.box).slices] &= ~settled.mask[common.relative_to(settled.box).slices]
    tight = tight_box(stored.box, mask)
    return None if tight.empty else place(tight, mask)


def random_mask(rng: np.random.Generator) -> tuple[Box, np.ndarray]:
    side = int(rng.integers(1, 600))
    box = Box(0, 0, side, side).shift(int(rng.integers(0, SHAPE[0] - side)), int(rng.integers(0, SHAPE[1] - side)))
    mask = rng.random(box.shape) < 0.5
    mask[0, 0] = mask[-1, -1] = True
    return box, mask


def place(box: Box, mask: np.ndarray) -> list:
    return [[box.y0, box.x0, box.y1, box.x1], int(mask.sum())]


def serve() -> None:
    """For each line `folder seed pyramid|alone` on stdin, fork a process that does `main`; say when it has ended.

    The imports are done once, so a run takes as long as its work.
    """
    for line in sys.stdin:
        folder, seed, pyramid = json.loads(line)
        pid = os.fork()
        if pid == 0:
            main(Path(folder), seed, pyramid=pyramid)
        say(forked=pid)
        _, status = os.waitpid(pid, 0)
        say(ended=os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    serve()

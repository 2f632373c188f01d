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
from napari_relay.store import Project

SHAPE = (1100, 1300)
LEVELS = [SHAPE, (550, 650), (137, 163)]


def say(**fact: object) -> None:
    os.write(1, (json.dumps(fact) + "\n").encode())


def main(folder: Path, seed: int, *, pyramid: bool) -> None:
    rng = np.random.default_rng(seed)
    project = Project.open(folder / "a.relay", fingerprint="a", shape=SHAPE)
    if pyramid:
        from napari_relay.store import PyramidWriter, open_pyramid

        writer = PyramidWriter(project, open_pyramid(folder / "a.labels.ome.zarr", project, LEVELS))
        project.changed.connect(writer.schedule)
    live = [stored.id for stored in project.objects()]
    say(start=sorted(live))
    while True:
        kind = rng.choice(["accept", "accept", "delete", "class", "undo", "redo", "revise"])
        if kind in ("accept", "revise") or not live:
            side = int(rng.integers(1, 600))
            box = Box(0, 0, side, side).shift(
                int(rng.integers(0, SHAPE[0] - side)), int(rng.integers(0, SHAPE[1] - side))
            )
            mask = rng.random(box.shape) < 0.5
            mask[0, 0] = mask[-1, -1] = True
            place = {"box": [box.y0, box.x0, box.y1, box.x1], "area": int(mask.sum())}
            if kind == "revise" and live:
                object_id = int(rng.choice(live))
                say(trying="revise", id=object_id, **place)
                project.revise(object_id, box, mask)
                say(did="revise", id=object_id, **place)
            else:
                name = str(rng.choice(["a", "b"]))
                say(trying="accept", name=name, **place)
                object_id = project.accept(box, mask, class_name=name).id
                say(did="accept", id=object_id, name=name, **place)
        elif kind == "delete":
            ids = [int(i) for i in rng.choice(live, min(2, len(live)), replace=False)]
            say(trying="delete", ids=ids)
            project.delete(ids)
            say(did="delete", ids=ids)
        elif kind == "class":
            object_id, name = int(rng.choice(live)), str(rng.choice(["a", "b", "c"]))
            say(trying="class", id=object_id, name=name)
            project.set_class(object_id, name)
            say(did="class", id=object_id, name=name)
        else:
            say(trying=kind)
            action = project.undo() if kind == "undo" else project.redo()
            say(did=kind, any=action is not None)
        live = [stored.id for stored in project.objects()]


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), pyramid=sys.argv[3] == "pyramid")

"""Proposes every object of a slide with the stand-in model, slowly; killed by `test_resume.py`.

Says `step N` after each task that is done, and `end` at the end.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from napari_relay.fullimage.request import ClassRequest, Request
from napari_relay.workspace import open_workspace


def main(image: Path, mode: str) -> None:
    with open_workspace(image, service="whole_services:make") as workspace:
        steps: Any
        if mode == "semantic":
            steps = workspace.classify(ClassRequest(resume=True))
        else:
            like = (1,) if mode == "similar" else ()
            steps = workspace.propose(Request(mode=mode, like=like, step=0, resume=True))  # type: ignore[arg-type]
        try:
            while True:
                os.write(1, f"step {next(steps).done}\n".encode())
        except StopIteration:
            os.write(1, b"end\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

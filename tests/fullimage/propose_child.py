"""Proposes every object of a slide with the stand-in model, slowly; killed by `test_resume.py`.

Says `step N` after each task that is done, and `end` at the end.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from napari_relay.fullimage.request import Request
from napari_relay.workspace import open_workspace


def main(image: Path, mode: str) -> None:
    request = Request(mode=mode, like=(1,) if mode == "similar" else (), step=0, resume=True)  # type: ignore[arg-type]
    with open_workspace(image, service="whole_services:make") as workspace:
        steps = workspace.propose(request)
        try:
            while True:
                os.write(1, f"step {next(steps).done}\n".encode())
        except StopIteration:
            os.write(1, b"end\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

"""How much longer `napari-relay IMAGE` takes to a window that can be worked in than bare napari takes to its own.

    python benchmarks/window_start.py [IMAGE] [--n 9]

Both are started as processes on a virtual screen, in turns, with empty settings; the first start of each does not
count. Bare napari is there with its first frame. Ours is there when the image's pixels are on the canvas and the click
tool takes clicks (one made now is computed as soon as the model is loaded, which its own process does meanwhile); the
bar for that is bare napari + 1.5 s. Told beside it: when the project was open, and when the event loop was quiet.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from statistics import median

from napari_relay.samples import sample_path
from recording import Figure, argument_parser, parse, publish, run, spread
from screen import screen
from starting import Started, start

LIMIT_S = 1.5


def main() -> None:
    """Measure, print, append."""
    args = _arguments()
    bare: list[Started] = []
    ours: list[Started] = []
    with screen() as environment, tempfile.TemporaryDirectory(prefix="window-start-") as folder:
        image = Path(folder, args.image.name)
        # A copy, so that the project lies beside it and each start finds none, as on the first day.
        (shutil.copytree if args.image.is_dir() else shutil.copy)(args.image, image)
        for turn in range(args.n + 1):
            order = ("napari", "relay") if turn % 2 else ("relay", "napari")
            for program in order:
                _forget_project(image)
                arguments = (str(image),) if program == "relay" else ()
                started = start(program, environment, Path(folder, "report.json"), arguments=arguments)
                if turn:
                    (ours if program == "relay" else bare).append(started)
    publish(args, _figures(bare, ours), _details(args.image.name, bare, ours))


def _arguments() -> argparse.Namespace:
    parser = argument_parser(__doc__, "window_start")
    parser.add_argument(
        "image", type=Path, nargs="?", default=sample_path("CMU-1-Small-Region.svs"), help="default: the sample slide"
    )
    parser.add_argument("--n", type=int, default=9, help="starts of each")
    return parse(parser)


def _forget_project(image: Path) -> None:
    for beside in image.parent.glob(f"{image.name}.*"):
        shutil.rmtree(beside) if beside.is_dir() else beside.unlink()


def _figures(bare: list[Started], ours: list[Started]) -> list[Figure]:
    napari_s = median(started.seconds["frame"] for started in bare)
    there_s = median(max(started.seconds["pixels"], started.seconds["armed"]) for started in ours)
    ready_s, quiet_s = (median(started.seconds[name] for started in ours) for name in ("ready", "usable"))
    text = f"{there_s:.2f} s against {napari_s:.2f} s"
    return [
        Figure("window start", there_s - napari_s, "s over napari", LIMIT_S, text),
        Figure("window start, project open", ready_s - napari_s, "s over napari", None, f"{ready_s:.2f} s"),
        Figure("window start, quiet", quiet_s - napari_s, "s over napari", None, f"{quiet_s:.2f} s"),
    ]


def _details(image: str, bare: list[Started], ours: list[Started]) -> dict[str, object]:
    def table(starts: list[Started]) -> dict[str, object]:
        return {name: spread([started.seconds[name] for started in starts]) for name in starts[0].seconds}

    loads_torch = any(started.torch for started in ours)
    return {"image": image, "napari_s": table(bare), "relay_s": table(ours), "window loads torch": loads_torch}


if __name__ == "__main__":
    run(main)

"""What an open image costs: memory over bare napari and time to its first pixels, at 100,000 and at 10,000 pixels.

    python benchmarks/open_memory.py [--n 5] [--objects 1000] [--folder DIR]

Each measurement is a process of its own on a virtual screen (`napari-relay IMAGE`, as a user starts it), in turns with
bare napari. Memory is resident memory of the window's process, read some seconds after it became usable; the model
lives in a process of its own, whose memory is listed apart. Bars: with 1,000 objects and without a model the large
image takes at most 500 MB more than bare napari; the large and the small one differ by at most 50 MB.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median

from make_huge import FOLDER, SIDES, huge_image
from napari_relay.sources import open_image
from napari_relay.store import Project, PyramidWriter, open_pyramid
from napari_relay.workspace.opening import pyramid_path
from recording import Figure, argument_parser, parse, publish, run, spread
from screen import screen
from starting import Started, start
from store_commit import fill

OVER_NAPARI_MB, SAME_MB = 500.0, 50.0
BARE, SMALL, LARGE, OBJECTS = "napari", "small", "large", "large with objects"

Starts = dict[str, list[Started]]


def main() -> None:
    """Measure, print, append."""
    args = _arguments()
    large, small = (huge_image(args.folder, side) for side in (args.large_side, args.small_side))
    starts: Starts = defaultdict(list)
    with (
        screen() as environment,
        tempfile.TemporaryDirectory(prefix="open-memory-", ignore_cleanup_errors=True) as folder,
    ):
        report, full = Path(folder, "report.json"), Path(folder, "full.relay")
        make_objects(large, full, args.objects)
        for turn in range(args.n + 1):
            for case, image in ((BARE, None), (SMALL, small), (LARGE, large), (OBJECTS, large)):
                project = full if case == OBJECTS else Path(folder, f"{case}-{turn}.relay")
                options = ["--settle", str(args.settle), *(["--no-model"] if case == OBJECTS else [])]
                arguments = () if image is None else (str(image), "--project", str(project))
                program = "napari" if image is None else "relay"
                started = start(program, environment, report, *options, arguments=arguments)
                if turn:  # the first round fills the disk's cache
                    starts[case].append(started)
    publish(args, _figures(starts, args), _details(starts))


def _arguments() -> argparse.Namespace:
    parser = argument_parser(__doc__, "open_memory")
    parser.add_argument("--n", type=int, default=5, help="starts of each")
    parser.add_argument("--objects", type=int, default=1000, help="objects in the project of the third case")
    parser.add_argument("--settle", type=float, default=5.0, help="seconds from usable to the reading of memory")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the images are kept (build/benchmarks)")
    parser.add_argument("--large-side", type=int, default=SIDES[0], help="pixels")
    parser.add_argument("--small-side", type=int, default=SIDES[1], help="pixels")
    return parse(parser)


def make_objects(image: Path, place: Path, count: int) -> None:
    """A project of the image with so many objects, and its label pyramid."""
    with (
        open_image(image) as source,
        Project.open(place, fingerprint=source.fingerprint, shape=source.shape, image_name=source.name) as project,
    ):
        fill(project, count)
        shapes = [level.shape for level in source.levels]
        pyramid = open_pyramid(pyramid_path(place), project, shapes, pixel_size_um=source.pixel_size_um)
        with PyramidWriter(project, pyramid) as writer:
            writer.flush()


def _figures(starts: Starts, args: argparse.Namespace) -> list[Figure]:
    bare, small, large, full = (median(s.rss_mb for s in starts[case]) for case in (BARE, SMALL, LARGE, OBJECTS))
    pixels = {case: median(s.seconds["pixels"] for s in starts[case]) for case in (SMALL, LARGE)}
    frame = median(s.seconds["frame"] for s in starts[BARE])
    most, least = f"{args.large_side // 1000}k", f"{args.small_side // 1000}k"
    return [
        Figure(f"memory, {most}, {args.objects} objects", full - bare, "MB over napari", OVER_NAPARI_MB,
               f"{full:.0f} MB"),
        Figure(f"memory, {most} against {least}", abs(large - small), "MB", SAME_MB,
               f"{large:.0f} and {small:.0f} MB"),
        Figure("memory, bare napari", bare, "MB"),
        Figure(f"first pixels, {most}", pixels[LARGE], "s", None, f"napari's first frame: {frame:.2f} s"),
        Figure(f"first pixels, {least}", pixels[SMALL], "s"),
        Figure("memory, model's process", median(s.worker_mb for s in starts[LARGE]), "MB", None, "apart"),
    ]  # fmt: skip


def _details(starts: Starts) -> dict[str, object]:
    return {
        case: {
            "rss_mb": spread([started.rss_mb for started in group]),
            "worker_mb": spread([started.worker_mb for started in group]),
            **{f"{name}_s": spread([started.seconds[name] for started in group]) for name in group[0].seconds},
            "window loads torch": any(started.torch for started in group),
        }
        for case, group in starts.items()
    }


if __name__ == "__main__":
    run(main)

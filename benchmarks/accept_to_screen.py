"""From Enter to the object's pixels on the screen, to the disk and to the label pyramid, on 100,000 x 100,000 pixels.

    python benchmarks/accept_to_screen.py [--n 12] [--there 0] [--checkpoint C] [--folder DIR]

The real window on a virtual screen, a real mouse click on tissue, the model's own mask, the Enter key. Of each accept:
the transaction (bar 20 ms + 2 ms a mask tile), the frames that napari draws until the pixel in the middle of the
object has its class colour (bar 2), and how long after the transaction the label pyramid has the object on every
level (bar 250 ms).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from driving import Place, Window, open_window, tissue_places
from make_huge import FOLDER, SIDES, huge_image
from napari_relay.sources import open_image
from napari_relay.widgets.palette import ACCEPTED_ALPHA, FILL_ALPHA, PROPOSAL, rgb_of
from open_memory import make_objects
from recording import Figure, argument_parser, parse, publish, run, spread
from store_commit import BASE_MS, TILE_MS, tiles_of

FRAMES, BEHIND_MS = 2, 250.0
MARK_PX = 10
"""Half the side of the square round a click where its mark lies over the mask, at zoom 1."""

Colour = npt.NDArray[np.float64]


@dataclass(slots=True)
class Accept:
    """What was measured of one accept; times in milliseconds."""

    tiles: int = 0
    transaction: float = 0.0
    frames: int = 0
    screen: float = 0.0
    pyramid: float = 0.0

    @property
    def share(self) -> float:
        """Of the time that the transaction may take."""
        return self.transaction / (BASE_MS + TILE_MS * self.tiles)


def main() -> None:
    """Measure, print, append."""
    args = _arguments()
    image = huge_image(args.folder, args.side)
    with (
        tempfile.TemporaryDirectory(prefix="accept-to-screen-", ignore_cleanup_errors=True) as folder,
        open_image(image) as source,
    ):
        project = Path(folder, "accept.relay")
        make_objects(image, project, args.there)
        accepts: list[Accept] = []
        with open_window(image, project=project, checkpoint=args.checkpoint) as window:
            for place in tissue_places(source, 4 * args.n):
                if len(accepts) == args.n + 1:
                    break
                if _propose(window, place):
                    accepts.append(_accept(window))
    counted = accepts[1:]
    details = {"there": args.there, "accepts": [asdict(accept) for accept in counted]}
    publish(args, _figures(counted, f"{args.side // 1000}k"), details)


def _arguments() -> argparse.Namespace:
    parser = argument_parser(__doc__, "accept_to_screen")
    parser.add_argument("--n", type=int, default=12, help="accepts (one more, the first, does not count)")
    parser.add_argument("--there", type=int, default=1000, help="objects already there")
    parser.add_argument("--checkpoint", help="bundled name or file (default: the default one)")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the image is kept (build/benchmarks)")
    parser.add_argument("--side", type=int, default=SIDES[0], help="pixels")
    return parse(parser)


def _propose(window: Window, place: Place) -> bool:
    """Click there; False where the model finds nothing (the click is dropped then)."""
    window.look_at(place)
    window.click(place)
    window.until(lambda: window.phase in ("proposal", "nothing", "failed"), "there is a mask")
    window.settle()
    if window.phase == "proposal":
        return True
    window.press("Escape")
    window.until(lambda: window.phase == "ready", "the click is dropped")
    return False


def _accept(window: Window) -> Accept:
    """Press Enter and watch."""
    found, project = Accept(), window.workspace.project
    point = window.canvas_point(_inner_place(window))
    looks = _Looks.of(window.pixel_now(point), window.shown.classes[0].color)
    seen: list[tuple[int, float]] = []
    drawn = window.drawn

    def look() -> None:
        if not seen and looks.accepted_in(window.read_pixel(point)):
            seen.append((window.drawn - drawn, time.perf_counter()))

    with _timed_accept(project) as stored, _rendered(window) as rendered:
        window.on_draw = look
        pressed = time.perf_counter()
        window.press("Return")
        for what, there in (("disk", stored), ("screen", seen), ("label pyramid", rendered)):
            window.until(lambda there=there: bool(there), f"the object is on the {what}")  # type: ignore[misc]
        window.on_draw = None
    ((object_id, found.transaction, committed),) = stored
    found.frames, found.screen = seen[0][0], (seen[0][1] - pressed) * 1000
    found.pyramid = (rendered[-1] - committed) * 1000
    found.tiles = tiles_of(project, object_id)
    window.until(lambda: not window.controller.awaited(), "the objects layer shows it")
    window.settle()
    assert looks.accepted_in(window.pixel_now(point)), "the object is gone from the screen"
    return found


@dataclass(frozen=True, eq=False, slots=True)
class _Looks:
    """What a pixel of the object looks like: as a proposal, as the bare image, and accepted; RGB, 0 to 255."""

    proposed: Colour
    bare: Colour
    accepted: Colour

    @classmethod
    def of(cls, proposed: Colour, class_color: str) -> _Looks:
        cyan, own = (np.array(rgb[:3]) * 255 for rgb in (PROPOSAL, rgb_of(class_color)))
        bare = (proposed - FILL_ALPHA * cyan) / (1 - FILL_ALPHA)
        return cls(proposed, bare, (1 - ACCEPTED_ALPHA) * bare + ACCEPTED_ALPHA * own)

    def accepted_in(self, pixel: Colour) -> bool:
        """Whether the pixel looks accepted rather than anything else."""
        far = [float(np.abs(pixel - colour).sum()) for colour in (self.accepted, self.proposed, self.bare)]
        return far[0] == min(far)


def _inner_place(window: Window) -> Place:
    """The place deepest in the mask that is on the canvas and not under the mark of the click."""
    proposal = window.controller.scene.proposal
    inside = np.pad(proposal.mask, 1)
    for click in window.shown.clicks:
        y, x = round(click.y) - proposal.box.y0 + 1, round(click.x) - proposal.box.x0 + 1
        inside[max(0, y - MARK_PX) : y + MARK_PX + 1, max(0, x - MARK_PX) : x + MARK_PX + 1] = False
    depth = ndimage.distance_transform_edt(inside)[1:-1, 1:-1]
    native = window.dock.viewer.window._qt_viewer.canvas.native
    for index in np.argsort(depth, axis=None)[::-1][::50]:
        row, column = divmod(int(index), depth.shape[1])
        place = float(proposal.box.y0 + row), float(proposal.box.x0 + column)
        x, y = window.canvas_point(place)
        if 0 <= x < native.width() and 0 <= y < native.height():
            return place
    raise AssertionError("the clicked object is not on the canvas")


@contextmanager
def _timed_accept(project: Any) -> Iterator[list[tuple[int, float, float]]]:
    """Collects (id, milliseconds, when it was done) of each accept of the project."""
    found: list[tuple[int, float, float]] = []
    accept = project.accept

    def timed(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        stored = accept(*args, **kwargs)
        done = time.perf_counter()
        found.append((stored.id, (done - began) * 1000, done))
        return stored

    project.accept = timed
    try:
        yield found
    finally:
        del project.accept


@contextmanager
def _rendered(window: Window) -> Iterator[list[float]]:
    """Collects the times at which the pyramid has caught up with the project."""
    found: list[float] = []
    project, writer = window.workspace.project, window.workspace.writer

    def look(_: Any) -> None:
        if len(project.journal) == 0:
            found.append(time.perf_counter())

    writer.rendered.connect(look)
    try:
        yield found
    finally:
        writer.rendered.disconnect(look)


def _figures(accepts: list[Accept], size: str) -> list[Figure]:
    frames, screen = (median(getattr(accept, name) for accept in accepts) for name in ("frames", "screen"))
    worst = max(accepts, key=lambda accept: accept.share)
    behind = [accept.pyramid for accept in accepts]
    shown = f"worst {spread(behind)['most']:.0f} ms"
    return [
        Figure(f"accept in the window, {size}", median(accept.share for accept in accepts), "x bar", 1.0,
               f"worst: {worst.transaction:.0f} ms, {worst.tiles} tiles"),
        Figure(f"frames until accepted pixels, {size}", frames, "frames", FRAMES, f"{screen:.0f} ms"),
        Figure(f"pyramid behind, {size}", median(behind), "ms", BEHIND_MS, shown),
    ]  # fmt: skip


if __name__ == "__main__":
    run(main)

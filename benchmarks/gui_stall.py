"""How long the window stands still while clicks are computed, and who makes it stand.

    python benchmarks/gui_stall.py [--n 10] [--side 100352] [--checkpoint C] [--folder DIR]

The real window on a virtual screen, real mouse events, the real worker process: hovering, a first click on a place
whose views are not encoded, a second click, the next mask, accepting, undoing. A 5 ms timer in the event loop meters
the gaps; `stalls.py` tells whose code ran in them. The bar: no gap holds 50 ms or more of our own code (frames and
layers that napari draws and adds are its own).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from driving import Place, Window, open_window, tissue_places
from make_huge import FOLDER, SIDES, huge_image
from napari_relay.sources import open_image
from open_memory import make_objects
from recording import Figure, argument_parser, parse, publish, run, spread
from stalls import Gap, StallMeter

OWN_MS = 50.0
IDLE_S = 2.0


def main() -> None:
    """Measure, print, append."""
    args = _arguments()
    image = huge_image(args.folder, args.side)
    with (
        tempfile.TemporaryDirectory(prefix="gui-stall-", ignore_cleanup_errors=True) as folder,
        open_image(image) as source,
    ):
        project = Path(folder, "stall.relay")
        make_objects(image, project, args.there)
        with open_window(image, project=project, checkpoint=args.checkpoint) as window, StallMeter() as meter:
            with meter.phase("idle"):
                window.pause(IDLE_S)
            for place in tissue_places(source, args.n):
                _one_object(window, meter, place)
            found = meter.gaps()
    publish(args, _figures(found), {"gaps": {name: _summary(gaps) for name, gaps in found.items()}})


def _arguments() -> argparse.Namespace:
    parser = argument_parser(__doc__, "gui_stall")
    parser.add_argument("--n", type=int, default=10, help="objects that are clicked")
    parser.add_argument("--there", type=int, default=1000, help="objects already there")
    parser.add_argument("--checkpoint", help="bundled name or file (default: the default one)")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the image is kept (build/benchmarks)")
    parser.add_argument("--side", type=int, default=SIDES[0], help="pixels of the image")
    return parse(parser)


def _one_object(window: Window, meter: StallMeter, place: Place) -> None:
    """Go there, hover, click twice, look at another mask, accept or drop, undo and redo."""
    y, x = place
    with meter.phase("moving"):
        window.look_at(place)
    with meter.phase("hovering"):
        for step in range(5):
            window.hover((y - 50 + 5 * step, x - 50))
            window.pause(0.02)
        window.pause(0.3)
    with meter.phase("first click"):
        window.click(place)
        _await_mask(window)
    with meter.phase("next mask"):
        window.press("Tab")
        window.settle()
    with meter.phase("second click"):
        window.click((y + 30, x + 30), positive=False)
        _await_mask(window)
    with meter.phase("accept"):
        window.press("Return" if window.phase == "proposal" else "Escape")
        window.until(lambda: window.phase == "ready" and not window.shown.accepting, "the object is accepted")
        window.until(lambda: not window.controller.awaited(), "the objects layer shows it")
        window.settle()
    with meter.phase("undo and redo"):
        window.controller.undo()
        window.settle()
        window.controller.redo()
        window.settle()


def _await_mask(window: Window) -> None:
    window.until(lambda: window.phase in ("proposal", "nothing", "failed"), "there is a mask")
    window.settle()


def _figures(found: dict[str, list[Gap]]) -> list[Figure]:
    busy = [gap for name, gaps in found.items() if name != "idle" for gap in gaps]
    worst, longest = max(busy, key=lambda gap: gap.own), max(busy, key=lambda gap: gap.ms)
    figures = [
        Figure("stall by our code", worst.own, "ms", OWN_MS, f"{worst.phase}, in {worst.where or 'nothing'}"),
        Figure("longest gap of all", longest.ms, "ms", None, _parts(longest)),
        Figure("longest gap, idle", max((gap.ms for gap in found["idle"]), default=0.0), "ms"),
    ]
    for name, gaps in found.items():
        if name != "idle":
            own = max(gaps, key=lambda gap: gap.own)
            figures.append(Figure(f"stall by our code, {name}", own.own, "ms", OWN_MS, own.where))
    return figures


def _parts(gap: Gap) -> str:
    return f"{gap.phase}: {gap.own:.0f} ours, {gap.frame:.0f} frames, {gap.layers:.0f} layers"


def _summary(gaps: Sequence[Gap]) -> dict[str, object]:
    """Spread of whole gaps and of our part, and the five gaps with most of our code."""
    worst = sorted(gaps, key=lambda gap: -gap.own)[:5]
    return {
        "ms": spread([gap.ms for gap in gaps]),
        "p99_ms": round(sorted(gap.ms for gap in gaps)[int(0.99 * (len(gaps) - 1))], 1),
        "own_ms": spread([gap.own for gap in gaps]),
        "worst": [{"own_ms": round(g.own, 1), "ms": round(g.ms, 1), "where": g.where} for g in worst],
    }


if __name__ == "__main__":
    run(main)

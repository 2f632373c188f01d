"""`napari-relay demo`: from an image file to kept objects, clicked by the robot; no screen, GPU or network."""

from __future__ import annotations

import shutil
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from napari_relay.cli.console import err, out, print_json, with_progress
from napari_relay.cli.options import CheckpointOption, JsonOption
from napari_relay.errors import StorageError
from napari_relay.samples import sample_path

if TYPE_CHECKING:
    from napari_relay.session import ClickSession
    from napari_relay.workspace import Workspace
    from relay_training.robot import Mask

IMAGE, LABELS = "coins.png", "coins_labels.png"
COINS = (3, 6, 7, 11, 14, 17, 18, 24)
"""Of the 24 coins: dark and bright ones, large and small ones, one at the border, one with a ragged outline."""
CLICKS = 3
BAR_IOU = 0.85
"""Mean IoU after three clicks that a sound installation reaches easily."""


@dataclass(frozen=True, slots=True)
class Round:
    """One coin: IoU after the last click, and the milliseconds of each click."""

    object: int
    clicks: int
    iou: float
    ms: tuple[float, ...]

    @property
    def further_ms(self) -> float | None:
        return statistics.median(self.ms[1:]) if len(self.ms) > 1 else None


def demo(
    folder: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the image, its project and the picture.")
    ] = Path("demo_output"),
    checkpoint: CheckpointOption = None,
    as_json: JsonOption = False,
) -> None:
    """See it work: eight coins of known outline are clicked, corrected, accepted and kept.

    Opens a bundled photo through the same source, views, model, session and project as the window. The robot clicks the
    middle of the largest error, at most three times a coin. Exits with 1 when the mean IoU is under 0.85.

    \b
    Examples:
      napari-relay demo
      napari-relay demo --out /tmp/coins && napari-relay /tmp/coins/coins.png
    """
    from napari_relay.cli.outputs import load_model, write_overlay
    from napari_relay.workspace import open_workspace
    from relay_training.bench_data import read_label_map

    image = _copy_image(folder)
    labels = read_label_map(sample_path(LABELS)).values
    start = time.perf_counter()
    with open_workspace(image, checkpoint=checkpoint, device="cpu") as workspace:
        load_model(workspace)
        _clear(workspace)
        session = workspace.session()
        rounds = [play(session, number, labels == number) for number in with_progress(COINS, "Clicking coins")]
        workspace.writer.flush()
        write_overlay(workspace, folder / "overlay.png")
        places = {
            "project": str(workspace.project.path),
            "pyramid": str(workspace.pyramid.path),
            "overlay": str(folder / "overlay.png"),
        }
        kept = workspace.project.count()
    seconds = time.perf_counter() - start
    mean = statistics.fmean(played.iou for played in rounds)
    if as_json:
        print_json({"mean_iou": mean, "objects": [_row(played) for played in rounds], "kept": kept, **places})
    else:
        _print(rounds, mean, kept, seconds, places)
    if mean < BAR_IOU:
        err.print(f"The mean IoU {mean:.3f} is under {BAR_IOU}: run `napari-relay doctor`.", style="red")
        raise typer.Exit(1)


def play(session: ClickSession, number: int, truth: Mask) -> Round:
    """Let the robot click one object, at most three times, and accept what the session shows."""
    import numpy as np

    from relay_training.robot import STOP_IOU, Robot, intersection_over_union

    robot, shown, nothing = Robot(truth), np.zeros_like(truth), np.zeros_like(truth)
    ms: list[float] = []
    iou = 0.0
    while len(ms) < CLICKS and iou < STOP_IOU and (click := robot.next_click(shown)) is not None:
        start = time.perf_counter()
        proposal = session.click(click.y, click.x, positive=click.positive)
        ms.append((time.perf_counter() - start) * 1000)
        shown[:] = False
        shown[proposal.box.slices] = proposal.mask
        iou = intersection_over_union(shown, truth, nothing)
    session.accept(class_name="coin")
    return Round(number, len(ms), iou, tuple(ms))


def _copy_image(folder: Path) -> Path:
    """The bundled photo, copied to where its project may be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copyfile(sample_path(IMAGE), folder / IMAGE))
    except OSError as error:
        raise StorageError(
            f"Cannot write to {folder}: {error.strerror}.", "Choose another folder with --out."
        ) from error


def _clear(workspace: Workspace) -> None:
    """A second run starts with no objects; those of the first can still be brought back by undo."""
    ids = [stored.id for stored in workspace.project.objects()]
    if ids:
        workspace.project.delete(ids)


def _row(played: Round) -> dict[str, Any]:
    return {"object": played.object, "clicks": played.clicks, "iou": played.iou, "ms": list(played.ms)}


def _print(rounds: list[Round], mean: float, kept: int, seconds: float, places: dict[str, str]) -> None:
    table = Table(title=f"{len(rounds)} coins, at most {CLICKS} clicks each", title_justify="left", show_footer=True)
    further = [played.further_ms for played in rounds if played.further_ms is not None]
    table.add_column("object", "mean (ms: median)", justify="right")
    table.add_column("clicks", f"{statistics.fmean(played.clicks for played in rounds):.1f}", justify="right")
    table.add_column("IoU", f"{mean:.3f}", justify="right")
    table.add_column("first click, ms", f"{statistics.median(played.ms[0] for played in rounds):.0f}", justify="right")
    table.add_column("further click, ms", f"{statistics.median(further):.0f}" if further else "-", justify="right")
    for played in rounds:
        later = "-" if played.further_ms is None else f"{played.further_ms:.0f}"
        table.add_row(f"coin {played.object}", str(played.clicks), f"{played.iou:.3f}", f"{played.ms[0]:.0f}", later)
    out.print(table)
    out.print(f"{kept} objects kept in {seconds:.0f} s, with the model's loading.", highlight=False)
    for name, path in places.items():
        out.print(f"  {name:<8} {path}", highlight=False, soft_wrap=True)

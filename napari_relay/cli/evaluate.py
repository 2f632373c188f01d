"""`napari-relay evaluate`: clicks needed, IoU and times of a checkpoint on sets of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_relay.cli.console import err, out, progress_bar
from napari_relay.cli.options import CheckpointOption, DeviceOption


def evaluate(
    data: Annotated[Path, typer.Option("--data", "-d", help="One set (images/ and labels/), or a folder of sets.")],
    quick: Annotated[
        Path | None, typer.Option("--quick", help="Only the objects of this list, such as benchmarks/quick.txt.")
    ] = None,
    checkpoint: CheckpointOption = None,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Keep the report here; an interrupted run goes on from it.")
    ] = None,
    sets: Annotated[list[str] | None, typer.Option("--set", help="Only this set; may be given several times.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start anew although the report exists.")] = False,
    device: DeviceOption = "auto",
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads.")] = None,
    checks: Annotated[
        bool, typer.Option("--checks", help="Instead of counting clicks: what must hold for a trained model.")
    ] = False,
    context: Annotated[
        Path | None, typer.Option("--context", help="With --checks: a set made by relay_training context-set.")
    ] = None,
) -> None:
    """Let the robot click objects of known outline, and print how many clicks they need.

    A set is a folder with images/ID.jpg or .png and labels/ID.png: 0 background, 1, 2, 3 ... objects, 255 (8 bit) or
    65535 (16 bit) pixels that count neither way. GrabCut, Berkeley, DAVIS and Pascal VOC are easily brought into this
    layout. Printed for each set: mean clicks to an IoU of 80, 85, 90 and 95 %, failures after 20 clicks, mean IoU
    after 1, 3 and 5 clicks, and milliseconds of first and further clicks.

    With --checks 50 of the objects are asked other things: whether a click is heard where it is, whether a mask stays
    when nothing changes, whether mirrored pictures give mirrored masks.

    \b
    Examples:
      napari-relay evaluate --data sets/grabcut
      napari-relay evaluate --data sets --quick benchmarks/quick.txt --json report.json
      napari-relay evaluate --data sets --checks
    """
    from napari_relay.predictor import load_predictor
    from relay_training.bench_data import find_sets, read_quick_list
    from relay_training.evaluate import Contest, Progress
    from relay_training.evaluate import evaluate as run

    # Wrong words are told before the model is loaded.
    find_sets(data, sets or None)
    if quick is not None:
        read_quick_list(quick)
    if checks:
        from relay_training.checks import report_checks

        contest = Contest(data, quick, sets or None, threads=threads, json_path=json_path)
        report_checks(contest, checkpoint, device=device, threads=threads, context=context)
        return
    with err.status("Loading the model"):
        predictor = load_predictor(checkpoint, device=device, threads=threads)
    with progress_bar() as bar:
        task = bar.add_task("Clicking")

        def show(step: Progress) -> None:
            bar.update(task, completed=step.done, total=step.total, description=f"Clicking {step.set_name}")

        report = run(
            data,
            predictor,
            quick=quick,
            sets=sets or None,
            json_path=json_path,
            overwrite=overwrite,
            progress=show,
        )
    for table in report.tables():
        out.print(table)

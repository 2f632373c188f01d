"""What a run tells while it goes: a progress bar with time left, a CSV file, TensorBoard events."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

COLUMNS = ("step", "samples", "seconds", "mask", "iou", "contrast", "score", "IoU", "norm")


class Reporter:
    """Averages over `every` steps and writes them; a context manager."""

    def __init__(self, folder: Path, steps: int, done: int, every: int = 25) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._every, self._sums, self._counts = every, defaultdict[str, float](float), defaultdict[str, int](int)
        self._path = folder / "log.csv"
        self._events = SummaryWriter(str(folder))  # type: ignore[no-untyped-call]
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        self._task = self._bar.add_task("training", total=steps, completed=done)
        if not self._path.exists():
            self._path.write_text(",".join(COLUMNS) + "\n")

    def __enter__(self) -> Reporter:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        self._events.close()  # type: ignore[no-untyped-call]

    def step(self, step: int, samples: int, seconds: float, parts: dict[str, float]) -> None:
        """Take one step's numbers; `step` is how many are done."""
        self._bar.update(self._task, completed=step)
        for name, value in parts.items():
            self._sums[name] += value
            self._counts[name] += 1
        if step % self._every:
            return
        means = {name: self._sums[name] / self._counts[name] for name in self._sums}
        row = {"step": step, "samples": samples, "seconds": round(seconds, 1), **means}
        with self._path.open("a", newline="") as file:
            csv.DictWriter(file, COLUMNS, restval="", extrasaction="ignore").writerow(
                {k: f"{v:.5g}" if isinstance(v, float) else v for k, v in row.items()}
            )
        for name, value in means.items():
            self._events.add_scalar(name, value, samples)  # type: ignore[no-untyped-call]
        self._bar.update(self._task, description=f"training  IoU {means.get('IoU', 0):.3f}")
        self._sums.clear()
        self._counts.clear()

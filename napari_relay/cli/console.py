"""Where commands print: results on stdout, everything else (progress, errors) on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator, Iterable, Iterator
from typing import Any, Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

out = Console()
err = Console(stderr=True)

T = TypeVar("T")


class Step(Protocol):
    """Progress of long work: `done` of `total` steps."""

    @property
    def done(self) -> int: ...

    @property
    def total(self) -> int: ...


def progress_bar() -> Progress:
    """A bar with count and time left on stderr, gone when it is done."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
    )


def with_progress(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield `items` under a progress bar."""
    with progress_bar() as bar:
        yield from bar.track(items, total=total, description=description)


def drive(steps: Generator[Step, None, T], description: str) -> T:
    """Run a generator of progress values under a progress bar; its return value."""
    with progress_bar() as bar:
        task = bar.add_task(description, total=None)
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                result: T = end.value
                return result
            bar.update(task, completed=step.done, total=step.total)


def print_json(data: Any) -> None:
    """Print `data` as JSON and nothing else, so that another program can read it."""
    json.dump(data, sys.stdout, indent=2, ensure_ascii=False, default=str)
    sys.stdout.write("\n")

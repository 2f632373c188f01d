"""Opening a file as layers: read its metadata, offer to build smaller levels where it needs them, add the layers.

Reading and building run in the background; the window stays as quick as before.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from psygnal import Signal

from napari_relay.sources import Progress, Source, build_pyramid, needs_pyramid, open_image
from napari_relay.widgets.controller import sentence
from napari_relay.widgets.opening import Choice, Question
from napari_relay.widgets.reading import layer_tuples, with_finished_pyramid
from napari_relay.widgets.threads import Runner
from napari_relay.widgets.wording import duration


class ImageOpener:
    """Opens one file at a time in a viewer.

    Attributes
    ----------
    question : a Question, or None when it needs no answer any more.
    progress : (text, fraction) of a build that runs; None when it has ended.
    failed : a sentence: what went wrong and what to do.
    """

    question = Signal(object)
    progress = Signal(object)
    failed = Signal(str)
    added = Signal(list)
    """The layers that were added."""

    def __init__(self, viewer: Any, make_runner: Callable[[], Runner]) -> None:
        self.viewer = viewer
        self._make_runner = make_runner
        self._runner: Runner | None = None
        self._cancelled = False

    def open(self, path: str | Path) -> None:
        """Open an image file, folder or address; what was being opened before is given up."""
        self.close()
        runner = self._runner = self._make_runner()
        text = str(path)
        runner.submit(lambda: with_finished_pyramid(open_image(text)), self._opened, self._fail)

    def cancel_build(self) -> None:
        """Stop building levels; what is built stays for the next time. The image is opened as it is."""
        self._cancelled = True

    def close(self) -> None:
        self._cancelled = True
        if self._runner is not None:
            self._runner.close()
            self._runner = None

    def _opened(self, source: Source) -> None:
        if not needs_pyramid(source):
            self._add(source)
            return
        height, width = source.shape
        self.question.emit(
            Question(
                f"{source.name} has {width:,} x {height:,} pixels and no smaller levels, so that looking round in it "
                "is slow. They can be built once and are kept beside your other cached files.",
                (
                    Choice("Build them now", lambda _: self._build(source)),
                    Choice("Open it as it is", lambda _: self._add(source)),
                ),
            )
        )

    def _build(self, source: Source) -> None:
        self.question.emit(None)
        self._cancelled = False
        runner = self._runner
        assert runner is not None

        def failed(error: BaseException) -> None:
            self.progress.emit(None)
            self.failed.emit(sentence(error))
            self._add(source)

        self.progress.emit(("Building levels ...", 0.0))
        runner.submit(lambda: self._drive(source, runner) or source, self._built, failed)

    def _drive(self, source: Source, runner: Runner) -> Source | None:
        """Build the levels of a source and close it; None when that was cancelled. In the runner's thread."""
        steps: Generator[Progress, None, Source] = build_pyramid(source)
        last = -1
        while not self._cancelled:
            try:
                done = next(steps)
            except StopIteration as end:
                finished: Source = end.value
                source.close()
                return finished
            if int(done.fraction * 200) != last:
                last = int(done.fraction * 200)
                runner.post(lambda done=done: self.progress.emit((_told(done), done.fraction)))  # type: ignore[misc]
        steps.close()
        return None

    def _built(self, source: Source) -> None:
        self.progress.emit(None)
        self._add(source)

    def _add(self, source: Source) -> None:
        self.question.emit(None)
        layers: list[Any] = []
        for data, arguments, _ in layer_tuples(source):
            added = self.viewer.add_image(data, **arguments)
            layers += added if isinstance(added, list) else [added]
        self.added.emit(layers)

    def _fail(self, error: BaseException) -> None:
        self.failed.emit(sentence(error))


def _told(progress: Progress) -> str:
    if progress.seconds_left is None:
        return "Building levels ..."
    return f"Building levels, {duration(progress.seconds_left)} left"

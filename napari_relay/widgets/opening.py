"""Opening the image behind a layer: source, place of the project, workspace. Only questions come to the GUI thread."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_relay.sources import Source
from napari_relay.widgets.binding import can_keep_beside, default_project, open_source
from napari_relay.widgets.threads import Runner


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer. With `file`, the window asks for a file name and hands it over; else None is handed over."""

    label: str
    act: Callable[[Path | None], None]
    file: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class Question:
    """Something the user must decide; the first choice is the default, taken when the user goes on without one."""

    text: str
    choices: tuple[Choice, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Opened:
    """An open image. `close` closes workspace and source and deletes what was temporary; slow."""

    workspace: Any
    temporary: bool
    close: Callable[[], None]


@dataclass(eq=False)
class Opening:
    """One image on its way to a workspace.

    Parameters
    ----------
    layer : the napari Image layer.
    runner : runs the slow parts; whoever gets `done` goes on with it.
    open_workspace : called with (source, project or None) in the runner's thread.
    ask : shows a Question; None takes it away.
    done : gets what was opened.
    failed : gets the error.
    project : a place named beforehand.
    """

    layer: Any
    runner: Runner
    open_workspace: Callable[[Source, Path | None], Any]
    ask: Callable[[Question | None], None]
    done: Callable[[Opened], None]
    failed: Callable[[BaseException], None]
    project: Path | None = None
    _question: Question | None = field(default=None, init=False)
    _in_a_hurry: bool = field(default=False, init=False)
    _held: ExitStack = field(default_factory=ExitStack, init=False)
    """What is open so far; touched in the runner's thread alone, until it is handed over."""

    def start(self) -> None:
        layer, held = self.layer, self._held

        def work() -> Source:
            source = open_source(layer)
            held.callback(source.close)
            return source

        self.runner.submit(work, self._opened, self._failed)

    def answer_default(self) -> None:
        """The user goes on without an answer; a question that has yet to come is not asked."""
        self._in_a_hurry = True
        if self._question is not None:
            self._question.choices[0].act(None)

    def cancel(self) -> None:
        """The image is not wanted any more: nothing is delivered, all that is open is closed in the background."""
        self._settle()
        self.runner.close(self._held.close)

    def _opened(self, source: Source) -> None:
        if self.project is not None:
            self._open(source, self.project, temporary=False)
        elif can_keep_beside(source):
            self._open(source, default_project(source), temporary=False)
        else:
            self._ask_where(source)

    def _ask_where(self, source: Source) -> None:
        if source.path is None:
            text = f"'{self.layer.name}' is not a file. Where shall its objects be kept?"
        else:
            text = f"The folder of {source.path.name} cannot be written to. Where shall its objects be kept?"
        self._question = Question(
            text,
            (
                Choice("Only until it is closed", lambda _: self._open(source, None, temporary=True)),
                Choice("In a file ...", lambda path: self._open(source, path, temporary=path is None), file=True),
            ),
        )
        if self._in_a_hurry:
            self.answer_default()
        else:
            self.ask(self._question)

    def _open(self, source: Source, project: Path | None, *, temporary: bool) -> None:
        self._settle()
        held = self._held

        def work() -> Any:
            place = project
            if place is None and source.path is not None:
                # A file in a folder that cannot be written to: its project lies among the temporary files.
                scratch = tempfile.mkdtemp(prefix="napari-relay-")
                held.callback(shutil.rmtree, scratch, ignore_errors=True)
                place = Path(scratch, f"{source.path.name}.relay")
            workspace = self.open_workspace(source, place)
            held.callback(workspace.close)
            return workspace

        self.runner.submit(
            work, lambda workspace: self.done(Opened(workspace, temporary, held.pop_all().close)), self._failed
        )

    def _failed(self, error: BaseException) -> None:
        self.runner.close(self._held.close)
        self.failed(error)

    def _settle(self) -> None:
        if self._question is not None:
            self._question = None
            self.ask(None)

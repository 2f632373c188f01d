"""What the window knows of the project: classes, the current one, how many objects. Read in the background."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from napari_relay.widgets.state import ClassChoice
from napari_relay.widgets.threads import Runner


class Ledger:
    """Facts of a project, read again whenever it changes.

    Parameters
    ----------
    project : an open Project.
    changed : called on the GUI thread when the facts are new.
    failed : called with what went wrong.
    """

    def __init__(
        self, project: Any, runner: Runner, changed: Callable[[], None], failed: Callable[[BaseException], None]
    ) -> None:
        self.classes: tuple[ClassChoice, ...] = ()
        self.current_class = ""
        self.objects = 0
        self._project, self._runner = project, runner
        self._changed, self._failed = changed, failed
        self._reading = False
        project.changed.connect(self._project_changed)
        self.read()

    def set_class(self, name: str) -> None:
        """Make `name` the current class at once here, and soon in the project; an unknown name makes a class."""
        name = name.strip()
        if not name or name == self.current_class:
            return
        before, self.current_class = self.current_class, name
        project = self._project

        def failed(error: BaseException) -> None:
            self.current_class = before
            self._failed(error)
            self._changed()

        self._runner.submit(lambda: setattr(project, "current_class", name), lambda _: self.read(), failed, keep=True)
        self._changed()

    def class_of(self, digit: int) -> str | None:
        """Name of the class that a digit chooses."""
        return next((choice.name for choice in self.classes if choice.digit == digit), None)

    def read(self) -> None:
        """Read the facts; asked for again while that waits, it is done once."""
        if self._reading:
            return
        self._reading = True
        project = self._project

        def read() -> tuple[list[Any], str, int]:
            self._reading = False
            return project.classes(), project.current_class, project.count()

        self._runner.submit(read, self._take, self._failed)

    def close(self) -> None:
        self._project.changed.disconnect(self._project_changed)

    def _take(self, facts: tuple[list[Any], str, int]) -> None:
        infos, self.current_class, self.objects = facts
        self.classes = choices(infos)
        self._changed()

    def _project_changed(self, change: object) -> None:
        # In the thread that made the change.
        self._runner.post(self.read)


def choices(infos: Sequence[Any]) -> tuple[ClassChoice, ...]:
    """Classes as the window lists them: those below another right after it."""
    names = {info.id: info.name for info in infos}
    found: list[ClassChoice] = []

    def walk(parent: str, depth: int) -> None:
        for info in infos:
            if names.get(info.parent_id, "") == parent:
                digit = int(info.key) if info.key.isdecimal() else None
                found.append(ClassChoice(info.name, info.color, digit, depth, parent))
                walk(info.name, depth + 1)

    walk("", 0)
    return tuple(found)

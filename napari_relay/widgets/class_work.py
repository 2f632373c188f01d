"""What the class panel asks for, done in the project of the open image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from napari_relay.widgets.class_panel import ClassPanel
from napari_relay.widgets.desk import Desk
from napari_relay.widgets.state import ClassChoice


class ClassWork:
    """Joins panel and desk; lives as long as both."""

    def __init__(self, panel: ClassPanel, desk: Desk) -> None:
        self._desk = desk
        panel.picked.connect(self.choose)
        panel.edited.connect(self.edit)
        panel.removed.connect(self.remove)
        panel.saved.connect(self.save)
        panel.loaded.connect(self.load)

    def choose(self, name: str) -> None:
        """New objects get this class; an unknown one is made."""
        if self._desk.controller is not None:
            self._desk.controller.ledger.set_class(name)

    def edit(self, name: str, choice: ClassChoice) -> None:
        """Give a class another name, colour, key and parent."""
        from napari_relay.store import ClassSpec

        key = "" if choice.digit is None else str(choice.digit)
        spec = ClassSpec(choice.name, choice.color, key, choice.parent)
        self._do(lambda project: project.change_class(name, spec))

    def remove(self, name: str) -> None:
        """Remove a class that no object has."""
        self._do(lambda project: project.remove_class(name))

    def save(self, path: str) -> None:
        """Write the classes as a template."""
        from napari_relay.formats.class_template import ClassTemplate

        self._do(lambda project: ClassTemplate.of(project).save(Path(path)))

    def load(self, path: str) -> None:
        """Take the classes of a template."""
        from napari_relay.formats.class_template import ClassTemplate

        summary = f"classes of {Path(path).name}"
        self._do(lambda project: ClassTemplate.load(Path(path)).apply(project, summary=summary))

    def _do(self, change: Callable[[Any], object]) -> None:
        controller = self._desk.controller
        if controller is not None:
            project = controller.workspace.project
            controller.do(lambda: change(project))

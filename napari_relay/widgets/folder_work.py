"""Working through a folder of images: which one is open, how far each has come, the classes they share. No Qt here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from psygnal import Signal

from napari_relay.errors import RelayError
from napari_relay.widgets.controller import ClickController, sentence
from napari_relay.widgets.desk import Desk
from napari_relay.widgets.image_opener import ImageOpener
from napari_relay.widgets.threads import Runner

NEW, BEGUN, DONE, BROKEN = "new", "begun", "done", "broken"


@dataclass(frozen=True, slots=True)
class Entry:
    """An image of the folder: `state` is one of new, begun, done, broken."""

    path: Path
    state: str = NEW
    n_objects: int = 0
    problem: str = ""


class FolderWork:
    """The images of a folder, one of them open. Who makes it closes it.

    Parameters
    ----------
    path : the folder.
    desk, opener : what clicks an image, and what opens one.
    runner : looks at images and projects; owned.
    notify : shows a sentence to the user.
    take_away : takes layers of ours out of the viewer, soon.
    recursive : take the folders below it along.

    Attributes
    ----------
    listed : the images are known.
    changed : Signal(index): state, count or thumbnail of an image is new.
    moved : Signal(index): another image is being opened.
    """

    listed = Signal()
    changed = Signal(int)
    moved = Signal(int)

    def __init__(
        self,
        path: Path,
        desk: Desk,
        opener: ImageOpener,
        runner: Runner,
        notify: Callable[[str], None],
        take_away: Callable[[list[Any]], None],
        *,
        recursive: bool = False,
    ) -> None:
        self.path, self._recursive = path, recursive
        self.entries: list[Entry] = []
        self.thumbnails: dict[int, Any] = {}
        self.index = -1
        self._folder: Any = None
        self._desk, self._opener, self._runner = desk, opener, runner
        self._notify, self._take_away = notify, take_away
        self._layers: list[Any] = []
        self._leaving: list[Any] = []
        self._opening = False
        self._before = -1
        self._controller: ClickController | None = None
        self._classes: tuple[Any, ...] = ()
        opener.added.connect(self._added)
        opener.failed.connect(self._failed_to_open)
        desk.changed.connect(self._follow)
        desk.viewer.layers.events.removed.connect(self._removed)
        runner.submit(self._list, self._listed, lambda error: notify(sentence(error)))

    # -- what is shown -----------------------------------------------------------------------------------------

    def title(self, index: int) -> str:
        """What an image is called: its way from the folder."""
        return self.entries[index].path.relative_to(self.path.expanduser().absolute()).as_posix()

    @property
    def n_done(self) -> int:
        """How many images are marked as done."""
        return sum(entry.state == DONE for entry in self.entries)

    # -- what the user does ------------------------------------------------------------------------------------

    def go(self, index: int) -> bool:
        """Open the image of that index in place of the present one; False when that cannot be."""
        if not 0 <= index < len(self.entries) or index == self.index:
            return False
        controller = self._desk.controller
        if controller is not None and self._is_ours(controller) and controller.draft.session.clicks:
            self._notify("Accept or drop the mask you are working on first.")
            return False
        self._before, self.index, self._opening = self.index, index, True
        self._opener.open(self.entries[index].path)
        self.moved.emit(index)
        return True

    def step(self, by: int) -> bool:
        """Go to the next (1) or previous (-1) image; False at the end."""
        return self.go(self.index + by)

    def mark_done(self, *, done: bool = True) -> bool:
        """Mark the present image as done (or not), also one without objects; False when none is open."""
        controller, index = self._desk.controller, self.index
        if controller is None or not self._is_ours(controller):
            self._notify("Wait until the image is open and the click tool is on.")
            return False
        project = controller.workspace.project

        def mark() -> None:
            from napari_relay.workspace.folder import set_done

            set_done(project, done=done)

        controller.do(mark)
        self._set(index, replace(self.entries[index], state=DONE if done else self._begun(index)))
        return True

    def close(self) -> None:
        """Let go of desk and viewer; what is open stays open. A second call does nothing."""
        if self._runner is None:
            return
        self._opener.added.disconnect(self._added)
        self._opener.failed.disconnect(self._failed_to_open)
        self._desk.changed.disconnect(self._follow)
        self._desk.viewer.layers.events.removed.disconnect(self._removed)
        self._runner.close()
        self._runner = None  # type: ignore[assignment]

    # -- looking at the folder ---------------------------------------------------------------------------------

    def _list(self) -> tuple[Any, list[Path]]:
        # In the runner's thread, which also imports what this needs.
        from napari_relay.workspace.folder import ImageFolder

        folder = ImageFolder(self.path, recursive=self._recursive)
        return folder, folder.paths()

    def _listed(self, found: tuple[Any, list[Path]]) -> None:
        self._folder, paths = found
        self.entries = [Entry(path) for path in paths]
        self.listed.emit()
        if not paths:
            self._notify(f"There is no image in {self.path}.")
            return
        self.go(0)
        for index, path in enumerate(paths):
            self._look(index, path)

    def _look(self, index: int, path: Path) -> None:
        def look() -> tuple[Entry, Any]:
            from napari_relay.workspace.folder import look_at
            from napari_relay.workspace.thumbnails import thumbnail

            found = look_at(path)
            entry = Entry(path, str(found.state), found.n_objects, found.problem)
            try:
                return entry, thumbnail(path)
            except RelayError as error:
                return replace(entry, state=BROKEN, problem=str(error)), None

        def done(found: tuple[Entry, Any]) -> None:
            entry, picture = found
            if picture is not None:
                self.thumbnails[index] = picture
            # What the open image says of itself is newer.
            present = index == self.index and self._is_ours(self._desk.controller)
            keep = replace(entry, n_objects=self.entries[index].n_objects) if present else entry
            self._set(index, keep)

        self._runner.submit(look, done)

    def _look_again(self, index: int) -> None:
        """Read state and count of an image that was left."""
        if index < 0:
            return
        path = self.entries[index].path

        def look() -> Entry:
            from napari_relay.workspace.folder import look_at

            found = look_at(path)
            return Entry(path, str(found.state), found.n_objects, found.problem)

        self._runner.submit(look, lambda entry: self._set(index, entry) if index != self.index else None)

    # -- opening -----------------------------------------------------------------------------------------------

    def _added(self, layers: list[Any]) -> None:
        """The image's layers are there: work on it, and take those of the one before away."""
        if not self._opening or not layers:
            return
        self._opening = False
        left, self._layers = self._layers, list(layers)
        self._leaving = [layer for layer in left if layer in self._desk.viewer.layers]
        self._desk.images.choose(layers[-1])
        if self._leaving:
            self._take_away(self._leaving)
        else:
            self._desk.viewer.reset_view()

    def _removed(self, event: Any) -> None:
        if any(event.value is layer for layer in self._leaving):
            self._leaving = [layer for layer in self._leaving if layer is not event.value]
            if not self._leaving:
                self._desk.viewer.reset_view()

    def _failed_to_open(self, problem: str) -> None:
        if self._opening:
            self._opening = False
            self._set(self.index, replace(self.entries[self.index], state=BROKEN, problem=problem))

    # -- following the open image ------------------------------------------------------------------------------

    def _is_ours(self, controller: ClickController | None) -> bool:
        """Whether a controller works on the present image of the folder."""
        return (
            controller is not None
            and 0 <= self.index < len(self.entries)
            and controller.workspace.source.path == self.entries[self.index].path
        )

    def _follow(self, *_: object) -> None:
        controller = self._desk.controller
        if controller is None or not self._is_ours(controller):
            return
        folder, project = self._folder, controller.workspace.project
        if controller is not self._controller:
            self._controller, self._classes = controller, ()
            controller.do(lambda: folder.take_in(project))
            # The one before is written and closed by now.
            self._look_again(self._before)
        ledger = controller.ledger
        if ledger.classes and ledger.classes != self._classes:
            # In order after the above: what the folder has comes in before anything goes out.
            self._classes = ledger.classes
            controller.do(lambda: folder.give_out(project))
        entry = self.entries[self.index]
        if ledger.classes and ledger.objects != entry.n_objects:
            state = entry.state if entry.state == DONE else BEGUN if ledger.objects else NEW
            self._set(self.index, replace(entry, n_objects=ledger.objects, state=state))

    def _begun(self, index: int) -> str:
        return BEGUN if self.entries[index].n_objects else NEW

    def _set(self, index: int, entry: Entry) -> None:
        self.entries[index] = entry
        self.changed.emit(index)

"""Keeps the objects layer in step with a project: colours from its classes, pixels from its label pyramid."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from napari_relay.geometry import Box, Plane
from napari_relay.widgets.binding import LayerShape
from napari_relay.widgets.objects import ObjectsLayer, ObjectView
from napari_relay.widgets.threads import Runner
from napari_relay.widgets.transforms import data_to_world_matrix

if TYPE_CHECKING:
    # Only a name here: the store is imported by the thread that opens an image, not before the window shows.
    from napari_relay.store import Change

TILE = 512
"""Side of the tiles that the pyramid is rendered in."""


class CommittedObjects:
    """The accepted objects of one open image, shown.

    Parameters
    ----------
    viewer : napari viewer or its model.
    image : the image layer.
    workspace : the image's workspace.
    runner : reads the project in the background.
    shown : called with the ids of objects whose pixels the layer shows by now.
    pending : tells (id, box, plane) of the objects that are waited for.
    """

    def __init__(
        self,
        viewer: Any,
        image: Any,
        workspace: Any,
        runner: Runner,
        *,
        shown: Callable[[set[int]], None],
        pending: Callable[[], list[tuple[int, Box, Plane]]],
    ) -> None:
        self.layer = ObjectsLayer(
            viewer, workspace.pyramid.arrays, image, LayerShape.of(image).leading, str(workspace.project.path)
        )
        self._image = image
        self._workspace, self._runner = workspace, runner
        self._shown, self._pending = shown, pending
        self._names: list[str] = []
        self._hidden: dict[int, tuple[tuple[Box, ...], Plane]] = {}
        """Corrected objects whose new pixels are not rendered yet, by where these lie."""
        self.place()
        workspace.project.changed.connect(self._project_changed)
        workspace.writer.rendered.connect(self._rendered)
        self.reload()

    def place(self) -> None:
        """Lie where the image layer lies now."""
        self.layer.place(data_to_world_matrix(self._image), tuple(self._image.units))

    def set_classes(self, classes: list[tuple[str, str]]) -> None:
        """Names and colours of the classes, in order."""
        names = [name for name, _ in classes]
        if names != self._names:
            self._names = names
            self.reload()
        self.layer.set_classes(classes)

    def set_view(self, view: ObjectView) -> None:
        """Tell classes or objects apart by the colours."""
        self.layer.set_view(view)
        # What is on screen has other values then; they are read away from the GUI thread.
        self._runner.submit(self.layer.read_ahead, lambda _: self.layer.show())

    def reload(self) -> None:
        """Read the class of every object, then show the layer."""
        project, names, table = self._workspace.project, self._names, self.layer.table

        def read() -> None:
            index = {name: place for place, name in enumerate(names)}
            rows = project.object_colors()
            table.set([row[0] for row in rows], [index.get(row[1], 0) for row in rows])
            self.layer.read_ahead()

        self._runner.submit(read, lambda _: self.layer.show())

    def check(self) -> None:
        """Look whether the objects that are waited for are rendered by now."""
        if self._pending():
            self._runner.submit(self._rendered_so_far, self._show_rendered)

    def close(self) -> list[Any]:
        """Follow the project no more; returns the layers to take out of the viewer."""
        self._workspace.project.changed.disconnect(self._project_changed)
        self._workspace.writer.rendered.disconnect(self._rendered)
        return self.layer.release()

    def _project_changed(self, change: Change) -> None:
        # In the thread that made the change, and before the pyramid is rendered: the colours are there first.
        if not change.ids:  # classes alone: `set_classes` follows
            return
        self._color(change.ids)
        if change.kind == "correct":
            # The overlay shows the new mask already; the old one would lie below it until it is rendered.
            self._hidden.update(dict.fromkeys(change.ids, (change.boxes, change.plane)))
            self.layer.table.hide(change.ids)
        if change.kind != "accept":
            self.layer.read_ahead()
            self._runner.post(self.layer.show)

    def _color(self, ids: Iterable[int]) -> None:
        names = self._names
        rows = self._workspace.project.object_colors(ids)
        known = [names.index(name) if name in names else len(names) for _, name, _ in rows]
        self.layer.table.set([row[0] for row in rows], known)

    def _rendered(self, change: Change) -> None:
        # In the writer's thread, which has more to write.
        self._runner.post(lambda: self._runner.submit(self._rendered_so_far, self._show_rendered))

    def _rendered_so_far(self) -> set[tuple[int, int, int, int]]:
        """Tiles that are still to be rendered; the others are read, away from the GUI thread."""
        dirty: set[tuple[int, int, int, int]] = self._workspace.project.journal.positions()
        back = [i for i, (boxes, plane) in self._hidden.items() if not any(_waits(box, plane, dirty) for box in boxes)]
        if back:
            for object_id in back:
                self._hidden.pop(object_id, None)
            self._color(back)
        self.layer.read_ahead()
        return dirty

    def _show_rendered(self, dirty: set[tuple[int, int, int, int]]) -> None:
        self.layer.show()
        done = {
            object_id
            for object_id, box, plane in self._pending()
            if not _waits(box, plane, dirty)
        }
        if done:
            self._shown(done)


def _waits(box: Box, plane: Plane, dirty: set[tuple[int, int, int, int]]) -> bool:
    """Whether a tile of the box is still to be rendered."""
    return any((plane.t, plane.z, *tile) in dirty for tile in box.tiles(TILE))

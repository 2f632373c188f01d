"""Drawing tools on the viewer: left drag draws; wheel zooms, middle button or Ctrl + drag pans, as in every mode.

Callbacks on the viewer fire whichever layer is selected. napari's own panning is stopped for a drag that draws by
marking the press as handled before the first yield; the second of two fast presses arrives as a double click.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

LEFT, MIDDLE = 1, 3
Position = tuple[float, ...]


class Draws(Protocol):
    """What the tool tells of."""

    def begin(self, position: Position, *, inverted: bool) -> bool:
        """A drag begins at a world position (`inverted`: with Shift); whether it is wanted."""

    def move(self, position: Position) -> None: ...

    def end(self) -> None: ...


class DrawTool:
    """Takes drags from a viewer while it is on; leaves it as it was.

    Parameters
    ----------
    viewer : napari Viewer, not a proxy of it.
    draws : is told of each drag.
    """

    def __init__(self, viewer: Any, draws: Draws) -> None:
        self.viewer, self._draws = viewer, draws
        self.on = False

    def start(self) -> None:
        if not self.on:
            self.on = True
            self.viewer.mouse_drag_callbacks.append(self._drag)
            self.viewer.mouse_double_click_callbacks.append(self._double)

    def stop(self) -> None:
        self.on = False
        for callbacks, ours in (
            (self.viewer.mouse_drag_callbacks, self._drag),
            (self.viewer.mouse_double_click_callbacks, self._double),
        ):
            if ours in callbacks:
                callbacks.remove(ours)

    def _drag(self, _viewer: Any, event: Any) -> Iterator[None]:
        if event.view_direction is not None or "Alt" in event.modifiers:
            return
        if event.button == MIDDLE or (event.button == LEFT and "Control" in event.modifiers):
            yield from self._pan(event)
        elif event.button == LEFT:
            # Whether or not the place can be drawn on: a drag must not pan one time and draw another.
            event.handled = True
            if not self._draws.begin(tuple(event.position), inverted="Shift" in event.modifiers):
                return
            yield
            while event.type == "mouse_move":
                event.handled = True
                self._draws.move(tuple(event.position))
                yield
            self._draws.move(tuple(event.position))
            self._draws.end()

    def _pan(self, event: Any) -> Iterator[None]:
        event.handled = True
        camera = self.viewer.scene.camera
        start, centre = tuple(event.pos), tuple(camera.center)
        yield
        while event.type == "mouse_move":
            event.handled = True
            right, down = (float(now) - float(then) for now, then in zip(event.pos, start, strict=True))
            camera.center = (*centre[:-2], centre[-2] - down / camera.zoom, centre[-1] - right / camera.zoom)
            yield

    def _double(self, _viewer: Any, event: Any) -> None:
        if event.button == LEFT and event.view_direction is None and not {"Alt", "Control"} & set(event.modifiers):
            position = tuple(event.position)
            if self._draws.begin(position, inverted="Shift" in event.modifiers):
                self._draws.end()

"""The click tool on the viewer: left click, Shift+left click, resting mouse, while panning and zooming stay napari's.

The callbacks sit on the viewer, not on a layer, so they fire whichever layer is selected. Three traps are dealt
with here: a click is told from a pan by its canvas position (the world moves along with a pan, so world positions
say nothing), the button is read at press (it is 0 at release), and the second of two fast clicks arrives as a
double click, not as a press.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

SLACK_PX = 4
"""A press and release within this many canvas pixels is a click; farther apart it was a pan."""
NAPARI_DOUBLE_CLICK = "double_click_to_zoom"

OnClick = Callable[[tuple[float, ...], bool], None]
OnHover = Callable[[tuple[float, ...]], None]


class ClickTool:
    """Takes clicks from a viewer while armed; leaves it as it was when disarmed.

    Parameters
    ----------
    viewer : napari Viewer, not a proxy of it.
    on_click : called with the world position and whether the click is positive.
    on_hover : called with the world position at each move without a button.
    on_yield : called when the user takes up another tool (a layer's mode is no longer pan/zoom).

    Attributes
    ----------
    paused : a drawing tool of ours has the mouse: clicks are its.
    """

    def __init__(
        self, viewer: Any, *, on_click: OnClick, on_hover: OnHover, on_yield: Callable[[], None]
    ) -> None:
        self.viewer = viewer
        self.armed = self.paused = False
        self._on_click, self._on_hover, self._on_yield = on_click, on_hover, on_yield
        self._zoom_on_double_click: tuple[int, Any] | None = None
        self._watched: Any = None

    def arm(self) -> None:
        if self.armed:
            return
        self.armed = True
        viewer = self.viewer
        self._pan_zoom(viewer.layers.selection.active)
        viewer.mouse_drag_callbacks.append(self._drag)
        viewer.mouse_move_callbacks.append(self._move)
        double = viewer.mouse_double_click_callbacks
        for index, callback in enumerate(double):
            if getattr(callback, "__name__", "") == NAPARI_DOUBLE_CLICK:
                self._zoom_on_double_click = (index, callback)
                del double[index]
                break
        double.append(self._double)
        viewer.layers.selection.events.active.connect(self._active_changed)
        self._watch(viewer.layers.selection.active)

    def disarm(self) -> None:
        if not self.armed:
            return
        self.armed = False
        viewer = self.viewer
        viewer.layers.selection.events.active.disconnect(self._active_changed)
        self._watch(None)
        for callbacks, ours in (
            (viewer.mouse_drag_callbacks, self._drag),
            (viewer.mouse_move_callbacks, self._move),
            (viewer.mouse_double_click_callbacks, self._double),
        ):
            if ours in callbacks:
                callbacks.remove(ours)
        if self._zoom_on_double_click is not None:
            index, callback = self._zoom_on_double_click
            viewer.mouse_double_click_callbacks.insert(index, callback)
            self._zoom_on_double_click = None

    def _drag(self, _viewer: Any, event: Any) -> Iterator[None]:
        """A press: becomes a prompt at its release, unless the mouse went somewhere in between."""
        if self.paused or not _prompts(event):
            return
        # The event's content is swapped at each yield: what must last is copied here.
        start, position = tuple(event.pos), tuple(event.position)
        positive = "Shift" not in event.modifiers
        farthest = 0.0
        yield
        while event.type == "mouse_move":
            farthest = max(farthest, _distance(start, event.pos))
            yield
        if max(farthest, _distance(start, event.pos)) <= SLACK_PX and self.armed:
            self._on_click(position, positive)

    def _double(self, _viewer: Any, event: Any) -> None:
        if not self.paused and _prompts(event):
            self._on_click(tuple(event.position), "Shift" not in event.modifiers)

    def _move(self, _viewer: Any, event: Any) -> None:
        if not event.is_dragging and event.view_direction is None:
            self._on_hover(tuple(event.position))

    def _active_changed(self, event: Any = None) -> None:
        layer = self.viewer.layers.selection.active
        self._pan_zoom(layer)
        self._watch(layer)

    def _watch(self, layer: Any) -> None:
        if self._watched is not None:
            self._watched.events.mode.disconnect(self._mode_changed)
        self._watched = layer
        if layer is not None:
            layer.events.mode.connect(self._mode_changed)

    def _mode_changed(self, event: Any = None) -> None:
        # Painting and prompting with the same button would do both at once: the tool taken up last wins.
        if self._watched is not None and str(self._watched.mode) != "pan_zoom":
            self._on_yield()

    @staticmethod
    def _pan_zoom(layer: Any) -> None:
        if layer is not None and str(layer.mode) != "pan_zoom":
            layer.mode = "pan_zoom"


def _prompts(event: Any) -> bool:
    """Left button, flat view, no key that belongs to napari (Alt draws its zoom box, Ctrl is kept free)."""
    return (
        event.button == 1
        and event.view_direction is None
        and not any(key in event.modifiers for key in ("Alt", "Control", "Meta"))
    )


def _distance(a: Any, b: Any) -> float:
    return max(abs(float(a[0]) - float(b[0])), abs(float(a[1]) - float(b[1])))

"""The helper layers over the image: mask, clicks, view frames. Made once, written in place, tolerant of the user.

The user may rename, move, hide, duplicate or delete any of them: each is known by reference, and one that is gone is
made again when there is something to show. Each paint is a turn of the event loop of its own, so that together they
never hold the GUI thread for long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from napari.layers import Labels, Points, Vectors
from napari.utils.colormaps import DirectLabelColormap

from napari_relay.geometry import Box, Click
from napari_relay.widgets.drafts import Scene
from napari_relay.widgets.palette import (
    CLICK_BORDER,
    FRAME_COLORS,
    NEGATIVE,
    POSITIVE,
    overlay_colors,
    slot_of,
    stroke_slot,
)
from napari_relay.widgets.pixels import Canvas, Stamp
from napari_relay.widgets.transforms import Frame

Later = Callable[[Callable[[], None]], None]

MASK, CLICKS, FRAMES = "Relay mask", "Relay clicks", "Relay views"
MARKS, ZOOM = "marks", "zoom"
CLICK_SIZE_PX = 14
FRAME_WIDTH_PX = 1.6


class SceneLayers:
    """Shows a `Scene` in a viewer.

    Parameters
    ----------
    viewer : napari viewer (or its model).
    later : calls a function in a later turn of the event loop.
    """

    def __init__(self, viewer: Any, later: Later) -> None:
        self.viewer = viewer
        self.canvas = Canvas()
        self.show_views = True
        self._later = later
        self.frame: Frame | None = None
        self._layers: dict[str, Any] = {}
        self._waiting: dict[str, Callable[[], None]] = {}
        self._drawn: dict[str, object] = {}
        self._classes: tuple[tuple[str, str], ...] = ()
        viewer.layers.events.removed.connect(self._removed)

    # -- life --------------------------------------------------------------------------------------------------

    def prepare(self, frame: Frame, shape: tuple[int, int]) -> None:
        """Make the layers that are missing and put them over an image of `shape`. Costs GUI time once."""
        self.frame = frame
        if self.canvas.fit(shape) and MASK in self._layers:
            self._layers[MASK].data = self.canvas.array
        self._drawn.clear()
        # All in one turn: software OpenGL does not survive frames between a viewer's new layers while old ones leave.
        for name in (FRAMES, MASK, CLICKS):
            self._layer(name)
        self.place(frame)
        self.raise_all()

    def place(self, frame: Frame) -> None:
        """Move the layers along with the image."""
        self.frame = frame
        for name, layer in self._layers.items():
            layer.affine = self._affine(name)
            layer.units = frame.units

    def raise_all(self) -> None:
        """Put the helper layers above all others, in their order."""
        layers = self.viewer.layers
        for name in (FRAMES, MASK, CLICKS):
            layer = self._layers.get(name)
            if layer is not None and layers.index(layer) != len(layers) - 1:
                layers.move(layers.index(layer), len(layers))

    def release(self) -> list[Any]:
        """Let go of the helper layers and return those that are still in the viewer."""
        self.viewer.layers.events.removed.disconnect(self._removed)
        self._waiting.clear()
        left = [layer for layer in self._layers.values() if layer in self.viewer.layers]
        self._layers.clear()
        return left

    # -- painting ----------------------------------------------------------------------------------------------

    def set_classes(self, classes: Sequence[tuple[str, str]]) -> None:
        """Names and colours of the classes, for masks accepted just now."""
        if tuple(classes) != self._classes:
            self._classes = tuple(classes)
            if MASK in self._layers:
                self._layers[MASK].colormap = self._colormap()

    def show(self, scene: Scene) -> None:
        """Paint what differs from what is shown, the mask first."""
        stamps = _Stamps(self._stamps(scene))
        self._want(MASK, stamps, lambda: self._paint_mask(stamps.items))
        self._want(CLICKS, scene.clicks, lambda: self._paint_clicks(scene.clicks, busy=scene.busy))
        self._want(MARKS, (scene.clicks, scene.busy), lambda: self._paint_marks(scene.clicks, busy=scene.busy))
        boxes = shown_boxes(scene) if self.show_views else ()
        self._want(FRAMES, boxes, lambda: self._paint_frames(boxes))

    def clear(self) -> None:
        """Show nothing."""
        self.show(Scene())

    def rescale(self) -> None:
        """The zoom changed: keep marks and lines at their size on screen."""
        if any(len(self._layers[name].data) for name in (CLICKS, FRAMES) if name in self._layers):
            self._want(ZOOM, object(), self._paint_sizes)

    def _want(self, name: str, state: object, paint: Callable[[], None]) -> None:
        if name in self._drawn and self._drawn[name] == state:
            return
        self._drawn[name] = state
        first = not self._waiting
        self._waiting[name] = paint
        if first:
            self._later(self._paint_next)

    def _paint_next(self) -> None:
        for name in (MASK, CLICKS, MARKS, FRAMES, ZOOM):
            paint = self._waiting.pop(name, None)
            if paint is not None:
                paint()
                break
        if self._waiting:
            self._later(self._paint_next)

    def _stamps(self, scene: Scene) -> list[Stamp]:
        names = [name for name, _ in self._classes]
        stamps = [
            Stamp(item.proposal.box, item.proposal.mask, *slot_of(item.class_name, names)) for item in scene.accepted
        ]
        if scene.proposal is not None and not scene.proposal.empty:
            stamps.append(Stamp(scene.proposal.box, scene.proposal.mask, *slot_of(None, names)))
        elif scene.looked_at is not None and not scene.clicks:
            stamps.append(Stamp(scene.looked_at.box, scene.looked_at.mask, *slot_of(None, names)))
        if scene.stroke is not None:
            box, mask, adds = scene.stroke
            stamps.append(Stamp(box, mask, *stroke_slot(adds=adds)))
        return stamps

    def _paint_mask(self, stamps: list[Stamp]) -> None:
        if not stamps and MASK not in self._layers:
            return
        layer = self._layer(MASK)
        if self.canvas.show(stamps):
            with self._sliders_kept(layer.events.affine):
                layer.affine = self._affine(MASK)
        else:
            layer.refresh(extent=False, thumbnail=False, highlight=False)

    def _paint_clicks(self, clicks: Sequence[Click], *, busy: bool) -> None:
        if not clicks and CLICKS not in self._layers:
            return
        layer = self._layer(CLICKS)
        if clicks:
            # What napari gives to points that are new; every later change of the looks costs another redraw.
            layer.current_face_color = mark_colors(clicks, busy=busy)[-1]
            layer.current_symbol = mark_symbols(clicks)[-1]
            layer.current_size = self._mark_size
        with self._sliders_kept(layer.events.data):
            layer.data = np.array([(click.y, click.x) for click in clicks], dtype=float).reshape(-1, 2)
        layer.selected_data = set()

    def _paint_marks(self, clicks: Sequence[Click], *, busy: bool) -> None:
        """How the clicks look, in a turn after their places: together they would take two frames' time."""
        layer = self._layers.get(CLICKS)
        if layer is None or not clicks or len(layer.data) != len(clicks):
            return
        colors, symbols = mark_colors(clicks, busy=busy), mark_symbols(clicks)
        if [str(symbol) for symbol in layer.symbol] != symbols:
            layer.symbol = symbols
        if not np.allclose(layer.face_color, colors):
            layer.face_color = colors
        if not np.allclose(layer.size, self._mark_size):
            layer.size = self._mark_size

    def _paint_frames(self, boxes: tuple[Box, ...]) -> None:
        if not boxes and FRAMES not in self._layers:
            return
        layer = self._layer(FRAMES)
        if not boxes:
            # Not by taking the lines away: a Vectors layer without any cannot be drawn in 3D.
            layer.edge_color = np.zeros((len(layer.data), 4))
            return
        with self._sliders_kept(layer.events.data):
            layer.data = frame_lines(boxes)
        layer.edge_color = np.repeat(np.array(FRAME_COLORS[: len(boxes)]), 4, axis=0)
        layer.edge_width = FRAME_WIDTH_PX * self._screen_pixel

    def _paint_sizes(self) -> None:
        clicks, frames = self._layers.get(CLICKS), self._layers.get(FRAMES)
        if clicks is not None and len(clicks.data):
            clicks.size = self._mark_size
        if frames is not None and len(frames.data):
            frames.edge_width = FRAME_WIDTH_PX * self._screen_pixel

    @property
    def _mark_size(self) -> float:
        # napari takes sizes of points in world units where the layer has an affine and no scale of its own.
        return CLICK_SIZE_PX / float(self.viewer.scene.camera.zoom)

    @property
    def _screen_pixel(self) -> float:
        """Level-0 pixels that a pixel of the canvas is wide."""
        return 1 / (float(self.viewer.scene.camera.zoom) * (self.frame.pixel_size if self.frame else 1.0))

    # -- layers ------------------------------------------------------------------------------------------------

    def _layer(self, name: str) -> Any:
        layer = self._layers.get(name)
        if layer is None:
            layer = self._layers[name] = self._make(name)
            selected = set(self.viewer.layers.selection)
            self.viewer.add_layer(layer)
            # Adding a layer selects it; the user's own selection comes back.
            self.viewer.layers.selection = selected
        return layer

    def _make(self, name: str) -> Any:
        common: dict[str, Any] = {"name": name, "affine": self._affine(name)}
        if self.frame is not None:
            common["units"] = self.frame.units
        if name == MASK:
            layer: Any = Labels(self.canvas.array, colormap=self._colormap(), opacity=1.0, **common)
        elif name == CLICKS:
            layer = Points(
                # Not `canvas_size_limits`: they make half of the mark its border.
                np.zeros((0, 2)), border_color=CLICK_BORDER, border_width=0.12, **common,
            )  # fmt: skip
        else:
            unseen = frame_lines([Box(0, 0, 1, 1)])
            layer = Vectors(unseen, edge_color=np.zeros((4, 4)), vector_style="line", opacity=0.85, **common)
        layer.editable = False
        return layer

    def _sliders_kept(self, emitter: Any) -> AbstractContextManager[Any]:
        """napari works out the ranges of its sliders anew whenever a layer changes: 20 ms and more of GUI time. What
        we paint lies inside the image, so they stay as they are."""
        reaction = getattr(self.viewer, "_on_layers_change", None)
        return nullcontext() if reaction is None else emitter.blocker(reaction)

    def _affine(self, name: str) -> Any:
        frame = self.frame or Frame(np.eye(3))
        return frame.window(self.canvas.window.origin, self.canvas.window.step) if name == MASK else frame.matrix

    def _colormap(self) -> Any:
        return DirectLabelColormap(color_dict=overlay_colors([color for _, color in self._classes]))

    def _removed(self, event: Any) -> None:
        for name, layer in list(self._layers.items()):
            if layer is event.value:
                del self._layers[name]
                # Whatever it showed must be painted again when it comes back.
                self._drawn.pop(name, None)


def mark_colors(clicks: Sequence[Click], *, busy: bool) -> Any:
    """Colours [n, 4] of the clicks' marks; the newest is hollow until its mask is there."""
    colors = np.array([POSITIVE if click.positive else NEGATIVE for click in clicks], dtype=float)
    if busy:
        colors[-1, 3] = 0.0
    return colors


def mark_symbols(clicks: Sequence[Click]) -> list[str]:
    return ["disc" if click.positive else "square" for click in clicks]


def shown_boxes(scene: Scene) -> tuple[Box, ...]:
    """The local and the global view as far as they lie in the image; a view of the whole image has no frame."""
    if scene.views is None:
        return ()
    views = (scene.views.local, scene.views.global_)
    boxes = [view.box.clip(scene.shape) for view in views if view is not None]
    return tuple(box for box in boxes if box != Box(0, 0, *scene.shape))


def frame_lines(boxes: Iterable[Box]) -> Any:
    """The four sides of each box as vectors [4 n, 2, 2] (start, direction), along the outer edges of its pixels."""
    lines = []
    for box in boxes:
        y0, x0, height, width = box.y0 - 0.5, box.x0 - 0.5, box.height, box.width
        lines += [
            [(y0, x0), (0, width)], [(y0, x0 + width), (height, 0)],
            [(y0 + height, x0 + width), (0, -width)], [(y0 + height, x0), (-height, 0)],
        ]  # fmt: skip
    return np.array(lines, dtype=float).reshape(-1, 2, 2)


class _Stamps:
    """Masks to be drawn; equal to another when the very same masks are drawn with the same values."""

    def __init__(self, items: list[Stamp]) -> None:
        self.items = items

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Stamps)
            and len(other.items) == len(self.items)
            and all(a.mask is b.mask and a.fill == b.fill for a, b in zip(self.items, other.items, strict=True))
        )

    __hash__ = None  # type: ignore[assignment]

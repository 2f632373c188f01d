"""The drawing tools: what a drag changes, and when. No Qt here.

Brush, eraser and lasso change the mask that is being worked on; without one the object that is chosen, else the one
under the place where the drag began, which is written at once as one action; else they begin a new mask. Scribble and
box ask the model. Everything is taken back by Ctrl + Z.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from psygnal import Signal

from napari_relay.errors import ClickError
from napari_relay.geometry import Box, Plane
from napari_relay.widgets.controller import ClickController
from napari_relay.widgets.desk import Desk
from napari_relay.widgets.draw_tool import DrawTool, Position
from napari_relay.widgets.drawing import Drawn
from napari_relay.widgets.strokes import PAINTS, Stroke, Tool
from napari_relay.widgets.wording import plural

WIDTHS_PX = (1, 2000)
FIRST_WIDTH_PX = 15
STEP = 1.25
"""Factor of a larger or smaller brush."""


class DrawWork:
    """Joins the drawing tools with a desk. Who makes it closes it.

    Parameters
    ----------
    desk : the image worked on.
    chosen : ids of the objects that are chosen in the table.
    notify : shows a sentence to the user.

    Attributes
    ----------
    changed : tool or width.
    """

    changed = Signal()

    def __init__(self, desk: Desk, chosen: Callable[[], list[int]], notify: Callable[[str], None]) -> None:
        self._desk, self._chosen, self._notify = desk, chosen, notify
        self.tool: Tool | None = None
        self.width_px = FIRST_WIDTH_PX
        self._mouse = DrawTool(desk.viewer, self)
        self._stroke: Stroke | None = None
        self._cursor = desk.viewer.cursor.style
        desk.changed.connect(self._follow)

    # -- tools -------------------------------------------------------------------------------------------------

    def take(self, tool: Tool | str | None) -> None:
        """Take up a tool; None, or the one that is in hand, gives the mouse back to clicking."""
        new = None if tool is None or tool == self.tool else Tool(tool)
        if new is not None and not self._desk.armed:
            self._desk.arm()
        self._drop()
        self.tool = new
        self._desk.tool.paused = new is not None
        self._mouse.start() if new is not None else self._mouse.stop()
        self._show_cursor()
        self.changed.emit()

    def leave(self) -> bool:
        """Give up the stroke under way, else the tool; False when there is neither."""
        if self._stroke is not None:
            self._drop()
            return True
        if self.tool is None:
            return False
        self.take(None)
        return True

    def set_width(self, width_px: float) -> None:
        """Width of brush and eraser in level-0 pixels, so that a stroke is the same at every zoom."""
        self.width_px = min(max(round(width_px), WIDTHS_PX[0]), WIDTHS_PX[1])
        self._show_cursor()
        self.changed.emit()

    def widen(self, *, more: bool) -> None:
        """The next larger or smaller brush."""
        factor = STEP if more else 1 / STEP
        self.set_width(max(self.width_px * factor, self.width_px + 1) if more else self.width_px * factor)

    def fill(self) -> None:
        """Fill the holes of the mask worked on, else of the chosen objects."""
        controller = self._desk.controller
        if controller is None:
            return
        session, ids = controller.draft.session, self._chosen()
        if session.clicks:
            controller.in_session(lambda: _fill(session), quiet=(ClickError,))
        elif ids:
            controller.do(lambda: controller.workspace.project.fill_holes(ids))
        else:
            self._notify("Click an object, or choose some in the table, first.")

    def close(self) -> None:
        """Give the mouse back. A second call does nothing."""
        if self._desk is not None and self.tool is not None:
            self.take(None)
        self._desk.changed.disconnect(self._follow, missing_ok=True)

    # -- a drag ------------------------------------------------------------------------------------------------

    def begin(self, position: Position, *, inverted: bool) -> bool:
        """See `Draws`."""
        desk, controller = self._desk, self._desk.controller
        if self.tool is None or desk.sight.blocked or desk.layer is None:
            return False
        if controller is None:
            self._notify("The image is still being opened.")
            return False
        point = desk.sight.point(position)
        controller.set_plane(point.plane)
        self._stroke = Stroke(self.tool, self.width_px, controller.workspace.source.shape, inverted=inverted)
        self.move(position)
        return True

    def move(self, position: Position) -> None:
        """See `Draws`."""
        if self._stroke is not None:
            point = self._desk.sight.point(position)
            if not self._stroke.points or (point.y, point.x) != self._stroke.points[-1]:
                self._stroke.add(point.y, point.x)
                self._preview()

    def end(self) -> None:
        """See `Draws`."""
        stroke, self._stroke = self._stroke, None
        controller = self._desk.controller
        if stroke is None or controller is None:
            return
        match stroke.tool:
            case Tool.SCRIBBLE:
                self._drop()
                clicks = stroke.clicks()
                if clicks:
                    controller.prompt(lambda session: session.add_clicks(clicks, self._desk.sight.zoom))
            case Tool.BOX:
                self._drop()
                controller.prompt(lambda session: session.add_box(stroke.box))
            case Tool.DELETE:
                self._drop()
                self._delete(controller, stroke.box)
            case _:
                self._draw(controller, stroke)

    # -- what it changes ---------------------------------------------------------------------------------------

    def _draw(self, controller: ClickController, stroke: Stroke) -> None:
        drawn = stroke.drawn()
        if drawn is None:
            self._drop()
            return
        session = controller.draft.session
        if session.clicks:
            controller.in_session(lambda: session.draw(*drawn, add=stroke.adds), quiet=(ClickError,))
            self._drop()
            return
        project, plane, chosen = controller.workspace.project, controller.draft.plane, self._chosen()
        place = stroke.points[0]

        def change() -> Any:
            if len(chosen) == 1:
                target = project.object(chosen[0])
            else:
                target = project.object_at(*place, plane)
            if target is None:
                return None
            changed = project.paint(target.id, *drawn) if stroke.adds else project.erase(target.id, *drawn)
            return SimpleNamespace(id=target.id, class_name=target.class_name, left=changed)

        def done(changed: Any) -> None:
            self._clear()
            if changed is None and stroke.adds:
                controller.in_session(lambda: session.draw(*drawn), quiet=(ClickError,))
            elif changed is None:
                self._notify("There is no object to take anything away from: begin on one, or choose it in the table.")
            elif stroke.adds:
                controller.show_until_rendered(changed.id, *drawn, plane, changed.class_name)

        controller.do(change, done, self._clear)

    def _delete(self, controller: ClickController, box: Box) -> None:
        project, plane = controller.workspace.project, controller.draft.plane

        def done(found: tuple[int, int]) -> None:
            deleted, locked = found
            if deleted:
                kept = f"; {plural(locked, 'locked object')} stayed" if locked else ""
                self._desk.viewer.status = f"{plural(deleted, 'object')} deleted{kept}. Ctrl + Z brings them back."
            else:
                self._notify("No object that may be deleted lies wholly in the rectangle.")

        controller.do(lambda: delete_inside(project, box, plane), done)

    def _preview(self) -> None:
        if self._stroke is not None:
            self._show(self._stroke.preview(), adds=self._stroke.adds)

    def _clear(self) -> None:
        """A stroke has become something; the next one may be under way by now."""
        if self._stroke is None:
            self._drop()

    def _drop(self) -> None:
        self._stroke = None
        self._show(None, adds=True)

    def _show(self, drawn: Drawn | None, *, adds: bool) -> None:
        controller = self._desk.controller
        if controller is not None:
            controller.show_stroke(None if drawn is None else (*drawn, adds))

    def _show_cursor(self) -> None:
        cursor = self._desk.viewer.cursor
        if self.tool in PAINTS:
            frame = self._desk.sight.frame
            cursor.size = self.width_px * (frame.pixel_size if frame is not None else 1.0)
            cursor.style = "circle"
        else:
            cursor.style = "standard" if self.tool is None else "crosshair"

    def _follow(self, *_: object) -> None:
        if self.tool is not None and not self._desk.armed:
            self.take(None)


def delete_inside(project: Any, box: Box, plane: Plane) -> tuple[int, int]:
    """Delete the objects that show on a plane and lie wholly in a box, as one action; how many, and how many stayed
    because they are locked."""
    from napari_relay.store import ObjectFilter

    shown = ObjectFilter(box=box, plane=plane, states=("accepted", "reviewed", "locked"))
    rows = project.rows([int(i) for i in project.find(shown)])
    inside = [stored for stored in rows if box.covers(stored.box)]
    free = [stored.id for stored in inside if stored.state != "locked"]
    if free:
        project.delete(free)
    return len(free), len(inside) - len(free)


def _fill(session: Any) -> Any:
    """Fill the holes of a session's proposal."""
    from scipy import ndimage

    proposal = session.proposal
    holes = ndimage.binary_fill_holes(proposal.mask) & ~proposal.mask
    return session.draw(proposal.box, holes)

"""Drawing by hand: napari's own shape tools draw, these buttons make objects of it or change the chosen one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from napari.layers import Labels, Shapes
from qtpy.QtWidgets import QHBoxLayout, QSpinBox, QToolButton, QWidget

from napari_relay.store import NewObject, parts_by_line
from napari_relay.widgets.desk import Desk
from napari_relay.widgets.drawing import NAME, Drawn, masks, outlines, union
from napari_relay.widgets.layer_exchange import is_ours, labels_of_region, objects_of_layer
from napari_relay.widgets.propose_bar import box_on_screen
from napari_relay.widgets.transforms import Frame

WIDTHS_PX = (1, 500)
Book = Any
"""A `Book` of objects_panel.py, which imports this file."""


class DrawingBar(QWidget):
    """Buttons over a Shapes layer: the chosen one, else the one that Draw makes.

    Parameters
    ----------
    desk : the image worked on.
    book : gives the book that is open, None without one.
    notify : shows a sentence to the user.
    take_away : takes layers of ours out of the viewer, soon.
    """

    def __init__(
        self,
        desk: Desk,
        book: Callable[[], Book | None],
        notify: Callable[[str], None],
        take_away: Callable[[list[Any]], None],
    ) -> None:
        super().__init__()
        self._desk, self._book, self._notify, self._take_away = desk, book, notify, take_away
        self._own: Any = None
        self._resume = False
        self.width_px = QSpinBox()
        self.width_px.setRange(*WIDTHS_PX)
        self.width_px.setValue(15)
        self.width_px.setPrefix("Brush ")
        self.width_px.setSuffix(" px")
        self.draw = self._button("Draw", self.start, "Draw with napari's tools: polygon, ellipse, path (a brush) ...")
        self.new = self._button("New objects", self._new, "Each shape becomes an object of the current class")
        self.add = self._button("Add", self._add, "Add the shapes to the chosen object")
        self.erase = self._button("Erase", self._erase, "Take the shapes away from the chosen object")
        self.split = self._button("Split", self._split, "Cut the chosen object along a line or path")
        self.fill = self._button("Fill holes", self._fill, "Fill the holes of the chosen objects")
        self.take = self._button("From layer", self._take_in, "Each number of the active Labels layer is an object")
        self.give = self._button("To layer", self._give_out, "The objects in view as an ordinary Labels layer")
        row = QHBoxLayout(self)
        row.setContentsMargins(4, 0, 4, 4)
        for widget in (self.draw, self.width_px, self.new, self.add, self.erase, self.split, self.fill,
                       self.take, self.give):  # fmt: skip
            row.addWidget(widget)
        row.addStretch(1)

    @property
    def layer(self) -> Any:
        """The Shapes layer that counts: the active one, else ours; None without one."""
        active = self._desk.viewer.layers.selection.active
        if isinstance(active, Shapes):
            return active
        return self._own if self._own in self._desk.viewer.layers else None

    def start(self) -> None:
        """Make the drawing layer if it is missing, and take up napari's polygon tool."""
        image, viewer = self._desk.layer, self._desk.viewer
        if image is None or self._desk.sight.blocked:
            self._notify("Open an image first.")
            return
        self._resume = self._desk.armed
        layer = self.layer
        if layer is None:
            frame = Frame.of(image)
            layer = Shapes(
                ndim=2, name=NAME, affine=frame.matrix, units=frame.units, edge_width=self.width_px.value(),
                face_color="#ffffff40", edge_color="#ffffffa0",
            )  # fmt: skip
            viewer.add_layer(layer)
            self._own = layer
        layer.current_edge_width = self.width_px.value()
        viewer.layers.selection = {layer}
        layer.mode = "add_polygon"

    # -- what the buttons do -----------------------------------------------------------------------------------

    def _new(self) -> None:
        book, drawn = self._book(), self._drawn()
        if book is None or not drawn:
            return
        controller = book.controller
        name, plane = controller.ledger.current_class or None, self._desk.sight.plane
        if len(drawn) == 1:
            self._write(lambda project: project.accept(*drawn[0], class_name=name, plane=plane))
        else:
            new = [NewObject(box, mask, class_name=name, plane=plane) for box, mask in drawn]
            self._write(lambda project: project.import_objects(new, summary="a drawing", overlap=None))

    def _add(self) -> None:
        self._stroke(lambda project, object_id, stroke: project.paint(object_id, *stroke))

    def _erase(self) -> None:
        self._stroke(lambda project, object_id, stroke: project.erase(object_id, *stroke))

    def _stroke(self, act: Callable[[Any, int, Drawn], object]) -> None:
        object_id, drawn = self._chosen(), self._drawn()
        if object_id is not None and drawn:
            stroke = union(drawn)
            self._write(lambda project: act(project, object_id, stroke))

    def _split(self) -> None:
        object_id, layer = self._chosen(), self.layer
        if object_id is None or layer is None or not len(layer.data):
            self._notify("Draw a line or path across the object first.")
            return
        _, corners = outlines(self._desk.viewer, layer, self._desk.sight.point)[-1]
        line = [(float(y), float(x)) for y, x in corners]

        def split(project: Any) -> None:
            stored = project.object(object_id)
            project.split(object_id, parts_by_line(stored.box, stored.mask, line))

        self._write(split)

    def _fill(self) -> None:
        book = self._book()
        ids = [] if book is None else book.table.selected_ids().tolist()
        if not ids:
            self._notify("Choose objects in the table first.")
            return
        book.write(lambda project: project.fill_holes(ids))

    def _take_in(self) -> None:
        """Make objects of the active Labels layer, as one action."""
        book, layer, desk = self._book(), self._desk.viewer.layers.selection.active, self._desk
        if book is None:
            return
        if not isinstance(layer, Labels) or is_ours(layer) or not layer.visible:
            self._notify("Select a Labels layer of your own first.")
            return
        controller, image, plane = book.controller, desk.layer, desk.sight.plane
        shape, name = controller.workspace.source.shape, controller.ledger.current_class or None

        def take_in(project: Any) -> None:
            new = objects_of_layer(layer, image, shape, plane)
            project.import_objects(
                (replace(item, class_name=name) for item in new), summary=f"layer {layer.name}", overlap=None
            )

        book.write(take_in)

    def _give_out(self) -> None:
        """Show the objects in view as an ordinary layer, which is napari's to change."""
        book, desk = self._book(), self._desk
        if book is None or desk.sight.blocked or desk.sight.frame is None:
            return
        workspace, frame, plane = book.controller.workspace, desk.sight.frame, desk.sight.plane
        project, box = workspace.project, box_on_screen(desk.layer, workspace.source.shape)
        if box.empty:
            self._notify("No part of the image is in view.")
            return

        def done(labels: Any) -> None:
            desk.viewer.add_labels(
                labels, name=f"Objects y={box.y0} x={box.x0}", affine=frame.window((box.y0, box.x0), 1),
                units=frame.units,
            )  # fmt: skip

        book.controller.do(lambda: labels_of_region(project, box, plane), done)

    def _write(self, change: Callable[[Any], object]) -> None:
        """Do it, then take our drawing away (not a layer of the user's) and give the mouse back to the click tool."""
        self._book().write(change)
        layer = self.layer
        layer.mode = "pan_zoom"
        if layer is self._own:
            self._own = None
            layer.visible = False
            self._take_away([layer])
        if self._resume:
            self._resume = False
            self._desk.arm()

    def _drawn(self) -> list[Drawn]:
        """The masks of what was drawn; tells the user where there is none."""
        layer, controller = self.layer, self._desk.controller
        if layer is None or controller is None or not len(layer.data):
            self._notify("Draw something first.")
            return []
        shapes = outlines(self._desk.viewer, layer, self._desk.sight.point)
        drawn = masks(shapes, controller.workspace.source.shape, self.width_px.value())
        if not drawn:
            self._notify("What was drawn lies outside the image.")
        return drawn

    def _chosen(self) -> int | None:
        """The one object chosen in the table; tells the user where there is none."""
        book = self._book()
        ids = [] if book is None else book.table.selected_ids()
        if len(ids) == 1:
            return int(ids[0])
        self._notify("Choose one object in the table first, or with Ctrl + click in the image.")
        return None

    def _button(self, text: str, act: Callable[[], None], tip: str) -> QToolButton:
        button = QToolButton()
        button.setText(text)
        button.setToolTip(tip)
        button.clicked.connect(lambda _=False: act())
        return button

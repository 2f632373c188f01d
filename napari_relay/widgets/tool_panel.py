"""Buttons of the drawing tools, the brush's width, and what the one in hand does."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QGridLayout, QHBoxLayout, QLabel, QPushButton, QSpinBox, QVBoxLayout, QWidget

from napari_relay.widgets.draw_work import FIRST_WIDTH_PX, WIDTHS_PX
from napari_relay.widgets.status_panel import wrapped
from napari_relay.widgets.strokes import Tool

TOOLS: tuple[tuple[Tool, str, str], ...] = (
    (Tool.BRUSH, "Brush", "B: paint; with Shift, rub out"),
    (Tool.ERASER, "Eraser", "E: rub out; with Shift, paint"),
    (Tool.LASSO, "Lasso", "L: draw round an area to add it; with Shift, to take it away"),
    (Tool.SCRIBBLE, "Scribble", "S: scribble over the object, the model finds the rest; with Shift, over what is none"),
    (Tool.BOX, "Box", "X: draw a box round the object, the model finds it"),
    (Tool.DELETE, "Delete", "D: delete all objects that lie wholly in a rectangle"),
)
_PAN = "The wheel zooms, the middle button or Ctrl + drag pans. Esc: click again."


class ToolPanel(QWidget):
    """Tells what was asked for; it shows a tool as taken up when it is told to."""

    picked = Signal(str)
    width_changed = Signal(int)
    fill = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.buttons: dict[str, QPushButton] = {}
        grid = QGridLayout()
        grid.setSpacing(4)
        for place, (tool, text, tip) in enumerate(TOOLS):
            button = QPushButton(text)  # not a tool button: napari's theme does not show whether that is checked
            button.setToolTip(tip)
            button.setCheckable(True)
            button.clicked.connect(lambda _=False, tool=tool: self.picked.emit(str(tool)))
            self.buttons[str(tool)] = button
            grid.addWidget(button, place // 3, place % 3)
        self.width_px = QSpinBox()
        self.width_px.setRange(*WIDTHS_PX)
        self.width_px.setValue(FIRST_WIDTH_PX)
        self.width_px.setSuffix(" px")
        self.width_px.setToolTip("Width of brush and eraser in pixels of the image: [ and ]")
        self.width_px.valueChanged.connect(self.width_changed.emit)
        self.holes = QPushButton("Fill holes")
        self.holes.setToolTip("H: of the mask worked on, else of the chosen objects")
        self.holes.clicked.connect(lambda _=False: self.fill.emit())
        self.hint = wrapped()
        row = QHBoxLayout()
        row.addWidget(QLabel("Width"))
        row.addWidget(self.width_px, 1)
        row.addWidget(self.holes)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(grid)
        column.addLayout(row)
        column.addWidget(self.hint)
        self.show_tool(None, FIRST_WIDTH_PX)

    def show_tool(self, tool: str | None, width_px: int) -> None:
        """Show which tool is in hand."""
        for name, button in self.buttons.items():
            button.setChecked(name == tool)
        self.width_px.blockSignals(True)
        self.width_px.setValue(width_px)
        self.width_px.blockSignals(False)
        tip = next((tip for known, _, tip in TOOLS if known == tool), "")
        self.hint.setVisible(bool(tip))
        self.hint.setText(f"{tip.partition(': ')[2].capitalize()}. {_PAN}" if tip else "")

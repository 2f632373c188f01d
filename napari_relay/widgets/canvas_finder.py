"""The main window and the canvas round a docked widget, found through Qt: napari has no public handle for them."""

from __future__ import annotations

from qtpy.QtWidgets import QMainWindow, QWidget

try:
    from qtpy.QtOpenGLWidgets import QOpenGLWidget  # Qt 6
except ImportError:
    from qtpy.QtWidgets import QOpenGLWidget


def main_window_of(widget: QWidget) -> QMainWindow | None:
    """The main window that the widget is docked in, also while its dock floats; None before it is docked."""
    parent = widget.parentWidget()
    while parent is not None and not isinstance(parent, QMainWindow):
        parent = parent.parentWidget()
    return parent


def canvases_of(window: QMainWindow) -> list[QWidget]:
    """The OpenGL widgets of a window, napari's canvas among them."""
    return list(window.findChildren(QOpenGLWidget))


def drop_targets_of(window: QMainWindow) -> list[QWidget]:
    """The widgets round the canvas that take dropped files."""
    found = []
    for canvas in canvases_of(window):
        widget: QWidget | None = canvas
        while widget is not None:
            if widget.acceptDrops():
                found.append(widget)
            widget = widget.parentWidget()
    return found

"""The program's window: splash, viewer, dock, image. What the command line calls.

The order is the point: nothing slow is imported before the splash shows, the window shows before the image is read,
and the worker process (which loads torch) starts when the window is already there.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from napari_relay.errors import ImageError, MissingExtraError, RelayError, UsageError

if TYPE_CHECKING:
    from napari_relay.widgets.dock import RelayWidget

log = logging.getLogger(__name__)

SIZE_PX = (1280, 860)
SWITCH_S = 0.0005
"""How long a thread may keep the others waiting for the interpreter. Python's own 5 ms are paid at every step of a
read or a transaction that meets another thread at work, and add up to frames that are not drawn."""
TITLE = "napari-relay"


def launch(
    path: str | os.PathLike[str] | None,
    *,
    project: str | os.PathLike[str] | None = None,
    checkpoint: str | None = None,
    recursive: bool = False,
) -> int:
    """Open the window, with an image if `path` names one, and run until it is closed.

    Parameters
    ----------
    path : image file, folder (Zarr) or address, or a folder of images; None for an empty window.
    project : project file, where it is not `<path>.relay`.
    checkpoint : a bundled checkpoint's name or a file; None takes the one used last.
    recursive : of a folder, take the folders below it along.

    Returns
    -------
    Exit code: 0.

    Raises
    ------
    ImageError, CheckpointError
        The path leads nowhere, or the checkpoint is none. All later errors are shown in the window.
    MissingExtraError
        napari or Qt is not installed.
    RelayError
        There is no screen.
    """
    _check(path, checkpoint)
    application = _application()
    splash = _splash()
    _remember_units()
    viewer, dock = open_window(project=project, checkpoint=checkpoint)
    _show(viewer)
    splash.finish(dock.window())
    if path is not None:
        dock.open_path(os.fspath(path), recursive=recursive)
    from napari import run

    run()
    del application
    return 0


def open_window(
    *, project: str | os.PathLike[str] | None = None, checkpoint: str | None = None
) -> tuple[Any, RelayWidget]:
    """A viewer with the dock in it, not shown yet."""
    from napari import Viewer

    from napari_relay.widgets.dock import RelayWidget
    from napari_relay.widgets.settings import WindowSettings

    sys.setswitchinterval(SWITCH_S)
    viewer = Viewer(title=TITLE, show=False)
    sys.excepthook = _report
    settings = WindowSettings.load()
    if checkpoint is not None:
        settings = settings.model_copy(update={"checkpoint": checkpoint})
    place = None if project is None else Path(project).expanduser().absolute()
    dock = RelayWidget(viewer, settings=settings, project=place)
    viewer.window.add_dock_widget(dock, name="Relay", area="right")
    # What there is now stays until the end. Looking through all of it for garbage would stop the window for 0.2 s.
    gc.freeze()
    return viewer, dock


def _remember_units() -> None:
    """Let pint, whose units napari gives its layers, keep what it parsed: 0.3 s of every start but the first."""
    import pint
    from platformdirs import user_cache_path

    if isinstance(pint.application_registry.get(), pint.registry.LazyRegistry):  # nobody has units of it yet
        with suppress(OSError):
            pint.set_application_registry(pint.UnitRegistry(cache_folder=user_cache_path("napari-relay") / "units"))


def _show(viewer: Any) -> None:
    from napari.settings import get_settings

    first_time = get_settings().application.window_size is None
    viewer.window.show()
    if first_time:  # later the window comes back as it was left
        viewer.window.resize(*SIZE_PX)


def _check(path: str | os.PathLike[str] | None, checkpoint: str | None) -> None:
    """What is wrong with the call is said before a window opens."""
    if path is not None and "://" not in (text := os.fspath(path)) and not Path(text).expanduser().exists():
        raise ImageError(f"There is no file {text}.", "Check the path.")
    if checkpoint is not None:
        from napari_relay.model.checkpoint import read_card

        read_card(checkpoint)
    if sys.platform.startswith("linux") and not any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    ):
        raise UsageError(
            "There is no screen to open a window on.",
            "Start it on a desktop, or work without a window: napari-relay segment --help.",
        )


def _application() -> Any:
    """The Qt application, made as napari makes it, but with our name."""
    try:
        from qtpy import PYQT5
        from qtpy.QtCore import Qt
        from qtpy.QtWidgets import QApplication
    except (ImportError, RuntimeError) as error:  # qtpy's own error without a binding is a RuntimeError
        raise MissingExtraError(
            f"The window needs napari and Qt: {error}.", "Install them: pip install 'napari-relay[desktop]'."
        ) from error
    existing = QApplication.instance()
    if existing is not None:
        return existing
    if PYQT5:
        QApplication.setAttribute(Qt.ApplicationAttribute.AA_EnableHighDpiScaling)
        QApplication.setAttribute(Qt.ApplicationAttribute.AA_UseHighDpiPixmaps)
    application = QApplication([TITLE])
    application.setApplicationName(TITLE)
    return application


def _splash() -> Any:
    """A small sign that something is coming, until the window is there."""
    from qtpy.QtCore import Qt
    from qtpy.QtGui import QColor, QFont, QPainter, QPixmap
    from qtpy.QtWidgets import QApplication, QSplashScreen

    pixmap = QPixmap(360, 120)
    pixmap.fill(QColor("#23242b"))
    painter = QPainter(pixmap)
    painter.setPen(QColor("#f0f1f2"))
    font = QFont()
    font.setPointSize(18)
    painter.setFont(font)
    painter.drawText(pixmap.rect(), Qt.AlignmentFlag.AlignCenter, TITLE)
    painter.end()
    splash = QSplashScreen(pixmap)
    splash.show()
    QApplication.processEvents()
    return splash


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Errors that nobody caught: into the log and, as a sentence, onto the screen. PyQt would abort otherwise."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    log.error("Unexpected error\n%s", "".join(traceback.format_exception(kind, error, trace)))
    from napari.utils.notifications import show_error

    show_error(str(error) if isinstance(error, RelayError) else f"Something failed: {kind.__name__}: {error}")

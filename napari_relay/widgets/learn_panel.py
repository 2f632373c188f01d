"""The panel of learning: one button, a curve while it runs, before and after when it is done."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from qtpy.QtCore import QPointF, QSize, Qt, QTimer
from qtpy.QtGui import QPainter, QPaintEvent, QPixmap, QPolygonF
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_relay.widgets.desk import Desk
from napari_relay.widgets.learn_work import LearnShown, LearnWork
from napari_relay.widgets.status_panel import wrapped
from napari_relay.widgets.threads import Runner

LOOK_MS = 500
ROWS = (
    ("Clicks to 85 %", "noc85", 1), ("Clicks to 90 %", "noc90", 1), ("IoU after one click", "miou1", 2),
    ("Classes right", "accuracy", 2),
)  # fmt: skip
IDLE = "Learn from the accepted objects, so that the next ones need fewer clicks. Fifty of them are a good start."


class LearnPanel(QWidget):
    """Shows a `LearnShown`; the buttons are wired by `LearnBinding`."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.learn = _button("Learn", IDLE)
        self.longer = QCheckBox("Train longer (20 min)")
        self.longer.setToolTip("The encoder adapts too: for images that the model knows little of")
        self.pause = _button("Pause", "Let it wait; it goes on where it stopped")
        self.cancel = _button("Cancel", "Give it up; nothing changes")
        self.promote = _button("Promote anyway", "Use what was learned although it is not better")
        self.back = _button("Roll back", "Take back what was learned last; weights and classes of one job together")
        self.words, self.result, self.message = wrapped(), wrapped(), wrapped()
        self.bar, self.curve, self.gallery = QProgressBar(), Curve(), Gallery()
        self.bar.setRange(0, 1000)
        self.bar.setTextVisible(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for item in (
            self.learn, self.longer, self.words, self.bar, self.curve, _row(self.pause, self.cancel), self.message,
            self.result, self.gallery, _row(self.promote, self.back),
        ):  # fmt: skip
            layout.addWidget(item)
        self.show_state(LearnShown(), has_image=False)

    def show_state(self, shown: LearnShown, *, has_image: bool = True) -> None:
        """Fill the panel."""
        result = shown.result
        self.learn.setEnabled(has_image and not shown.running)
        self.learn.setText("Go on learning" if shown.status == "interrupted" else "Learn")
        self.longer.setVisible(has_image and not shown.running)
        for widget in (self.words, self.bar, self.curve, self.pause, self.cancel):
            widget.setVisible(shown.running)
        self.words.setText(f"{shown.words}. {time_left(shown.left_s)}".strip(" ."))
        self.bar.setValue(round(1000 * shown.share))
        self.curve.show_points(shown.curve)
        self.pause.setText("Go on" if shown.status == "paused" else "Pause")
        self.message.setText(html.escape(shown.message))
        self.message.setVisible(bool(shown.message))
        done = result is not None and not shown.running and result.status == "done"
        self.result.setText(summary(shown) if done else "")
        self.result.setVisible(done)
        self.gallery.show_pictures(result.gallery if done and result is not None else ())
        anyway = done and not shown.promoted and result is not None and result.anyway is not None
        self.promote.setVisible(anyway)
        self.back.setVisible((bool(shown.current) or shown.classes) and not shown.running)


class Curve(QWidget):
    """IoU of the simulated clicks over the steps of the part that runs."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.points: tuple[tuple[int, float], ...] = ()
        self.setToolTip("IoU of the masks while it learns")

    def sizeHint(self) -> QSize:
        return QSize(160, 56)

    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

    def show_points(self, points: Sequence[tuple[int, float]]) -> None:
        self.points = tuple(points)
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(self.palette().mid().color())
        painter.drawRect(0, 0, self.width() - 1, self.height() - 1)
        if len(self.points) >= 2:
            last = self.points[-1][0]
            low, high = min(v for _, v in self.points) - 0.02, max(v for _, v in self.points) + 0.02
            painter.setPen(self.palette().highlight().color())
            painter.drawPolyline(
                QPolygonF([
                    QPointF(step / last * self.width(), (high - value) / (high - low) * self.height())
                    for step, value in self.points
                ])
            )  # fmt: skip
        painter.end()


class Gallery(QWidget):
    """Pictures of the objects that changed most, one at a time: before on the left, after on the right."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.paths: tuple[Path, ...] = ()
        self.at = 0
        self.picture, self.caption = QLabel(), wrapped()
        self.before, self.after = _button("<", "The one before"), _button(">", "The next one")
        self.before.clicked.connect(lambda: self._turn(-1))
        self.after.clicked.connect(lambda: self._turn(1))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.picture)
        layout.addWidget(self.caption)
        layout.addWidget(_row(self.before, self.after))

    def show_pictures(self, paths: Sequence[Path]) -> None:
        """Show the first of them; nothing where there is none."""
        if tuple(paths) != self.paths:
            self.paths, self.at = tuple(paths), 0
            self._turn(0)
        self.setVisible(bool(self.paths))

    def _turn(self, by: int) -> None:
        if not self.paths:
            return
        self.at = (self.at + by) % len(self.paths)
        pixels = QPixmap(str(self.paths[self.at]))
        self.picture.setPixmap(pixels.scaledToWidth(240, Qt.TransformationMode.SmoothTransformation))
        self.caption.setText(html.escape(_caption(self.paths[self.at], self.at + 1, len(self.paths))))


class LearnBinding:
    """Gives the panel a `LearnWork` on whatever image is open. Who makes it closes it; jobs go on.

    Parameters
    ----------
    fallback : see `LearnWork`.
    in_use : told the file of the learned checkpoint that the open image's project names, "" for none, when it changes.
    """

    def __init__(
        self,
        desk: Desk,
        panel: LearnPanel,
        make_runner: Callable[[], Runner],
        fallback: Callable[[], str | None] = lambda: None,
        in_use: Callable[[str], None] = lambda file: None,
    ) -> None:
        self._desk, self._panel, self._make_runner = desk, panel, make_runner
        self._fallback, self._in_use = fallback, in_use
        self._told = ""
        self.work: LearnWork | None = None
        self._timer = QTimer(panel)
        self._timer.setInterval(LOOK_MS)
        self._timer.timeout.connect(self._look)
        panel.learn.clicked.connect(lambda: self._with(lambda work: work.start(deep=panel.longer.isChecked())))
        panel.pause.clicked.connect(lambda: self._with(lambda work: work.pause()))
        panel.cancel.clicked.connect(lambda: self._with(lambda work: work.cancel()))
        panel.promote.clicked.connect(lambda: self._with(lambda work: work.promote_anyway()))
        panel.back.clicked.connect(lambda: self._with(lambda work: work.roll_back()))
        desk.changed.connect(self._changed)

    def close(self) -> None:
        """A second call does nothing."""
        self._timer.stop()
        self._desk.changed.disconnect(self._changed, missing_ok=True)
        self._leave()

    def _changed(self, shown: object = None) -> None:
        controller = self._desk.controller
        workspace = None if controller is None else controller.workspace
        if workspace is (self.work.workspace if self.work is not None else None):
            return
        self._leave()
        if workspace is not None:
            self.work = LearnWork(workspace, self._make_runner(), self._fallback)
            self.work.changed.connect(self._show)
            self._show(self.work.shown)
        else:
            self._panel.show_state(LearnShown(), has_image=False)
            self._tell("")

    def _leave(self) -> None:
        if self.work is not None:
            self.work.changed.disconnect(self._show)
            self.work.close()
            self.work = None

    def _show(self, shown: LearnShown) -> None:
        self._panel.show_state(shown)
        self._tell(shown.current)
        if shown.running and not self._timer.isActive():
            self._timer.start()
        elif not shown.running:
            self._timer.stop()

    def _tell(self, current: str) -> None:
        if current != self._told:
            self._told = current
            self._in_use(current)

    def _look(self) -> None:
        self._with(lambda work: work.look())

    def _with(self, act: Callable[[LearnWork], None]) -> None:
        if self.work is not None:
            act(self.work)


def summary(shown: LearnShown) -> str:
    """Before and after as rich text."""
    result = shown.result
    assert result is not None
    rows = []
    for head in result.heads.values():
        for label, key, digits in ROWS:
            if key in head:
                before, after = (f"{head[key][when]:.{digits}f}" for when in ("before", "after"))
                numbers = f"<td align=right>&nbsp;{before}</td><td>&nbsp;&rarr; {after}</td>"
                rows.append(f"<tr><td>{label}</td>{numbers}</tr>")
    verdict = "In use now." if shown.promoted else "Not promoted."
    if "class" in result.heads:
        verdict += " Classes: in use now." if result.class_heads and shown.classes else " Classes: not promoted."
    return f"<table>{''.join(rows)}</table>{html.escape(result.reason)} <b>{verdict}</b>"


def time_left(seconds: float | None) -> str:
    """Words for a duration; "" where it is not known."""
    if seconds is None:
        return ""
    return f"About {seconds / 60:.0f} min left" if seconds >= 90 else f"About {max(1, round(seconds))} s left"


def _caption(path: Path, number: int, count: int) -> str:
    words = path.stem.split("_")
    return f"{number} of {count}: {words[-3]} clicks before, {words[-1]} after (left before, right after one click)"


def _button(text: str, tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    return button


def _row(*widgets: QWidget) -> QWidget:
    row: Any = QWidget()
    layout = QHBoxLayout(row)
    layout.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        layout.addWidget(widget)
    return row  # type: ignore[no-any-return]

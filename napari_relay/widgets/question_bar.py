"""Questions and long jobs in the dock, without a window in the way."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QFrame, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_relay.widgets.opening import Choice, Question
from napari_relay.widgets.status_panel import wrapped


class QuestionBar(QFrame):
    """Shows one Question at a time; hidden without one."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self._text = wrapped()
        self._buttons: list[QPushButton] = []
        self._layout = QVBoxLayout(self)
        self._layout.addWidget(self._text)
        self.hide()

    def ask(self, question: Question | None) -> None:
        """Show a question; None takes it away."""
        for button in self._buttons:
            button.setParent(None)
            button.deleteLater()
        self._buttons.clear()
        if question is None:
            self.hide()
            return
        self._text.setText(question.text)
        for index, choice in enumerate(question.choices):
            button = QPushButton(choice.label)
            button.setDefault(index == 0)
            button.clicked.connect(lambda _=False, choice=choice: self._chosen(choice))
            self._layout.addWidget(button)
            self._buttons.append(button)
        self.show()

    def _chosen(self, choice: Choice) -> None:
        if not choice.file:
            choice.act(None)
            return
        name, _ = QFileDialog.getSaveFileName(self, "Project file", "", "napari-relay project (*.relay)")
        if name:
            path = Path(name)
            choice.act(path if path.suffix else path.with_suffix(".relay"))


class ProgressBar(QFrame):
    """A long job: what it does, how far it is, and a button that ends it."""

    cancelled = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.text = wrapped()
        self.bar = QProgressBar()
        self.bar.setRange(0, 1000)
        self.button = QPushButton("Stop, and open it as it is")
        self.button.clicked.connect(self._cancel)
        layout = QVBoxLayout(self)
        for widget in (self.text, self.bar, self.button):
            layout.addWidget(widget)
        self.hide()

    def show_progress(self, progress: tuple[str, float] | None) -> None:
        """(text, fraction); None takes the bar away."""
        if progress is None:
            self.hide()
            return
        self.button.setEnabled(True)
        self.text.setText(progress[0])
        self.bar.setValue(round(1000 * progress[1]))
        self.show()

    def _cancel(self) -> None:
        self.button.setEnabled(False)
        self.cancelled.emit()

"""What becomes of pixels that belong to other objects: the rule, and what it would do to the mask that is shown."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QWidget

from napari_relay.store import Overlap, Settled
from napari_relay.widgets.controller import ClickController
from napari_relay.widgets.threads import Runner
from napari_relay.widgets.wording import plural

WORDS = {
    Overlap.KEEP: "Existing objects keep their pixels",
    Overlap.REPLACE: "The new mask takes pixels from others",
    Overlap.ALLOW: "Objects may overlap",
}


class OverlapBar(QWidget):
    """Shows and sets the rule of a project.

    Parameters
    ----------
    controller : of the open image.
    runner : reads the project in the background.
    """

    def __init__(self, controller: ClickController, runner: Runner) -> None:
        super().__init__()
        self._controller, self._runner = controller, runner
        self._project = controller.workspace.project
        self._proposal: Any = None
        self.rule = QComboBox()
        for rule, words in WORDS.items():
            self.rule.addItem(words, rule.value)
        self.effect = QLabel()
        row = QHBoxLayout(self)
        row.setContentsMargins(4, 0, 4, 0)
        row.addWidget(self.rule)
        row.addWidget(self.effect, 1)
        self.rule.activated.connect(lambda _: self._choose())
        runner.submit(lambda: self._project.overlap, self._show_rule)

    def add(self, widget: QWidget) -> None:
        """Put something else at the end of the row."""
        row = self.layout()
        assert row is not None
        row.addWidget(widget)

    def look(self) -> None:
        """The mask that is shown may be another one: say what the rule would do to it."""
        draft = self._controller.draft
        proposal = draft.proposal
        if proposal is self._proposal:
            return
        self._proposal = proposal
        if proposal is None or proposal.empty:
            self.effect.clear()
            return
        own_id = draft.session.object_id or 0
        self._runner.submit(
            lambda: self._project.settle(proposal.box, proposal.mask, plane=draft.plane, own_id=own_id),
            lambda settled: self._show_effect(proposal, settled),
        )

    def _choose(self) -> None:
        rule, project = self.rule.currentData(), self._project

        def again() -> None:
            self._proposal = None
            self.look()

        def choose() -> None:
            project.overlap = rule

        self._controller.do(choose)
        # Read by another thread than the one that writes: asked after it.
        self._controller.do(lambda: self._runner.post(again))

    def _show_rule(self, rule: Overlap) -> None:
        self.rule.setCurrentIndex(self.rule.findData(rule.value))

    def _show_effect(self, proposal: Any, settled: Settled) -> None:
        if proposal is self._proposal:
            self.effect.setText(effect_words(settled))


def effect_words(settled: Settled) -> str:
    """What accepting would do; empty where the mask is alone."""
    if settled.box.empty:
        return "Nothing of this mask would be left: every pixel belongs to other objects."
    said = []
    if settled.lost:
        said.append(f"{plural(settled.lost, 'pixel')} of this mask stay with other objects.")
    if settled.taken:
        taken = sum(settled.taken.values())
        said.append(f"This mask takes {plural(taken, 'pixel')} from {plural(len(settled.taken), 'object')}.")
    return " ".join(said)

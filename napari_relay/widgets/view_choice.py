"""Chooses what the colours of the objects tell apart: classes, single objects, or both."""

from __future__ import annotations

from qtpy.QtWidgets import QComboBox

from napari_relay.widgets.desk import Desk
from napari_relay.widgets.objects import ObjectView

WORDS = {
    ObjectView.BOTH: "Colour by class, shaded by object",
    ObjectView.CLASSES: "Colour by class",
    ObjectView.INSTANCES: "A colour for each object",
}


class ViewChoice(QComboBox):
    """Shows and sets the view of a desk."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        for view, words in WORDS.items():
            self.addItem(words, view.value)
        self.setCurrentIndex(list(WORDS).index(desk.object_view))
        self.activated.connect(lambda _: desk.set_object_view(ObjectView(self.currentData())))

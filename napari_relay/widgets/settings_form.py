"""The settings as a small magicgui form."""

from __future__ import annotations

from magicgui.widgets import CheckBox, ComboBox, Container, SpinBox
from psygnal import Signal

from napari_relay.widgets.settings import WindowSettings

DEVICES = {"Automatic": "auto", "CPU": "cpu", "NVIDIA GPU": "cuda", "Apple GPU": "mps"}


class SettingsForm:
    """Shows WindowSettings and emits new ones at each change. `native` is the Qt widget."""

    changed = Signal(WindowSettings)

    def __init__(self, settings: WindowSettings) -> None:
        self.settings = settings
        self.device = ComboBox(label="Device", choices=list(DEVICES.items()), value=settings.device)
        self.threads = SpinBox(label="Threads", value=settings.threads, min=0, max=256)
        self.threads.tooltip = "Processor threads of the model; 0: one for each core."
        self.cache_mb = SpinBox(label="Cache (MB)", value=settings.cache_mb, min=64, max=65536, step=64)
        self.cache_mb.tooltip = "Memory for places already looked at; a further click there is fast."
        self.prefetch = CheckBox(text="Prepare under the mouse", value=settings.prefetch)
        self.prefetch.tooltip = "Looks ahead at the place where the mouse rests, so that a click there is fast."
        self.show_views = CheckBox(text="Show the model's views", value=settings.show_views)
        self.show_views.tooltip = "Thin frames round the two views that the model sees: near and wide."
        # The container is kept, not only its Qt widget: magicgui needs it alive.
        self.container = Container(
            widgets=[self.device, self.threads, self.cache_mb, self.prefetch, self.show_views], labels=True
        )
        self.container.margins = (0, 0, 0, 0)
        self.container.changed.connect(self._edited)
        self.native = self.container.native

    def _edited(self) -> None:
        new = self.settings.model_copy(
            update={
                "device": self.device.value,
                "threads": self.threads.value,
                "cache_mb": self.cache_mb.value,
                "prefetch": self.prefetch.value,
                "show_views": self.show_views.value,
            }
        )
        if new != self.settings:
            self.settings = new
            self.changed.emit(new)

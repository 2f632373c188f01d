"""The network: encoder with relay tokens, and the head that turns clicks into masks. Tensors in, tensors out.

It knows nothing of images on disk, of level-0 pixels or of the user. Read `network.py` first. `checkpoint.py` can be
imported without torch (cards only); everything else here needs it, so names are loaded lazily.
"""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "Card": "napari_relay.model.checkpoint",
    "ClickModel": "napari_relay.model.network",
    "ModelConfig": "napari_relay.model.config",
    "list_bundled": "napari_relay.model.checkpoint",
    "load_checkpoint": "napari_relay.model.checkpoint",
    "read_card": "napari_relay.model.checkpoint",
    "save_checkpoint": "napari_relay.model.checkpoint",
}

__all__ = ["Card", "ClickModel", "ModelConfig", "list_bundled", "load_checkpoint", "read_card", "save_checkpoint"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'napari_relay.model' has no attribute {name!r}")

"""napari-relay: click an object in an image of any size, see its mask, correct it, accept it.

Public names are loaded lazily, so that `import napari_relay` loads neither torch nor Qt.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Box": "napari_relay.geometry",
    "Click": "napari_relay.geometry",
    "Plane": "napari_relay.geometry",
    "RelayError": "napari_relay.errors",
    "Workspace": "napari_relay.workspace",
    "load_predictor": "napari_relay.predictor",
    "open_image": "napari_relay.sources",
    "open_workspace": "napari_relay.workspace",
}

__all__ = [
    "Box",
    "Click",
    "Plane",
    "RelayError",
    "Workspace",
    "__version__",
    "load_predictor",
    "open_image",
    "open_workspace",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'napari_relay' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

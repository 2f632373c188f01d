"""The one place that puts rooms together: source + project + label pyramid + predictor behind an engine + sessions.

It must not know Qt, and imports the predictor only inside the service, in the thread or process that computes.
Read `opening.py` first, then `predicts.py`. The names are loaded lazily: the worker process loads this package to
find `make_service`, and needs neither images nor projects.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_relay.workspace.opening import open_workspace
    from napari_relay.workspace.predicts import EnginePredicts
    from napari_relay.workspace.service import PredictorService, make_service
    from napari_relay.workspace.workspace import Workspace

_PUBLIC = {
    "EnginePredicts": "napari_relay.workspace.predicts",
    "PredictorService": "napari_relay.workspace.service",
    "Workspace": "napari_relay.workspace.workspace",
    "make_service": "napari_relay.workspace.service",
    "open_workspace": "napari_relay.workspace.opening",
}

__all__ = ["EnginePredicts", "PredictorService", "Workspace", "make_service", "open_workspace"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

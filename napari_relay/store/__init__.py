"""The store: accepted objects with their whole history in one SQLite file, and the label pyramid rendered from it.

It must not know how a mask came about, nor anything of napari or torch. Read `project.py` first, then `schema.py`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from napari_relay.store.backup import restore_backup
from napari_relay.store.check import Damage
from napari_relay.store.dirty import DirtyTile, Journal
from napari_relay.store.mask_cleaning import CleaningRules
from napari_relay.store.overlap import Settled
from napari_relay.store.project import Project
from napari_relay.store.proposing import Answers, Taken
from napari_relay.store.query import ObjectFilter, Order
from napari_relay.store.reader import ProjectReader
from napari_relay.store.values import (
    Action,
    Actor,
    Change,
    ClassInfo,
    ClassSpec,
    Imported,
    NewObject,
    ObjectState,
    Overlap,
    StoredObject,
)

if TYPE_CHECKING:
    from napari_relay.store.image_labels import place_labels
    from napari_relay.store.pyramid import LabelPyramid
    from napari_relay.store.pyramid_opening import open_pyramid
    from napari_relay.store.splitting import parts_by_line
    from napari_relay.store.writer import PyramidWriter

# zarr takes longer to import than everything else here; a project alone does not need it.
_LAZY = {
    "parts_by_line": "napari_relay.store.splitting",
    "place_labels": "napari_relay.store.image_labels",
    "LabelPyramid": "napari_relay.store.pyramid",
    "PyramidWriter": "napari_relay.store.writer",
    "open_pyramid": "napari_relay.store.pyramid_opening",
}

__all__ = [
    "Action",
    "Actor",
    "Answers",
    "Change",
    "ClassInfo",
    "ClassSpec",
    "CleaningRules",
    "Damage",
    "DirtyTile",
    "Imported",
    "Journal",
    "LabelPyramid",
    "NewObject",
    "ObjectFilter",
    "ObjectState",
    "Order",
    "Overlap",
    "Project",
    "ProjectReader",
    "PyramidWriter",
    "Settled",
    "StoredObject",
    "Taken",
    "open_pyramid",
    "parts_by_line",
    "place_labels",
    "restore_backup",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = getattr(importlib.import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

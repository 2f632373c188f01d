"""The store: accepted objects with their whole history in one SQLite file, and the label pyramid rendered from it.

It must not know how a mask came about, nor anything of napari or torch. Read `project.py` first, then `schema.py`.
"""

from napari_relay.store.backup import restore_backup
from napari_relay.store.check import Damage
from napari_relay.store.dirty import DirtyTile, Journal
from napari_relay.store.open_pyramid import open_pyramid
from napari_relay.store.project import Project
from napari_relay.store.pyramid import LabelPyramid
from napari_relay.store.reader import ProjectReader
from napari_relay.store.values import Action, Change, ClassInfo, StoredObject
from napari_relay.store.writer import PyramidWriter

__all__ = [
    "Action",
    "Change",
    "ClassInfo",
    "Damage",
    "DirtyTile",
    "Journal",
    "LabelPyramid",
    "Project",
    "ProjectReader",
    "PyramidWriter",
    "StoredObject",
    "open_pyramid",
    "restore_backup",
]

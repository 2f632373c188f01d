"""Exports and imports, one file a format; what is exported is read back and compared before it takes its name.

This room must not know windows, models or sessions: it streams from a project, tile by tile, and never holds an array
of the image's size. Read `export.py` and `importing.py` first, then `registry.py`.
"""

from napari_relay.formats.arrays import objects_of_labels, objects_of_polygons
from napari_relay.formats.export import ExportReport, export, known_losses
from napari_relay.formats.importing import ImportReport, import_file, recognise
from napari_relay.formats.job import Georeference
from napari_relay.formats.measurements import export_measurements
from napari_relay.formats.measuring import Measure
from napari_relay.formats.registry import FORMATS, Format
from napari_relay.formats.training_set import export_training_set

__all__ = [
    "FORMATS",
    "ExportReport",
    "Format",
    "Georeference",
    "ImportReport",
    "Measure",
    "export",
    "export_measurements",
    "export_training_set",
    "import_file",
    "known_losses",
    "objects_of_labels",
    "objects_of_polygons",
    "recognise",
]

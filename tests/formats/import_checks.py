"""How an import is driven, and small files of the formats of others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from format_checks import finish

from napari_relay.formats import ImportReport, import_file
from napari_relay.geometry import Box
from napari_relay.store import Project


def run(project: Project, path: Path, **settings: Any) -> ImportReport:
    report = finish(import_file(project, path, **settings))
    assert isinstance(report, ImportReport)
    return report


def visible(project: Project) -> list[bytes]:
    """The pixels of each object that shows, in any order."""
    labels = project.labels(Box(0, 0, *project.shape))
    return sorted(np.packbits(labels == i).tobytes() for i in np.unique(labels) if i)


def write_json(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


SQUARE = [[10, 10], [15, 10], [15, 14], [10, 14]]
COCO: dict[str, Any] = {
    "images": [{"id": 1, "file_name": "sub/image.tif", "height": 40, "width": 50}],
    "categories": [{"id": 7, "name": "cell"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 7, "segmentation": [[10.0, 10.0, 15.0, 10.0, 15.0, 14.0, 10.0, 14.0]]}
    ],
}


def coco(**changes: Any) -> dict[str, Any]:
    """The small file above with its one annotation changed."""
    return {**COCO, "annotations": [{**COCO["annotations"][0], **changes}]}

"""The certificate of an export: what was written, what was read back, and that both are equal."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_relay.store.actions import PROGRAM
from napari_relay.store.provenance import now

if TYPE_CHECKING:
    from napari_relay.formats.export import ExportReport
    from napari_relay.formats.job import ExportJob

SUFFIX = ".certificate.json"
_BLOCK = 1 << 20


@dataclass(slots=True)
class Tally:
    """What one or several written files hold; every number was read back and found equal.

    `parts` and `holes` are counted where a format has shapes, `tiles` where it has pixels.
    """

    files: int = 0
    records: int = 0
    parts: int = 0
    holes: int = 0
    tiles: int = 0
    ids: set[int] = field(default_factory=set)
    hidden: set[int] = field(default_factory=set)
    classes: Counter[str] = field(default_factory=Counter)
    georeferenced: bool = False

    def add(self, other: Tally) -> None:
        self.files += other.files
        self.records += other.records
        self.parts += other.parts
        self.holes += other.holes
        self.tiles += other.tiles
        self.ids |= other.ids
        self.hidden |= other.hidden
        self.classes += other.classes
        self.georeferenced |= other.georeferenced


def certificate_path(path: Path) -> Path:
    """Where the certificate of an export lies."""
    return path.with_name(path.name + SUFFIX)


def certificate(job: ExportJob, report: ExportReport, tally: Tally, kept: Iterable[str], written: Path) -> bytes:
    """The certificate of what was written to `written` and will be `report.path`, as JSON."""
    box, project = job.region, job.project
    held = sorted(kept)
    content: dict[str, Any] = {
        "verdict": "equal to the project",
        "file": report.path.name,
        "format": report.format,
        "created": now(),
        "program": PROGRAM,
        "project": {"id": project.id, "image": project.image_name, "fingerprint": project.fingerprint},
        "region": {"y0": box.y0, "x0": box.x0, "y1": box.y1, "x1": box.x1},
        "planes": {"t": list(job.planes[0]), "z": list(job.planes[1])},
        "compared": {
            "objects": len(tally.ids),
            "ids": "equal" if "id" in held else "not in this format",
            "classes": dict(sorted(tally.classes.items())) if "class_name" in held else "not in this format",
            "facts": held,
            "lowest_iou": 1.0,
            **_geometry(tally),
        },
        "hidden": sorted(tally.hidden),
        "losses": list(report.losses),
        "files": _sums(written),
    }
    if job.georeference is not None and tally.georeferenced:
        content["compared"] |= {"crs": job.georeference.crs, "affine": list(job.georeference.affine)}
    return json.dumps(content, indent=2, ensure_ascii=False).encode()


def _geometry(tally: Tally) -> dict[str, int]:
    if tally.tiles:
        return {"tiles": tally.tiles}
    return {"records": tally.records, "parts": tally.parts, "holes": tally.holes}


def _sums(path: Path) -> dict[str, Any]:
    """Number, bytes and, of a single file, SHA-256."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    found: dict[str, Any] = {"count": len(files), "bytes": sum(os.path.getsize(file) for file in files)}
    if path.is_file():
        digest = hashlib.sha256()
        with path.open("rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
        found["sha256"] = digest.hexdigest()
    return found

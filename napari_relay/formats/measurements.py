"""A table of measurements: one row an object, as CSV, for spreadsheets, R and pandas."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from napari_relay.errors import ExportError
from napari_relay.formats.certificate import certificate_path
from napari_relay.formats.export import ExportReport
from napari_relay.formats.measuring import Measure
from napari_relay.formats.placing import check_path, put_certificate, put_in_place, written_aside
from napari_relay.geometry import Box, Plane
from napari_relay.sources.pyramid import Progress
from napari_relay.store import Project, ProjectReader, StoredObject
from napari_relay.store.actions import PROGRAM
from napari_relay.store.provenance import now

NAME = "csv"
SUFFIX = ".csv"
LOSSES = ("A table has no outlines: it cannot be imported again.",)
_COLUMNS = ("Object", "Class", "State", "t", "z", "Centroid y px", "Centroid x px", "Area px", "Clicks", "Seconds",
            "Score", "Author", "Created", "Checkpoint", "Note")  # fmt: skip


def export_measurements(
    project: Project,
    path: str | Path,
    measure: Measure,
    *,
    region: Box | None = None,
    plane: Plane | None = None,
    overwrite: bool = False,
) -> Generator[Progress, None, ExportReport]:
    """Write a row of facts and measurements for each object; numbers, classes and areas are read back and compared.

    Parameters
    ----------
    project : Project
    path : str or Path
        The file to make.
    measure : Measure
        Units, and the image for intensities.
    region, plane : Box, Plane
        Only objects whose box meets the region, on that plane.
    overwrite : bool
        Replace what lies at `path`.

    Raises
    ------
    ExportError
        Something lies at `path`, or the file was not written correctly.
    StorageError, ImageError
    """
    path = Path(path)
    check_path(path, overwrite=overwrite)
    with written_aside(path) as partial:
        with closing(project.snapshot()) as snapshot:
            wanted = snapshot.shown_ids(region, plane)
            for count, _ in enumerate(_write(snapshot, partial, wanted, measure), start=1):
                yield Progress(count, len(wanted))
            classes = _compare(snapshot, partial, wanted, path)
            report = ExportReport(
                path, NAME, snapshot.shape, "", len(wanted), (), LOSSES, 1, certificate_path(path)
            )
            proof = _certificate(snapshot, report, classes, measure)
        put_in_place(partial, path)
        put_certificate(certificate_path(path), proof)
    return report


def _write(project: ProjectReader, path: Path, ids: list[int], measure: Measure) -> Iterator[None]:
    names = measure.names()
    # With the mark that spreadsheets need to know UTF-8 by.
    with path.open("w", newline="", encoding="utf-8-sig") as stream:
        writer = csv.writer(stream)
        writer.writerow([*_COLUMNS, *names])
        for item in _objects(project, ids):
            found = measure.of(item)
            writer.writerow([*_facts(item), *(_number(found.get(name)) for name in names)])
            yield


def _objects(project: ProjectReader, ids: list[int]) -> Iterator[StoredObject]:
    for start in range(0, len(ids), 500):
        yield from project.rows(ids[start : start + 500])


def _facts(item: StoredObject) -> list[Any]:
    y, x = _centroid(item)
    return [item.id, _plain(item.class_name), item.state, item.plane.t, item.plane.z, f"{y:.3f}", f"{x:.3f}", item.area,
            item.n_clicks, _number(item.seconds), _number(item.score), _plain(item.author), item.created,
            item.checkpoint or "", _plain(item.note)]  # fmt: skip


def _centroid(item: StoredObject) -> tuple[float, float]:
    """The mean place of an object's pixels, read in bands so that a large one costs no more memory."""
    total = y_sum = x_sum = 0.0
    band = max(1, (1 << 24) // item.box.width)
    for y0 in range(item.box.y0, item.box.y1, band):
        part = Box(y0, item.box.x0, min(y0 + band, item.box.y1), item.box.x1)
        mask = item.mask_in(part)
        rows, columns = mask.sum(axis=1), mask.sum(axis=0)
        total += float(rows.sum())
        y_sum += float((rows * range(part.y0, part.y1)).sum())
        x_sum += float((columns * range(part.x0, part.x1)).sum())
    return y_sum / total, x_sum / total


def _plain(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.7g}"


def _compare(project: ProjectReader, path: Path, ids: list[int], name: Path) -> Counter[str]:
    """Read the file back: as many rows, the same numbers, classes and areas.

    Raises
    ------
    ExportError
    """
    classes: Counter[str] = Counter()
    with path.open(newline="", encoding="utf-8-sig") as stream:
        rows = csv.DictReader(stream)
        for item in _objects(project, ids):
            row = next(rows, None)
            if row is None or (row["Object"], row["Class"], row["Area px"]) != (
                str(item.id), _plain(item.class_name), str(item.area)
            ):  # fmt: skip
                raise ExportError(f"{name} was not written correctly at object {item.id}.", "Check the disk.")
            classes[item.class_name] += 1
        if next(rows, None) is not None:
            raise ExportError(f"{name} was not written correctly: it has too many rows.", "Check the disk.")
    return classes


def _certificate(project: ProjectReader, report: ExportReport, classes: Counter[str], measure: Measure) -> bytes:
    content = {
        "verdict": "equal to the project", "file": report.path.name, "format": NAME, "created": now(),
        "program": PROGRAM, "unit": measure.scale.unit, "pixel": list(measure.scale.size),
        "project": {"id": project.id, "image": project.image_name, "fingerprint": project.fingerprint},
        "compared": {"objects": report.n_objects, "classes": dict(sorted(classes.items())), "areas": "equal"},
        "losses": list(report.losses), "files": {"count": 1},
    }  # fmt: skip
    return json.dumps(content, indent=2, ensure_ascii=False).encode()

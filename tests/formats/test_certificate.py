"""The certificate catches whatever an exporter gets wrong, and then there is no export."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from format_checks import fill, finish

from napari_relay.errors import ExportError
from napari_relay.formats import FORMATS, export
from napari_relay.formats import export as export_function
from napari_relay.formats import runs as runs_
from napari_relay.formats.facts import Facts
from napari_relay.formats.outlines import Polygon, trace
from napari_relay.formats.records import Record
from napari_relay.formats.registry import LabelFormat, RecordFormat
from napari_relay.geometry import Box, Plane
from napari_relay.store import Project
from napari_relay.store.values import ObjectState

RECORDS = [name for name, entry in FORMATS.items() if isinstance(entry, RecordFormat) and not entry.geo]
LABELS = [name for name, entry in FORMATS.items() if isinstance(entry, LabelFormat) and not entry.geo]

Records = Iterator[Record]


def with_runs(record: Record, runs: np.ndarray) -> Record:
    return replace(record, runs=runs, polygons=tuple(trace(runs)))


def lose_one(records: Records) -> Records:
    return (record for index, record in enumerate(records) if index != 3)


def lose_the_last(records: Records) -> Records:
    return iter(list(records)[:-1])


def write_one_twice(records: Records) -> Records:
    for index, record in enumerate(records):
        yield record
        if index == 2:
            yield record


def exchange_two(records: Records) -> Records:
    first, second, *rest = records
    return iter([second, first, *rest])


def each(change: Callable[[Record], Record]) -> Callable[[Records], Records]:
    return lambda records: map(change, records)


def shift_half_a_pixel_down(record: Record) -> Record:
    return with_runs(record, runs_.shift(record.runs, 1, 0)) if record.facts.id == 1 else record


def lose_a_pixel(record: Record) -> Record:
    runs = record.runs.copy()
    if record.facts.id == 1:
        runs[len(runs) // 2, 2] -= 1
    return with_runs(record, runs)


def exchange_axes(record: Record) -> Record:
    box = runs_.box_of(record.runs)
    mask = runs_.to_mask(record.runs, box)
    return with_runs(record, runs_.from_mask(mask.T.copy(), box.y0, box.x0))


def fill_holes(record: Record) -> Record:
    polygons = tuple(Polygon(part.shell) for part in record.polygons)
    from napari_relay.formats.outlines import fill as fill_outlines

    return with_runs(record, fill_outlines(polygons, Box(0, 0, 5000, 5000)))


def keep_the_largest_part(record: Record) -> Record:
    from napari_relay.formats.outlines import fill as fill_outlines

    largest = max(record.polygons, key=lambda part: len(part.shell))
    return with_runs(record, fill_outlines([largest], Box(0, 0, 5000, 5000)))


def close_gaps_to_the_neighbour(record: Record) -> Record:
    box = runs_.box_of(record.runs).grow(1).clip(record.frame.box.shape)
    mask = runs_.to_mask(record.runs, box)
    return with_runs(record, runs_.from_mask(mask | np.roll(mask, 1, axis=1), box.y0, box.x0))


def change(**facts: object) -> Callable[[Record], Record]:
    return lambda record: replace(record, facts=replace(record.facts, **facts))


def other_plane(record: Record) -> Record:
    return replace(record, frame=replace(record.frame, plane=Plane(0, 1)))


MUTATIONS: dict[str, tuple[Callable[[Records], Records], str]] = {
    "one object lost": (lose_one, "class_name"),
    "the last object lost": (lose_the_last, "class_name"),
    "an object twice": (write_one_twice, "class_name"),
    "two exchanged": (exchange_two, "class_name"),
    "moved by a pixel": (each(shift_half_a_pixel_down), "class_name"),
    "a pixel lost": (each(lose_a_pixel), "class_name"),
    "x for y": (each(exchange_axes), "class_name"),
    "holes filled": (each(fill_holes), "class_name"),
    "small parts lost": (each(keep_the_largest_part), "class_name"),
    "grown into the neighbour": (each(close_gaps_to_the_neighbour), "class_name"),
    "another class": (each(change(class_name="dot")), "class_name"),
    "another number": (each(change(id=4)), "id"),
    "score lost": (each(change(score=None)), "score"),
    "state lost": (each(change(state=ObjectState.REVIEWED)), "state"),
    "note changed": (each(change(note="?")), "note"),
    "author changed": (each(change(author="?")), "author"),
    "date changed": (each(change(created="2001")), "created"),
}


KEPT = [
    (format, mutation)
    for mutation, (_, fact) in MUTATIONS.items()
    for format in RECORDS
    if fact in FORMATS[format].kept  # what a format does not keep it says before (`known_losses`)
]


@pytest.mark.parametrize(("format", "mutation"), KEPT)
def test_a_record_exporter_that_is_wrong_is_caught(new_project, tmp_path, monkeypatch, format, mutation):
    mutate, _ = MUTATIONS[mutation]
    good = FORMATS[format]
    assert isinstance(good, RecordFormat)
    project = new_project()
    fill(project)

    def write(job, path, watch):
        return good.write(job, path, lambda frame: mutate(watch(frame)))

    monkeypatch.setattr(export_module(), "find_format", lambda name, path: replace(good, write=write))

    with pytest.raises(ExportError, match="was not written correctly"):
        finish(export(project, tmp_path / "out", format=format))
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("format", [name for name in RECORDS if FORMATS[name].many_planes])
def test_an_object_on_another_plane_is_caught(new_project, tmp_path, monkeypatch, format):
    good = FORMATS[format]
    project = new_project((60, 70), (1, 2))
    project.accept(Box(0, 0, 9, 9), np.ones((9, 9), bool))

    def write(job, path, watch):
        frame = replace(job, planes=((0,), (1,)))
        from napari_relay.formats.frames import frames_of

        (true,) = frames_of(job)
        return good.write(frame, path, lambda other: (replace(r, frame=other) for r in watch(true)))

    monkeypatch.setattr(export_module(), "find_format", lambda name, path: replace(good, write=write))
    with pytest.raises(ExportError, match="lies on"):
        finish(export(project, tmp_path / "out", format=format, plane=Plane(0, 0)))


@pytest.mark.parametrize("format", LABELS)
def test_a_changed_pixel_of_a_label_image_is_caught(new_project, tmp_path, monkeypatch, format):
    good = FORMATS[format]
    project = new_project()
    fill(project)

    def write(job, path, tiles):
        def spoiled():
            for index, tile in enumerate(tiles):
                tile = tile.copy()
                tile[0, 0] ^= index == 2
                yield tile

        return good.write(job, path, spoiled())

    monkeypatch.setattr(export_module(), "find_format", lambda name, path: replace(good, write=write))
    with pytest.raises(ExportError, match="was not written correctly"):
        finish(export(project, tmp_path / "out", format=format))
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("wrong", [{}, {1: Facts(1, "dot", "#000000")}])
def test_wrong_classes_of_a_label_image_are_caught(new_project, tmp_path, monkeypatch, wrong):
    good = FORMATS["ome-zarr"]
    project = new_project()
    fill(project)
    broken = replace(good, read_facts=lambda path: {**good.read_facts(path), **wrong} if wrong else {})
    monkeypatch.setattr(export_module(), "find_format", lambda name, path: broken)
    with pytest.raises(ExportError, match="other facts"):
        finish(export(project, tmp_path / "out.zarr"))


@pytest.mark.parametrize("format", ["geojson", "coco", "labelme"])
def test_a_changed_digit_of_any_coordinate_is_caught(new_project, tmp_path, monkeypatch, format):
    good = FORMATS[format]
    project = new_project((60, 70))
    project.accept(Box(20, 30, 24, 35), np.ones((4, 5), bool))
    ring = np.ones((12, 13), bool)
    ring[4:6, 5:8] = False
    project.accept(Box(40, 50, 52, 63), ring)
    finish(export(project, tmp_path / "whole", format=format))
    text = (tmp_path / "whole").read_text(encoding="utf-8")
    places = [match.start() + 1 for match in re.finditer(r"[\[,]\d+(?=[,\]])", text)]

    def spoil_at(place: int) -> None:
        def write(job, path, watch):
            yield from good.write(job, path, watch)
            digit = "7" if text[place] != "7" else "3"
            path.write_text(text[:place] + digit + text[place + 1 :], encoding="utf-8")

        monkeypatch.setattr(export_module(), "find_format", lambda name, path: replace(good, write=write))
        with pytest.raises(ExportError, match="was not written correctly"):
            finish(export(project, tmp_path / "out", format=format))

    assert len(places) > 10
    for place in places:
        spoil_at(place)
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("format", RECORDS + LABELS)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.95])
def test_a_file_that_is_cut_off_is_caught(new_project, tmp_path, monkeypatch, format, share):
    good = FORMATS[format]
    project = new_project()
    fill(project)

    def write(job, path, *rest):
        yield from good.write(job, path, *rest)
        file = path if path.is_file() else max(path.rglob("*.txt"), key=lambda f: f.stat().st_size, default=None)
        file = file or max(path.rglob("0/c/*/*"), key=lambda f: f.stat().st_size)
        content = file.read_bytes()
        file.write_bytes(content[: int(len(content) * share)])

    monkeypatch.setattr(export_module(), "find_format", lambda name, path: replace(good, write=write))
    with pytest.raises(ExportError, match="was not written correctly"):
        finish(export(project, tmp_path / "out", format=format))
    assert not list(tmp_path.glob("out*"))


def test_the_certificate_says_what_was_compared(new_project, tmp_path):
    project = new_project()
    fill(project)
    report = finish(export(project, tmp_path / "out.geojson"))

    content = json.loads((tmp_path / "out.geojson.certificate.json").read_text(encoding="utf-8"))

    assert report.certificate == tmp_path / "out.geojson.certificate.json"
    assert content["verdict"] == "equal to the project"
    assert content["project"] == {"id": project.id, "image": "image.tif", "fingerprint": "abc"}
    compared = content["compared"]
    assert (compared["objects"], compared["ids"], compared["lowest_iou"]) == (8, "equal", 1.0)
    assert compared["classes"] == {"dot": 1, "object": 5, "square": 1, "über alles": 1}
    assert (compared["parts"], compared["holes"]) == (1 + 2 + 600 + 5 + 1 + 1 + 1 + 1, 2)
    assert content["files"]["sha256"] == sha256((tmp_path / "out.geojson").read_bytes()).hexdigest()


def test_the_certificate_of_another_export_is_not_left_beside_a_new_one(new_project, tmp_path, monkeypatch):
    project = new_project()
    fill(project)
    finish(export(project, tmp_path / "out.geojson"))
    project.delete(1)

    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export_module(), "put_certificate", full)
    with pytest.raises(Exception, match="No space left"):
        finish(export(project, tmp_path / "out.geojson", overwrite=True))
    assert not (tmp_path / "out.geojson.certificate.json").exists()


def test_what_a_format_does_not_keep_is_not_certified(new_project, tmp_path):
    project: Project = new_project()
    fill(project)
    finish(export(project, tmp_path / "out.yolo"))
    content = json.loads((tmp_path / "out.yolo.certificate.json").read_text(encoding="utf-8"))
    assert content["compared"]["ids"] == "not in this format"
    assert content["losses"]


def export_module():
    import sys

    return sys.modules[export_function.__module__]

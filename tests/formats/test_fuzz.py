"""Importers never crash, hang or change the project, whatever is in a file: they import it or say what is wrong."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from format_checks import finish
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_relay.errors import RelayError
from napari_relay.formats import FORMATS, export, import_file
from napari_relay.geometry import Box
from napari_relay.store import Project

PLAIN = [name for name, entry in FORMATS.items() if not entry.geo]
SHAPE = (70, 90)
SPLICES = [b"", b"null", b"-1", b"1e999", b"NaN", b"[[[[", b"{}", b'"\\ud800"', b"\x00\xff", b"9" * 400, b"true", b"[]"]


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """A folder with a good file of each format."""
    folder = tmp_path_factory.mktemp("good")
    with Project.open(folder / "a.relay", fingerprint="f", shape=SHAPE, image_name="image.png") as project:
        ring = np.ones((20, 30), bool)
        ring[5:9, 7:12] = False
        project.accept(Box(3, 4, 23, 34), ring, class_name="cell")
        project.accept(Box(40, 50, 60, 80), np.eye(20, 30, dtype=bool) | (np.indices((20, 30)).sum(0) > 30), score=0.5)
        for name in PLAIN:
            finish(export(project, folder / name, format=name))
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Iterator[Project]:
    path = tmp_path_factory.mktemp("project") / "p.relay"
    with Project.open(path, fingerprint="f", shape=SHAPE, image_name="image.png") as opened:
        yield opened


def attempt(project: Project, path: Path, format: str) -> bool:
    """Whether it was imported (and taken back); else the project is as before."""
    before = len(project.history(None, everything=True))
    try:
        report = finish(import_file(project, path, format=format))
    except RelayError:
        done = False
    else:
        done = True
        assert project.count() == len(report.ids) > 0
        project.undo()
        before += 2
    assert project.count() == 0
    assert len(project.history(None, everything=True)) == before
    return done


def damaged(good: Path, folder: Path, choose, change) -> Path:
    """A copy of a good export with one of its files changed."""
    path = folder / "damaged"
    if good.is_dir():
        shutil.copytree(good, path)
        files = sorted(file for file in path.rglob("*") if file.is_file())
        file = files[choose % len(files)]
    else:
        file = Path(shutil.copy(good, path))
    file.write_bytes(change(file.read_bytes()))
    return path


common = settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.mark.parametrize("format", PLAIN)
@common
@given(st.integers(0, 50), st.floats(0, 1))
def test_truncated(project, written, tmp_path_factory, format, choose, share):
    folder = tmp_path_factory.mktemp("fuzz")
    path = damaged(written / format, folder, choose, lambda data: data[: int(len(data) * share)])
    attempt(project, path, format)


@pytest.mark.parametrize("format", PLAIN)
@common
@given(st.integers(0, 50), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_garbled_bytes(project, written, tmp_path_factory, format, choose, changes):
    def garble(data: bytes) -> bytes:
        new = bytearray(data)
        for share, value in changes:
            if new:
                new[min(int(len(new) * share), len(new) - 1)] = value
        return bytes(new)

    folder = tmp_path_factory.mktemp("fuzz")
    attempt(project, damaged(written / format, folder, choose, garble), format)


@pytest.mark.parametrize("format", PLAIN)
@common
@given(st.integers(0, 50), st.floats(0, 1), st.integers(0, 40), st.sampled_from(SPLICES))
def test_spliced(project, written, tmp_path_factory, format, choose, share, length, piece):
    def splice(data: bytes) -> bytes:
        at = int(len(data) * share)
        return data[:at] + piece + data[at + length :]

    folder = tmp_path_factory.mktemp("fuzz")
    attempt(project, damaged(written / format, folder, choose, splice), format)


@pytest.mark.parametrize("format", [name for name in PLAIN if name not in ("ome-zarr", "yolo-seg")])
@common
@given(st.binary(max_size=300))
def test_random_bytes(project, tmp_path_factory, format, data):
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "random").write_bytes(data)
    assert not attempt(project, folder / "random", format)


@pytest.mark.parametrize("format", PLAIN)
def test_the_good_file_is_imported(project, written, format):
    assert attempt(project, written / format, format)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(
            ["type", "features", "geometry", "coordinates", "properties", "classification", "name", "shapes", "points",
             "label", "shape_type", "mask", "images", "annotations", "categories", "segmentation", "id", "image_id",
             "category_id", "counts", "size", "relay", "y0", "height", "width", "metadata", "geometries", "plane"]
        ),
        inner, max_size=5,
    ),
    max_leaves=25,
)  # fmt: skip


@pytest.mark.parametrize("format", ["coco", "geojson", "labelme"])
@settings(common, max_examples=40)
@given(json_values)
def test_any_json(project, tmp_path_factory, format, value):
    import json

    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "any.json").write_text(json.dumps(value), encoding="utf-8")
    attempt(project, folder / "any.json", format)

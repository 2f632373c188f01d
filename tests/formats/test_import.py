"""What is exported comes back into a project."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from format_checks import SHAPE, fill, finish, masks_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from import_checks import run, visible

from napari_relay.formats import FORMATS, export, import_file
from napari_relay.formats.registry import LabelFormat, RecordFormat
from napari_relay.geometry import Box, Plane
from napari_relay.store import Project

PLAIN = {name: entry for name, entry in FORMATS.items() if not entry.geo}
RECORDS = [name for name, entry in PLAIN.items() if isinstance(entry, RecordFormat)]
LABELS = [name for name, entry in PLAIN.items() if isinstance(entry, LabelFormat)]

shapes = st.lists(
    st.tuples(
        hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)),
        st.integers(0, 11),
        st.integers(0, 6),
        st.sampled_from(["a", "b c", "ß"]),
    ),
    min_size=1,
    max_size=6,
)


def path_for(folder: Path, format: str) -> Path:
    return folder / f"out{FORMATS[format].suffixes[0]}"


@pytest.mark.parametrize("format", RECORDS)
def test_objects_come_back_whole_with_their_classes(new_project, tmp_path, format):
    old, new = new_project(), new_project()
    fill(old)
    finish(export(old, path_for(tmp_path, format), format=format))

    report = run(new, path_for(tmp_path, format))

    assert report.format == format
    assert masks_of(new) == masks_of(old)
    np.testing.assert_array_equal(new.labels(Box(0, 0, *SHAPE)), old.labels(Box(0, 0, *SHAPE)))


@pytest.mark.parametrize("format", LABELS)
def test_label_images_come_back_pixel_by_pixel(new_project, tmp_path, format):
    old, new = new_project(), new_project()
    fill(old)
    finish(export(old, path_for(tmp_path, format), format=format))

    report = run(new, path_for(tmp_path, format), class_name="thing")

    assert (report.format, len(report.ids)) == (format, 8)
    assert visible(new) == visible(old)
    names = {item.class_name for item in new.objects()}
    assert names == ({"object", "dot", "square", "über alles"} if format == "ome-zarr" else {"thing"})


@pytest.mark.parametrize("format", RECORDS + LABELS)
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shapes)
def test_any_objects_come_back(format, tmp_path_factory, objects):
    folder = tmp_path_factory.mktemp("any")
    common = {"fingerprint": "f", "shape": (20, 15), "image_name": "i.png"}
    with Project.open(folder / "a.relay", **common) as old, Project.open(folder / "b.relay", **common) as new:
        for mask, y, x, name in objects:
            if mask.any():
                box = Box(y, x, y + mask.shape[0], x + mask.shape[1])
                old.accept(box, mask, class_name=name, overlap="allow")
        if not old.count():
            return
        finish(export(old, path_for(folder, format), format=format))
        run(new, path_for(folder, format), format=format)
        if format in RECORDS:
            assert masks_of(new) == masks_of(old)
        assert visible(new) == visible(old)


@pytest.mark.parametrize("format", RECORDS + LABELS)
def test_tiles_come_back_to_where_they_were(new_project, tmp_path, format):
    old, new = new_project(), new_project()
    fill(old)
    finish(export(old, path_for(tmp_path, format), format=format, tile=300))

    run(new, path_for(tmp_path, format))

    there, here = old.labels(Box(0, 0, *SHAPE)), new.labels(Box(0, 0, *SHAPE))
    np.testing.assert_array_equal(here > 0, there > 0)


@pytest.mark.parametrize("format", RECORDS + LABELS)
def test_a_region_comes_back_to_where_it_was(new_project, tmp_path, format):
    old, new = new_project(), new_project()
    fill(old)
    region = Box(100, 130, 641, 1003)
    finish(export(old, path_for(tmp_path, format), format=format, region=region))
    if format == "label-tiff":
        with tifffile.TiffFile(path_for(tmp_path, format)) as tiff:
            assert tiff.pages[0].shape == region.shape

    run(new, path_for(tmp_path, format))

    labels = np.zeros(SHAPE, bool)
    labels[region.slices] = old.labels(region) > 0
    np.testing.assert_array_equal(new.labels(Box(0, 0, *SHAPE)) > 0, labels)


@pytest.mark.parametrize("format", RECORDS + LABELS)
def test_planes_come_back(new_project, tmp_path, format):
    old, new = new_project((60, 70), (2, 3)), new_project((60, 70), (2, 3))
    for t, z in np.ndindex(2, 3):
        old.accept(Box(t, z, t + 5, z + 6), np.ones((5, 6), bool), plane=Plane(t, z))
    finish(export(old, path_for(tmp_path, format), format=format))

    run(new, path_for(tmp_path, format))

    for t, z in np.ndindex(2, 3):
        assert masks_of(new, Plane(t, z)) == masks_of(old, Plane(t, z))


@pytest.mark.parametrize("format", ["geojson", "coco", "labelme"])
def test_what_is_known_of_an_object_comes_back(new_project, tmp_path, format):
    old, new = new_project(), new_project()
    item = old.accept(Box(0, 0, 9, 9), np.ones((9, 9), bool), class_name="x", score=0.1 + 0.2, seconds=3.25)
    old.set_note([item.id], 'Grüße, "so" \n weiter')
    old.set_state([item.id], "reviewed")
    finish(export(old, path_for(tmp_path, format), format=format))

    run(new, path_for(tmp_path, format))

    (before,), (after,) = old.objects(), new.objects()
    for name in ("class_name", "state", "score", "seconds", "author", "created", "note", "n_clicks"):
        assert getattr(after, name) == getattr(before, name), name
    if "color" in FORMATS[format].kept:
        assert {c.name: c.color for c in new.classes()}["x"] == {c.name: c.color for c in old.classes()}["x"]


def test_an_import_is_one_action(new_project, tmp_path):
    old, new = new_project(), new_project()
    fill(old)
    finish(export(old, tmp_path / "out.geojson"))
    run(new, tmp_path / "out.geojson")

    (action,) = new.history()
    assert (action.kind, action.n_objects) == ("import", 8)
    assert "out.geojson" in action.summary
    new.undo()
    assert new.count() == 0
    assert [info.name for info in new.classes()] == ["object"]
    new.redo()
    assert masks_of(new) == masks_of(old)


def test_an_import_that_is_given_up_changes_nothing(new_project, tmp_path):
    old, new = new_project(), new_project()
    fill(old)
    finish(export(old, tmp_path / "out.geojson"))
    importing = import_file(new, tmp_path / "out.geojson")
    next(importing)
    importing.close()
    assert new.count() == 0
    assert not new.history()
    new.accept(Box(0, 0, 9, 9), np.ones((9, 9), bool))  # the project is not locked


def test_objects_without_a_class_take_the_one_that_is_named(new_project, tmp_path):
    project = new_project((20, 20))
    labels = np.zeros((20, 20), np.uint16)
    labels[3:6, 4:9] = 7
    tifffile.imwrite(tmp_path / "a.tif", labels)
    run(project, tmp_path / "a.tif", class_name="nucleus")
    assert [item.class_name for item in project.objects()] == ["nucleus"]


def test_the_overlap_rule_is_the_callers(new_project, tmp_path):
    project = new_project((20, 20))
    project.accept(Box(0, 0, 10, 10), np.ones((10, 10), bool))
    tifffile.imwrite(tmp_path / "a.tif", np.ones((20, 20), np.uint8))
    run(project, tmp_path / "a.tif", overlap="keep")
    assert [item.area for item in project.objects()] == [100, 300]

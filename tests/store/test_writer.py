"""The writer's thread: it follows the project, tells what it did, and ends."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from napari_relay.errors import RelayError
from napari_relay.geometry import Box
from napari_relay.store import Change, PyramidWriter, open_pyramid

LEVELS = [(1300, 1500), (650, 750), (325, 375)]
SQUARE = np.ones((10, 10), bool)


@pytest.fixture
def pyramid(project, tmp_path):
    return open_pyramid(tmp_path / "a.labels.ome.zarr", project, LEVELS)


def writer_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "label pyramid"]


def test_it_renders_what_is_accepted_and_tells_where(project, pyramid):
    told: list[Change] = []
    with PyramidWriter(project, pyramid) as writer:
        project.changed.connect(writer.schedule)
        writer.rendered.connect(told.append)
        project.accept(Box(100, 100, 110, 110), SQUARE)
        assert writer.flush(30)
        assert all(array[...].any() for array in pyramid.arrays)
    assert told[-1].kind == "rendered"
    assert all(box.covers(Box(100, 100, 110, 110)) for change in told for box in change.boxes)
    assert len(project.journal) == 0
    assert writer_threads() == []


def test_what_an_earlier_run_left_is_rendered_first(project, pyramid):
    project.accept(Box(100, 100, 110, 110), SQUARE)
    with PyramidWriter(project, pyramid) as writer:
        writer.flush(30)
        assert pyramid.arrays[0][105, 105] == 1


def test_a_rebuild_gives_equal_values(project, pyramid, act):
    with PyramidWriter(project, pyramid) as writer:
        project.changed.connect(writer.schedule)
        act(project, 12)
        writer.flush(60)
        before = [array[...] for array in pyramid.arrays]
        pyramid.arrays[1][...] = 99  # somebody else's scribble
        writer.rebuild()
        writer.flush(60)
        for old, array in zip(before, pyramid.arrays, strict=True):
            np.testing.assert_array_equal(array[...], old)


def test_closing_renders_the_rest_and_writes_the_colours(project, pyramid):
    writer = PyramidWriter(project, pyramid)
    project.accept(Box(100, 100, 110, 110), SQUARE)
    writer.close()
    writer.close()
    assert pyramid.arrays[0][105, 105] == 1
    assert pyramid._group.attrs["ome"]["image-label"]["colors"][0]["label-value"] == 1
    assert writer_threads() == []


def test_flush_gives_up_after_its_time(project, pyramid, monkeypatch):
    release = threading.Event()
    render = type(pyramid).render
    monkeypatch.setattr(type(pyramid), "render", lambda self, tiles: (release.wait(30), render(self, tiles))[1])
    project.accept(Box(100, 100, 110, 110), SQUARE)
    with PyramidWriter(project, pyramid) as writer:
        assert writer.flush(0.05) is False
        release.set()
        assert writer.flush(30) is True


def test_a_listeners_mistake_does_not_end_the_thread(project, pyramid):
    with PyramidWriter(project, pyramid) as writer:
        writer.rendered.connect(lambda change: 1 / 0)
        project.accept(Box(100, 100, 110, 110), SQUARE)
        assert writer.flush(30)
        project.accept(Box(200, 200, 210, 210), SQUARE)
        assert writer.flush(30)
        assert pyramid.arrays[0][205, 205] == 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fault_of_ours_is_told_to_who_waits(project, pyramid, monkeypatch):
    monkeypatch.setattr(type(pyramid), "render", lambda self, tiles: 1 / 0)
    project.accept(Box(100, 100, 110, 110), SQUARE)
    writer = PyramidWriter(project, pyramid)
    with pytest.raises(RelayError, match="stopped by a fault"):
        writer.flush(30)
    writer.close()


def test_backups_are_made_by_the_thread_when_due(project, pyramid, tmp_path, monkeypatch):
    monkeypatch.setattr("napari_relay.store.backup.EVERY_ACTIONS", 3)
    with PyramidWriter(project, pyramid) as writer:
        for _ in range(3):
            project.accept(Box(100, 100, 110, 110), SQUARE)
        writer.flush(30)
        writer.close()
    assert (tmp_path / "image.tif.relay.backup").exists()

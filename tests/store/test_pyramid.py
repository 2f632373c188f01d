"""The label pyramid: exact for dirty tiles only, sparse, valid OME-Zarr, rebuilt to equal values."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import ome_zarr.io
import ome_zarr.reader
import pytest
import zarr
from ome_zarr_models.v05 import ImageLabel

from napari_relay.errors import StorageError, UsageError
from napari_relay.geometry import Box, Plane
from napari_relay.store import LabelPyramid, Project, open_pyramid
from napari_relay.store.chunks import ChunkStore
from napari_relay.store.majority import Blocks

SHAPE = (1300, 1500)
HALVES = [(1300, 1500), (650, 750), (325, 375), (163, 188)]
ODD = [(1300, 1500), (431, 501), (97, 340), (3, 2)]


def render_all(project: Project, pyramid: LabelPyramid) -> None:
    while tiles := project.journal.tiles(5):
        pyramid.render(tiles)


def values(pyramid: LabelPyramid) -> list[np.ndarray]:
    return [array[...] for array in pyramid.arrays]


def expected(project: Project, shapes: list[tuple[int, int]]) -> list[np.ndarray]:
    """Every level straight from the masks of the objects, with nothing of the pyramid's own bookkeeping."""
    full = np.zeros((*project.sizes, *project.shape), np.uint32)
    for stored in sorted(project.objects(), key=lambda o: (o.action_id, o.id)):
        full[stored.plane.t, stored.plane.z][stored.box.slices][stored.mask] = stored.id
    levels = []
    for shape in shapes:
        blocks, whole = Blocks(project.shape, shape), Box(0, 0, *shape)
        planes = [[blocks.reduce(full[t, z], whole) for z in range(project.sizes[1])] for t in range(project.sizes[0])]
        kept = tuple(0 if size == 1 else slice(None) for size in project.sizes)
        levels.append(np.array(planes)[kept])
    return levels


def assert_levels_equal(found: list[np.ndarray], wanted: list[np.ndarray]) -> None:
    for index, (a, b) in enumerate(zip(found, wanted, strict=True)):
        np.testing.assert_array_equal(a, b, err_msg=f"level {index}")


@pytest.mark.parametrize(
    ("shapes", "sizes"),
    [
        pytest.param(HALVES, (1, 1), id="halves"),
        pytest.param(ODD, (1, 1), id="odd"),
        pytest.param(ODD, (2, 2), id="odd, planes"),
        pytest.param(HALVES, (2, 1), id="halves, time", marks=pytest.mark.slow),
        pytest.param(HALVES, (1, 2), id="halves, depth", marks=pytest.mark.slow),
    ],
)
def test_what_is_rendered_step_by_step_equals_a_rendering_from_nothing(open_project, tmp_path, act, shapes, sizes):
    project = open_project(sizes=sizes)
    pyramid = open_pyramid(tmp_path / "a.labels.ome.zarr", project, shapes)

    for _ in range(4):
        act(project, 6)
        render_all(project, pyramid)
        assert_levels_equal(values(pyramid), expected(project, shapes))

    pyramid.clear()
    assert all(not level.any() for level in values(pyramid))
    render_all(project, pyramid)
    assert_levels_equal(values(pyramid), expected(project, shapes))


def test_the_object_accepted_later_lies_on_top_and_undo_uncovers_the_other(project, tmp_path):
    pyramid = open_pyramid(tmp_path / "a.labels.ome.zarr", project, HALVES)
    first = project.accept(Box(0, 0, 100, 100), np.ones((100, 100), bool))
    second = project.accept(Box(50, 50, 150, 150), np.ones((100, 100), bool))
    render_all(project, pyramid)
    assert pyramid.arrays[0][60, 60] == second.id
    assert pyramid.arrays[0][10, 10] == first.id

    project.undo()
    render_all(project, pyramid)
    assert pyramid.arrays[0][60, 60] == first.id

    project.delete(first.id)
    project.undo()  # brought back, the first is still the one below
    project.redo()
    project.undo()
    third = project.accept(Box(50, 50, 150, 150), np.ones((100, 100), bool))
    project.delete(first.id)
    project.undo()
    render_all(project, pyramid)
    assert pyramid.arrays[0][60, 60] == third.id


def test_blocks_wider_than_many_tiles_are_counted_without_being_held(open_project, tmp_path, rng, monkeypatch):
    project = open_project(shape=(2600, 2700))
    shapes = [(2600, 2700), (3, 2), (1, 1)]
    pyramid = open_pyramid(tmp_path / "a.labels.ome.zarr", project, shapes)
    held = []
    monkeypatch.setattr(
        LabelPyramid,
        "_source",
        lambda self, box, *rest, _old=LabelPyramid._source: (held.append(box.area), _old(self, box, *rest))[1],
    )
    for y, x in itertools.product((100, 1700, 2500), (50, 1300, 2600)):
        project.accept(Box(y, x, y + 90, x + 100), rng.random((90, 100)) < 0.5)
    render_all(project, pyramid)
    assert_levels_equal(values(pyramid), expected(project, shapes))
    assert max(held) <= (4 * 512) ** 2
    assert 512 * 512 in held  # by tiles


def test_background_has_no_files_and_deleting_the_last_object_leaves_none(project, tmp_path):
    path = tmp_path / "a.labels.ome.zarr"
    pyramid = open_pyramid(path, project, HALVES)
    stored = project.accept(Box(600, 600, 610, 610), np.ones((10, 10), bool))
    render_all(project, pyramid)
    assert sorted(chunk_files(path)) == ["0/c/1/1", "1/c/0/0", "2/c/0/0", "3/c/0/0"]

    project.delete(stored.id)
    render_all(project, pyramid)
    assert chunk_files(path) == []


def test_only_chunks_of_the_dirty_tile_are_touched(project, tmp_path, monkeypatch):
    pyramid = open_pyramid(tmp_path / "a.labels.ome.zarr", project, HALVES)
    project.accept(Box(0, 0, 1300, 1500), np.ones((1300, 1500), bool))
    render_all(project, pyramid)
    written = []
    monkeypatch.setattr(
        ChunkStore,
        "write",
        lambda self, levels, _old=ChunkStore.write: (
            written.extend((level, position) for level, chunks in levels.items() for position in chunks),
            _old(self, levels),
        ),
    )
    project.accept(Box(1100, 600, 1120, 640), np.ones((20, 40), bool))
    render_all(project, pyramid)
    assert written == [(1, (0, 0, 1, 0)), (2, (0, 0, 0, 0)), (3, (0, 0, 0, 0)), (0, (0, 0, 2, 1))]


def test_metadata_is_valid_ome_zarr_05(open_project, tmp_path):
    project = open_project(sizes=(2, 3))
    path = tmp_path / "a.labels.ome.zarr"
    pyramid = open_pyramid(path, project, HALVES, pixel_size_um=(0.25, 0.5))
    project.accept(Box(0, 0, 9, 9), np.ones((9, 9), bool), class_name="cell", plane=Plane(1, 2))
    render_all(project, pyramid)
    pyramid.write_colors()

    label = ImageLabel.from_zarr(zarr.open_group(path, mode="r"))
    ome = label.attributes.ome
    assert ome.version == "0.5"
    assert [axis.name for axis in ome.multiscales[0].axes] == ["t", "z", "y", "x"]
    assert ome.multiscales[0].datasets[1].coordinateTransformations[0].scale == [1, 1, 0.5, 1.0]
    (color,) = ome.image_label.colors
    assert (color.label_value, color.rgba) == (1, (0x56, 0xB4, 0xE9, 255))

    node = next(iter(ome_zarr.reader.Reader(ome_zarr.io.parse_url(path))()))
    assert [level.shape for level in node.data] == [(2, 3, *shape) for shape in HALVES]
    assert node.data[0][1, 2, 4, 4].compute() == 1


@pytest.mark.parametrize("shapes", [HALVES, [(1300, 1500)], ODD])
def test_levels_of_any_pyramid_are_described_validly(project, tmp_path, shapes):
    path = tmp_path / "a.labels.ome.zarr"
    open_pyramid(path, project, shapes)
    ImageLabel.from_zarr(zarr.open_group(path, mode="r"))


def test_a_pyramid_is_reused_when_nothing_happened_to_it(open_project, tmp_path):
    path = tmp_path / "a.labels.ome.zarr"
    project = open_project()
    pyramid = open_pyramid(path, project, HALVES)
    project.accept(Box(0, 0, 9, 9), np.ones((9, 9), bool))
    render_all(project, pyramid)
    project.close()

    project = open_project()
    again = open_pyramid(path, project, HALVES)
    assert len(project.journal) == 0
    assert again.arrays[0][4, 4] == 1


def stale_pyramid(path: Path) -> None:
    zarr.open_array(path / "0", mode="r+")[...] = 77


@pytest.mark.parametrize("cause", ["older project", "other shapes", "metadata lost", "level lost", "folder lost"])
def test_a_pyramid_that_cannot_be_trusted_is_made_anew(open_project, tmp_path, cause):
    path, shapes = tmp_path / "a.labels.ome.zarr", HALVES
    project = open_project()
    project.accept(Box(0, 0, 9, 9), np.ones((9, 9), bool))
    project.close()
    restored = (tmp_path / "image.tif.relay").read_bytes()
    project = open_project()
    pyramid = open_pyramid(path, project, shapes)
    project.accept(Box(90, 90, 99, 99), np.ones((9, 9), bool))
    render_all(project, pyramid)
    project.close()

    if cause == "older project":
        (tmp_path / "image.tif.relay").write_bytes(restored)
    elif cause == "other shapes":
        shapes = ODD
    elif cause == "metadata lost":
        (path / "zarr.json").write_text("{")
    elif cause == "level lost":
        (path / "2" / "zarr.json").unlink()
    else:
        path.rename(tmp_path / "elsewhere")
    project = open_project()
    pyramid = open_pyramid(path, project, shapes)
    render_all(project, pyramid)
    assert_levels_equal(values(pyramid), expected(project, shapes))


def test_something_else_at_the_place_is_left_alone(project, tmp_path):
    path = tmp_path / "labels"
    zarr.create_array(path, shape=(3,), dtype="int32")
    with pytest.raises(StorageError, match="not a label pyramid"):
        open_pyramid(path, project, HALVES)
    assert zarr.open_array(path).shape == (3,)


@pytest.mark.parametrize("shapes", [[], [(10, 10)], [SHAPE, (1400, 100)], [SHAPE, (0, 1)]])
def test_level_shapes_that_are_no_pyramid_of_the_image_are_refused(project, tmp_path, shapes):
    with pytest.raises(UsageError):
        open_pyramid(tmp_path / "a.labels.ome.zarr", project, shapes)


def test_unfinished_files_of_a_killed_writer_are_removed_at_open(open_project, tmp_path):
    path = tmp_path / "a.labels.ome.zarr"
    project = open_project()
    pyramid = open_pyramid(path, project, HALVES)
    project.accept(Box(0, 0, 9, 9), np.ones((9, 9), bool))
    render_all(project, pyramid)
    project.close()
    (path / "0" / "c" / "0" / "0.1234.partial").write_bytes(b"half")
    (path / "1" / "c.99.partial" / "0").mkdir(parents=True)
    (tmp_path / "image.tif.relay.lock").write_text('{"pid": 1, "boot": "another"}')  # as a crash leaves it

    project = open_project()
    open_pyramid(path, project, HALVES)
    assert not list(path.rglob("*.partial"))


def chunk_files(path: Path) -> list[str]:
    return sorted(str(f.relative_to(path)) for f in path.rglob("*") if f.is_file() and f.name != "zarr.json")

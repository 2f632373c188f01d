"""Labels inside an OME-Zarr image, and in OME-Zarr 0.4: valid, found by readers, beside what others put there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import ome_zarr.io
import ome_zarr.reader
import ome_zarr_models.v04
import ome_zarr_models.v05
import pytest
import zarr

from napari_relay.errors import StorageError, UsageError
from napari_relay.geometry import Box, Plane
from napari_relay.sources import open_image
from napari_relay.store import LabelPyramid, Project, PyramidWriter, open_pyramid
from napari_relay.store.image_labels import image_labels, list_labels, place_labels
from napari_relay.store.ome_metadata import OmeVersion, multiscales, to_attributes

SHAPE = (1300, 1500)
LEVELS = [SHAPE, (650, 750), (325, 375)]
VERSIONS = list(OmeVersion)
MODELS = {OmeVersion.V04: ome_zarr_models.v04, OmeVersion.V05: ome_zarr_models.v05}


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> OmeVersion:
    return request.param


@pytest.fixture
def image(tmp_path: Path, version: OmeVersion) -> Path:
    """A small OME-Zarr image with levels."""
    path = tmp_path / "image.ome.zarr"
    group = zarr.create_group(path, zarr_format=version.zarr_format)
    for index, shape in enumerate(LEVELS):
        layout = {
            OmeVersion.V04: {"chunk_key_encoding": {"name": "v2", "separator": "/"}},
            OmeVersion.V05: {"dimension_names": ("y", "x")},
        }[version]
        array = group.create_array(str(index), shape=shape, chunks=(512, 512), dtype="uint8", **layout)
        array[:] = np.random.default_rng(index).integers(0, 255, shape)
    group.attrs.update(to_attributes({"multiscales": [multiscales("image", LEVELS, (1, 1), (0.5, 0.5))]}, version))
    return path


def render_all(project: Project, pyramid: LabelPyramid) -> None:
    while tiles := project.journal.tiles(5):
        pyramid.render(tiles)


def accept_some(project: Project) -> None:
    project.accept(Box(0, 0, 700, 600), np.ones((700, 600), bool), class_name="cell")
    project.accept(Box(1200, 1400, 1300, 1500), np.ones((100, 100), bool), class_name="dust")


def open_inside(image: Path, project: Project) -> LabelPyramid:
    place = image_labels(image)
    pyramid = open_pyramid(place.path, project, LEVELS, source=place.source, version=place.version)
    list_labels(place)
    return pyramid


def test_labels_inside_an_image_are_valid_and_found_by_readers(project, image, version):
    accept_some(project)
    pyramid = open_inside(image, project)
    render_all(project, pyramid)
    pyramid.write_colors()

    models = MODELS[version]
    group = zarr.open_group(image, mode="r")
    assert group.metadata.zarr_format == version.zarr_format
    models.Image.from_zarr(group)
    label = models.ImageLabel.from_zarr(group["labels/napari-relay"])
    entry = label.attributes.ome.image_label if version is OmeVersion.V05 else label.attributes.image_label
    assert [color.label_value for color in entry.colors] == [1, 2]
    assert entry.source.image == "../../"
    nodes = list(ome_zarr.reader.Reader(ome_zarr.io.parse_url(image))())
    node = next(node for node in nodes if "labels/napari-relay" in str(node.zarr))
    np.testing.assert_array_equal(node.data[0].compute(), project.labels(Box(0, 0, *SHAPE)))


def test_the_image_stays_the_same_image(project, image):
    with open_image(image) as source:
        before = source.fingerprint
    accept_some(project)
    pyramid = open_inside(image, project)
    render_all(project, pyramid)
    with open_image(image) as source:
        assert source.fingerprint == before
        assert source.shape == SHAPE


def test_labels_of_others_stay_listed_and_untouched(project, image, version):
    labels = zarr.create_group(image / "labels", zarr_format=version.zarr_format)
    labels.attrs.update(to_attributes({"labels": ["nuclei"]}, version))
    labels.create_group("nuclei")

    open_inside(image, project)
    open_inside(image, project)

    attributes = dict(zarr.open_group(image / "labels", mode="r").attrs)
    assert attributes == to_attributes({"labels": ["nuclei", "napari-relay"]}, version)
    assert "nuclei" in zarr.open_group(image / "labels", mode="r")


def test_levels_are_exact_in_every_version_through_changes_and_a_rebuild(open_project, tmp_path, version):
    path = tmp_path / "a.labels.ome.zarr"
    project = open_project(sizes=(2, 1))
    pyramid = open_pyramid(path, project, LEVELS, version=version)
    with PyramidWriter(project, pyramid) as writer:
        project.changed.connect(writer.schedule)
        accept_some(project)
        project.accept(Box(100, 100, 900, 900), np.ones((800, 800), bool), plane=Plane(1, 0))
        project.delete(2)
        assert writer.flush(60)
        for t in range(2):
            np.testing.assert_array_equal(pyramid.arrays[0][t], project.labels(Box(0, 0, *SHAPE), Plane(t, 0)))
        before = [array[...] for array in pyramid.arrays]
        writer.rebuild()
        assert writer.flush(60)
    for array, expected in zip(pyramid.arrays, before, strict=True):
        np.testing.assert_array_equal(array[...], expected)


def test_background_has_no_chunks_in_every_version(project, tmp_path, version):
    pyramid = open_pyramid(tmp_path / "a.labels.ome.zarr", project, LEVELS, version=version)
    accept_some(project)
    render_all(project, pyramid)
    project.delete([1, 2])
    render_all(project, pyramid)
    metadata = {"zarr.json", ".zarray", ".zattrs", ".zgroup"}
    files = [path.name for path in (tmp_path / "a.labels.ome.zarr").rglob("*") if path.is_file()]
    assert set(files) <= metadata


def test_a_pyramid_is_reused_in_its_version_and_made_anew_in_another(open_project, tmp_path, version):
    path = tmp_path / "a.labels.ome.zarr"
    with open_project() as project:
        accept_some(project)
        render_all(project, open_pyramid(path, project, LEVELS, version=version))
    with open_project() as project:
        open_pyramid(path, project, LEVELS, version=version)
        assert len(project.journal) == 0
    other = next(v for v in VERSIONS if v is not version)
    with open_project() as project:
        pyramid = open_pyramid(path, project, LEVELS, version=other)
        assert len(project.journal) > 0
        render_all(project, pyramid)
        np.testing.assert_array_equal(pyramid.arrays[0][...], project.labels(Box(0, 0, *SHAPE)))
        assert zarr.open_group(path, mode="r").metadata.zarr_format == other.zarr_format


def test_an_unknown_version_is_refused(project, tmp_path):
    with pytest.raises(UsageError, match=r"0\.4, 0\.5"):
        open_pyramid(tmp_path / "a.labels.ome.zarr", project, LEVELS, version="0.3")
    assert not (tmp_path / "a.labels.ome.zarr").exists()


def test_a_project_remembers_that_its_labels_lie_inside_the_image(open_project, tmp_path, image, version):
    beside = tmp_path / "image.ome.zarr.labels.ome.zarr"
    with open_project() as project:
        assert place_labels(project, beside, image).path == beside
        place = place_labels(project, beside, image, inside=True)
        assert (place.path, place.version, place.source) == (image / "labels" / "napari-relay", version, "../../")
    with open_project() as project:
        assert place_labels(project, beside, image).path == place.path
        assert place_labels(project, beside, None).path.resolve() == place.path.resolve()
        assert place_labels(project, beside, image, inside=False).path == beside
        assert place_labels(project, beside, image).path == beside


def test_what_is_no_ome_zarr_image_takes_no_labels(tmp_path):
    (tmp_path / "folder").mkdir()
    zarr.create_group(tmp_path / "plain.zarr")
    (tmp_path / "file.tif").touch()
    for name in ("folder", "plain.zarr", "file.tif", "missing"):
        with pytest.raises(UsageError, match="beside"):
            image_labels(tmp_path / name)


def test_labels_of_the_same_name_by_another_program_are_not_touched(project, image):
    mine = zarr.create_group(image / "labels" / "napari-relay", zarr_format=3)
    mine.attrs["by"] = "somebody"
    with pytest.raises(StorageError, match="in the way"):
        open_inside(image, project)
    assert dict(zarr.open_group(image / "labels" / "napari-relay", mode="r").attrs) == {"by": "somebody"}

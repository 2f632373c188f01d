"""A folder of images: which files count, how far each has come, and classes that all of them share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr
from PIL import Image

from napari_relay.errors import ImportFileError, UsageError
from napari_relay.formats.class_template import ClassTemplate
from napari_relay.geometry import Box
from napari_relay.store import ClassSpec, Project
from napari_relay.workspace.folder import ImageFolder, ImageState, is_done, look_at, set_done


@pytest.fixture
def folder(tmp_path: Path) -> ImageFolder:
    for name in ("img10.png", "img2.png", "img1.png"):
        Image.fromarray(np.zeros((40, 50), np.uint8)).save(tmp_path / name)
    for name in ("notes.txt", ".hidden.png"):
        (tmp_path / name).write_bytes(b"x")
    zarr.create_group(tmp_path / "slide.ome.zarr")
    zarr.create_group(tmp_path / "img1.png.labels.ome.zarr")
    (tmp_path / "below").mkdir()
    return ImageFolder(tmp_path)


@pytest.fixture
def project(folder: ImageFolder) -> Callable[[str], Project]:
    def make(name: str) -> Project:
        return Project.open(folder.path / f"{name}.relay", fingerprint=name, shape=(40, 50), image_name=name)

    return make


def test_images_are_listed_as_people_count(folder: ImageFolder) -> None:
    assert [path.name for path in folder.paths()] == ["img1.png", "img2.png", "img10.png", "slide.ome.zarr"]


def test_state_and_count_come_from_the_project_beside_the_image(folder, project) -> None:
    with project("img1.png") as opened:
        opened.accept(Box(0, 0, 2, 2), np.ones((2, 2), bool))
        states = {image.name: image.state for image in folder.look()}
        assert states == {
            "img1.png": ImageState.BEGUN, "img2.png": ImageState.NEW, "img10.png": ImageState.NEW,
            "slide.ome.zarr": ImageState.NEW,
        }  # fmt: skip
        set_done(opened, done=True)
        assert is_done(opened)
        assert look_at(folder.path / "img1.png").state is ImageState.DONE
        set_done(opened, done=False)
    found = look_at(folder.path / "img1.png")
    assert (found.state, found.n_objects) == (ImageState.BEGUN, 1)
    (folder.path / "img2.png.relay").write_bytes(b"no project")
    broken = look_at(folder.path / "img2.png")
    assert broken.state is ImageState.BROKEN
    assert "img2.png.relay" in broken.problem


def test_an_image_without_objects_can_be_done(folder, project) -> None:
    with project("img2.png") as opened:
        set_done(opened, done=True)
    assert look_at(folder.path / "img2.png").state is ImageState.DONE


def test_classes_go_from_image_to_image_by_the_template(folder, project) -> None:
    with project("img1.png") as opened:
        assert not folder.take_in(opened), "there is no template yet: the first project makes it"
        opened.apply_classes([ClassSpec("cell", "#ff0000", "1"), ClassSpec("nucleus", "#00ff00", "2", "cell")])
        assert folder.give_out(opened)
        assert not folder.give_out(opened), "nothing new"
        specs = opened.class_specs()
    with project("img2.png") as opened:
        assert folder.take_in(opened)
        assert opened.class_specs()[:2] == specs[:2]
        assert not folder.take_in(opened)


def test_what_is_no_folder_of_images_is_refused(folder: ImageFolder) -> None:
    for path in (folder.path / "img1.png", folder.path / "slide.ome.zarr", folder.path / "nothing"):
        with pytest.raises(UsageError):
            ImageFolder(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "JSON"),
        ('{"relay_classes": 2, "classes": []}', "relay_classes"),
        ('{"relay_classes": 1, "classes": [{"name": "a", "color": 3}]}', "classes.0.color"),
        ('{"relay_classes": 1, "classes": [{"name": "a", "color": "red"}]}', "red"),
        ('{"relay_classes": 1, "classes": [{"name": "a", "color": "#000000", "parent": "b"}]}', "'b'"),
        ('{"classes": [], "more": 1}', "more"),
    ],
)
def test_a_wrong_template_is_named_by_file_and_field(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "relay.classes.json"
    path.write_text(text)
    with pytest.raises(ImportFileError, match=told) as caught:
        ClassTemplate.load(path)
    assert "relay.classes.json" in str(caught.value)


def test_folders_below_are_taken_along_when_that_is_asked(folder: ImageFolder) -> None:
    for name in ("below/z1.png", "below/deeper/a.png", "aside/b2.png", "aside/b10.png", ".hidden/c.png"):
        path = folder.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 5), np.uint8)).save(path)
    (folder.path / "round").symlink_to(folder.path, target_is_directory=True)

    found = ImageFolder(folder.path, recursive=True).paths()

    assert [path.relative_to(folder.path).as_posix() for path in found] == [
        "img1.png", "img2.png", "img10.png", "slide.ome.zarr", "aside/b2.png", "aside/b10.png", "below/z1.png",
        "below/deeper/a.png",
    ]  # fmt: skip
    assert len(folder.paths()) == 4

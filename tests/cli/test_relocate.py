"""`relocate`: a project finds its image again, and takes no other for it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_relay.geometry import Box
from napari_relay.sources import open_image
from napari_relay.store import Project

Run = Callable[..., Any]


def write(path: Path, seed: int, shape: tuple[int, int] = (60, 80)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, np.random.default_rng(seed).integers(0, 255, shape, np.uint8))
    return path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return write(tmp_path / "old" / "a.tif", 1)


@pytest.fixture
def project(image: Path) -> Path:
    path = image.with_name("a.tif.relay")
    with (
        open_image(image) as source,
        Project.open(path, fingerprint=source.fingerprint, shape=source.shape, image_name=source.name) as opened,
    ):
        opened.accept(Box(0, 0, 10, 10), np.ones((10, 10), bool))
    return path


def opens(image: Path, project: Path) -> int:
    """Open the image with the project as the window does; the number of objects."""
    with (
        open_image(image) as source,
        Project.open(project, fingerprint=source.fingerprint, shape=source.shape, image_name=source.name) as opened,
    ):
        assert opened.image_name == image.name
        return opened.count()


def test_renamed_image_is_known_by_its_content(run: Run, image: Path, project: Path) -> None:
    moved = image.rename(image.with_name("b.tif"))

    ran = run("relocate", project, moved)

    assert ran.code == 0
    assert f"napari-relay {moved} --project {project}" in ran.out
    assert opens(moved, project) == 1


def test_moved_image_is_found_in_a_folder_full_of_others(run: Run, tmp_path: Path, image: Path, project: Path) -> None:
    for seed in range(5, 10):
        write(tmp_path / "new" / "deep" / f"{seed}.tif", seed)
    (tmp_path / "new" / "notes.txt").write_text("no image")
    (tmp_path / "new" / "deep" / "empty.tif").touch()
    moved = Path(shutil.move(image, tmp_path / "new" / "deep" / "here.tif"))

    ran = run("relocate", project, tmp_path / "new", "--move", "--json")

    place = moved.with_name("here.tif.relay")
    found = json.loads(ran.out)
    assert (ran.code, Path(found["image"]), Path(found["project"])) == (0, moved, place)
    assert opens(moved, place) == 1
    assert not project.exists()
    assert place.with_name("here.tif.relay.backup").exists()
    assert not list(image.parent.glob("*.relay*"))


def test_another_image_is_refused(run: Run, tmp_path: Path, project: Path) -> None:
    other = write(tmp_path / "other.tif", 2)

    ran = run("relocate", project, other)

    assert ran.code == 1
    assert "contents differ" in ran.err
    assert "--saved-anew" in ran.err
    with Project.open(project, create=False, read_only=True) as opened:
        assert opened.image_name == "a.tif"


def test_image_that_was_saved_anew_is_taken_on_request(run: Run, tmp_path: Path, image: Path, project: Path) -> None:
    anew = tmp_path / "anew.tif"
    tifffile.imwrite(anew, tifffile.imread(image), tile=(16, 16), compression="zlib")

    assert run("relocate", project, anew, "--saved-anew").code == 0
    assert opens(anew, project) == 1
    with Project.open(project, create=False) as opened:
        assert opened.history(1, everything=True)[0].summary == "from a.tif to anew.tif"


def test_image_of_another_size_is_refused_even_on_request(run: Run, tmp_path: Path, project: Path) -> None:
    ran = run("relocate", project, write(tmp_path / "c.tif", 3, (61, 80)), "--saved-anew")

    assert ran.code == 1
    assert "60 x 80" in ran.err


def test_folder_without_the_image(run: Run, tmp_path: Path, project: Path) -> None:
    write(tmp_path / "new" / "x.tif", 9)

    ran = run("relocate", project, tmp_path / "new")

    assert ran.code == 2
    assert "is not in" in ran.err


def test_project_is_not_moved_over_another(run: Run, image: Path, project: Path, tmp_path: Path) -> None:
    moved = Path(shutil.move(image, tmp_path / "b.tif"))
    taken = tmp_path / "b.tif.relay"
    taken.write_text("something")

    ran = run("relocate", project, moved, "--move")

    assert ran.code == 1
    assert "in the way" in ran.err
    assert taken.read_text() == "something"
    assert opens(moved, project) == 1

"""`info`: images, projects, checkpoints, and what is none of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_relay.geometry import Box
from napari_relay.model.checkpoint import list_bundled
from napari_relay.store import Project

Run = Callable[..., Any]


def test_image_as_table(run: Run, sample_data: Path) -> None:
    ran = run("info", sample_data / "CMU-1-Small-Region.svs")

    assert ran.code == 0
    for word in ("svs", "2967 x 2220", "uint8", "0.499", "rgb"):
        assert word in ran.out


def test_image_as_json(run: Run, sample_data: Path) -> None:
    found = json.loads(run("info", sample_data / "coins.png", "--json").out)

    assert (found["kind"], found["format"], found["dtype"], found["channels"]) == ("image", "png", "uint8", 1)
    assert found["levels"][0]["shape"] == [303, 384]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    path = tmp_path / "a.png.relay"
    with Project.open(path, fingerprint="f", shape=(100, 80), image_name="a.png") as opened:
        opened.accept(Box(1, 2, 5, 6), np.ones((4, 4), bool), class_name="cell")
        opened.accept(Box(10, 2, 15, 6), np.ones((5, 4), bool), class_name="cell")
    return path


def test_project_tells_objects_by_class(run: Run, project: Path) -> None:
    found = json.loads(run("info", project, "--json").out)

    assert (found["kind"], found["image"], found["objects"]) == ("project", "a.png", 2)
    assert found["classes"]["cell"] == 2
    assert found["can_undo"]


def test_project_of_another_name_is_known_by_its_content(run: Run, project: Path) -> None:
    renamed = project.rename(project.with_name("backup.db"))

    assert json.loads(run("info", renamed, "--json").out)["kind"] == "project"


def test_project_that_a_window_has_open_can_be_looked_at(run: Run, project: Path) -> None:
    with Project.open(project, create=False):
        assert run("info", project).code == 0


def test_without_a_path_lists_every_bundled_card(run: Run) -> None:
    names = [card["name"] for card in json.loads(run("info", "--json").out)["checkpoints"]]

    assert names == [card.name for card in list_bundled()]
    table = run("info").out
    assert all(name in table for name in names)
    assert "licence" in table


def test_checkpoint_by_name(run: Run) -> None:
    name = list_bundled()[0].name

    assert json.loads(run("info", name, "--json").out)["name"] == name


@pytest.mark.parametrize(
    ("name", "content", "code", "message"),
    [
        ("missing.png", None, 2, "There is no file"),
        ("text.png", b"hello there, this is text", 1, "is not an image"),
        ("empty.tif", b"", 1, "is empty"),
        ("broken.safetensors", b"\x00" * 20, 1, "is not a checkpoint"),
        ("broken.relay", b"SQLite format 3\0" + b"x" * 200, 1, "broken.relay"),
    ],
)
def test_bad_path_is_one_sentence(
    run: Run, tmp_path: Path, name: str, content: bytes | None, code: int, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)

    ran = run("info", tmp_path / name)

    assert ran.code == code
    assert message in ran.err
    assert len(ran.err.splitlines()) == 1


def test_looking_writes_nothing(run: Run, project: Path) -> None:
    before = sorted((file.name, file.stat().st_mtime_ns) for file in project.parent.iterdir())

    run("info", project)

    assert sorted((file.name, file.stat().st_mtime_ns) for file in project.parent.iterdir()) == before

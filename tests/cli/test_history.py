"""`history`: what was done, and the way to any point of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_relay.geometry import Box
from napari_relay.store import Actor, Project

Run = Callable[..., Any]
SQUARE = np.ones((4, 4), bool)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    path = tmp_path / "a.png.relay"
    with Project.open(path, fingerprint="f", shape=(100, 80), image_name="a.png") as opened:
        for n in range(4):
            opened.accept(Box(10 * n, 2, 10 * n + 4, 6), SQUARE, class_name="[cell]", actor=Actor.MODEL)
        opened.delete([1, 2])
    return path


def ids(project: Path) -> list[int]:
    with Project.open(project, create=False, read_only=True) as opened:
        return [stored.id for stored in opened.objects()]


def test_history_is_listed_newest_first(run: Run, project: Path) -> None:
    found = json.loads(run("history", project, "--json").out)

    assert [(action["id"], action["kind"], action["state"]) for action in found] == [
        (5, "delete", "done"), *((n, "accept", "done") for n in (4, 3, 2, 1)),
    ]  # fmt: skip
    assert (found[0]["actor"], found[1]["actor"]) == ("user", "model")
    assert len(json.loads(run("history", project, "--json", "--limit", "2").out)) == 2


def test_history_as_a_table_has_who_and_what(run: Run, project: Path) -> None:
    out = run("history", project).out

    assert "delete 2 objects" in out
    assert "accept [cell]" in out
    assert "(model)" in out


def test_jump_goes_back_and_forth(run: Run, project: Path) -> None:
    ran = run("history", project, "--jump", 2)
    assert (ran.code, ids(project)) == (0, [1, 2])
    assert "3 steps" in ran.out
    assert "undone" in run("history", project).out

    assert json.loads(run("history", project, "--jump", 5, "--json").out) == {"jump": 5, "steps": 3, "objects": 2}
    assert ids(project) == [3, 4]

    assert run("history", project, "--jump", 0).code == 0
    assert ids(project) == []
    assert len(json.loads(run("history", project, "--all", "--json").out)) == 5 + 3 + 3 + 5


@pytest.mark.parametrize(("target", "words"), [(77, "does not exist"), (6, "is undo")])
def test_jump_to_nowhere_is_one_sentence_and_changes_nothing(run: Run, project: Path, target: int, words: str) -> None:
    with Project.open(project, create=False) as opened:
        opened.undo()

    ran = run("history", project, "--jump", target)

    assert ran.code == 2
    assert words in ran.err
    assert ids(project) == [1, 2, 3, 4]


def test_open_project_is_listed_but_not_changed(run: Run, project: Path) -> None:
    with Project.open(project, create=False):
        assert run("history", project).code == 0
        ran = run("history", project, "--jump", 1)
    assert ran.code == 1
    assert ids(project) == [3, 4]


def test_nothing_done_yet(run: Run, tmp_path: Path) -> None:
    Project.open(tmp_path / "b.relay", fingerprint="f", shape=(10, 10)).close()

    assert "Nothing has been done" in run("history", tmp_path / "b.relay").out
    assert json.loads(run("history", tmp_path / "b.relay", "--json").out) == []


def test_missing_project_fails(run: Run, tmp_path: Path) -> None:
    assert run("history", tmp_path / "none.relay").code == 1
    assert not (tmp_path / "none.relay").exists()

"""`demo`: the robot clicks coins through the real path; poor masks make it exit with 1."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_relay.cli import demo as demo_module
from napari_relay.cli.demo import BAR_IOU, COINS, play
from napari_relay.geometry import Box
from napari_relay.samples import sample_path
from napari_relay.store import Project

Run = Callable[..., Any]


@dataclass(frozen=True)
class Shown:
    box: Box
    mask: np.ndarray


class ScriptedSession:
    """Shows the given masks one after the other, whatever is clicked."""

    def __init__(self, *masks: np.ndarray) -> None:
        self.masks = list(masks)
        self.clicks: list[tuple[float, float, bool]] = []
        self.accepted: list[str | None] = []

    def click(self, y: float, x: float, positive: bool = True) -> Shown:
        self.clicks.append((y, x, positive))
        mask = self.masks.pop(0)
        return Shown(Box(0, 0, *mask.shape), mask)

    def accept(self, class_name: str | None = None) -> None:
        self.accepted.append(class_name)


def square(y0: int, y1: int) -> np.ndarray:
    mask = np.zeros((60, 60), bool)
    mask[y0:y1, 10:50] = True
    return mask


def test_robot_stops_when_it_is_content() -> None:
    truth = square(10, 50)
    session = ScriptedSession(square(10, 30), truth, truth)

    played = play(session, 7, truth)  # type: ignore[arg-type]

    assert (played.object, played.clicks, played.iou) == (7, 2, 1.0)
    assert [positive for *_, positive in session.clicks] == [True, True]
    assert session.accepted == ["coin"]


def test_robot_gives_up_after_three_clicks_and_keeps_what_is_shown() -> None:
    truth, poor = square(10, 50), square(0, 30)
    session = ScriptedSession(poor, poor, poor, poor)

    played = play(session, 1, truth)  # type: ignore[arg-type]

    assert played.clicks == 3
    assert played.iou == pytest.approx(20 / 50)
    assert len(session.accepted) == 1


def test_demo_objects_have_a_known_outline() -> None:
    labels = np.asarray(Image.open(sample_path("coins_labels.png")))
    image = Image.open(sample_path("coins.png"))

    assert len(COINS) >= 6
    assert labels.shape == image.size[::-1]
    assert all(np.count_nonzero(labels == number) > 800 for number in COINS)


@pytest.mark.slow
def test_demo_runs_and_keeps_its_objects(run: Run, tmp_path: Path) -> None:
    ran = run("demo", "--out", tmp_path, "--json")

    assert ran.code == 0, ran.err
    report = json.loads(ran.out)
    assert report["mean_iou"] >= BAR_IOU
    assert report["kept"] == len(COINS)
    with Project.open(report["project"], create=False, read_only=True) as project:
        assert {stored.class_name for stored in project.objects()} == {"coin"}
    assert Image.open(report["overlay"]).size == (640, 505)

    again = json.loads(run("demo", "--out", tmp_path, "--json").out)

    assert again["kept"] == len(COINS), "a second run starts afresh"
    with Project.open(report["project"], create=False) as project:
        assert project.undo() is not None, "and what it cleared can be undone"


def test_poor_masks_exit_with_1(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        demo_module, "play", lambda session, number, truth: demo_module.Round(number, 3, 0.5, (9.0, 5.0))
    )
    monkeypatch.setattr("napari_relay.cli.outputs.load_model", lambda workspace: None)

    ran = run("demo", "--out", tmp_path)

    assert ran.code == 1
    assert "0.500 is under 0.85" in ran.err
    assert "coin 18" in ran.out


def test_folder_that_cannot_be_written_is_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    ran = run("demo", "--out", tmp_path / "file" / "x")

    assert ran.code == 1
    assert "--out" in ran.err
